// Reads dashboards by Grafana's own types: a field that they do not know, a value of another type or one that breaks a
// constraint is an error. Prints what is wrong with each, and exits with 1.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func check(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var found dashboard.Dashboard
	if err := some(found.UnmarshalJSONStrict(raw)); err != nil {
		return err
	}
	if err := fieldConfigs(raw); err != nil {
		return err
	}
	return found.Validate()
}

// The strict reading of a panel leaves unknown fields in its fieldConfig alone.
func fieldConfigs(raw []byte) error {
	var found struct {
		Panels []struct {
			FieldConfig json.RawMessage `json:"fieldConfig"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(raw, &found); err != nil {
		return err
	}
	for number, panel := range found.Panels {
		var config dashboard.FieldConfigSource
		if err := some(config.UnmarshalJSONStrict(panel.FieldConfig)); err != nil {
			return fmt.Errorf("panels[%d].fieldConfig: %w", number, err)
		}
	}
	return nil
}

// The strict readers return an empty list of errors, which is not nil, where nothing is wrong.
func some(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}

func main() {
	plugins.RegisterDefaultPlugins()
	code := 0
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Printf("%s: %v\n", path, err)
			code = 1
		}
	}
	os.Exit(code)
}
