"""The chart, by real Helm against the real API server."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.kube import ROOT, kubectl

CHART = str(ROOT / "charts/paceline")
EVERY = ROOT / "tests/cluster/full-values.yaml"
# Everything that can be switched on, at once.
ON = "progress.enabled=true,crds.install=true,jobs.podDisruptionBudget.enabled=true,replicas=3,rbac.aggregateToUserRoles=true"
FULL = ["-f", str(EVERY), "--set", ON]
ALL = pytest.mark.parametrize("values", [[], FULL, ["-f", str(EVERY)]], ids=["default", "full", "every value other"])


def helm(*arguments):
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def rendered(*more):
    code, out, err = helm("template", "t", CHART, "-n", "default", *more)
    assert code == 0, err
    return out


def as_by_default(defaults, values, path=""):
    """What ``values`` leave as it is."""
    for key, default in defaults.items():
        if isinstance(default, dict) and default:
            yield from as_by_default(default, values.get(key, {}), f"{path}{key}.")
        elif values.get(key, default) == default:
            yield f"{path}{key}"


def test_the_full_values_change_every_value():
    defaults = yaml.safe_load((ROOT / "charts/paceline/values.yaml").read_text(encoding="utf-8"))
    assert list(as_by_default(defaults, yaml.safe_load(EVERY.read_text(encoding="utf-8")))) == []


def test_the_full_values_switch_everything_on():
    folder = ROOT / "charts/paceline/templates"
    sources = [line for line in rendered(*FULL).splitlines() if line.startswith("# Source: ")]
    made = {line.removeprefix("# Source: paceline/templates/") for line in sources}
    # But for the certificate: there is the user's own.
    assert made == {str(p.relative_to(folder)) for p in folder.rglob("*.yaml")} - {"progress-tls.yaml"}


@ALL
def test_lint(values):
    code, out, err = helm("lint", "--strict", CHART, *values)
    assert code == 0, out + err


@ALL
def test_the_api_server_takes_what_it_renders(values):
    """A kind that it does not know is refused: `devcluster up --monitors` defines those of prometheus-operator."""
    made = rendered(*values)
    answers = kubectl("apply", "--dry-run=server", "-n", "default", "-f", "-", stdin=made).splitlines()
    assert len(answers) == len([o for o in yaml.safe_load_all(made) if o])


@pytest.mark.parametrize(
    ("values", "words"), [(["replica=3"], "replica"), (["replicas=many"], "replicas"), (["log.level=loud"], "log")]
)
def test_wrong_values_are_refused_by_name(values, words):
    code, _, err = helm("template", "t", CHART, *(x for v in values for x in ("--set", v)))
    assert code != 0
    assert words in err


def test_crds_stay_on_uninstall_and_are_the_generated_ones():
    found = [d for d in yaml.safe_load_all(rendered()) if d and d["kind"] == "CustomResourceDefinition"]
    assert [d["metadata"]["annotations"] for d in found] == [{"helm.sh/resource-policy": "keep"}] * 2
    generated = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert [d["spec"] for d in found] == [d["spec"] for d in generated]


def test_an_upgrade_keeps_the_certificate(namespace):
    values = ["--set", "replicas=0,crds.install=false,rbac.aggregateToUserRoles=false"]
    assert helm("install", "keeps", CHART, "-n", namespace, *values)[0] == 0
    try:
        before = json.loads(kubectl("get", "secret", "keeps-paceline-progress-tls", "-n", namespace, "-o", "json"))[
            "data"
        ]
        assert helm("upgrade", "keeps", CHART, "-n", namespace, *values)[0] == 0
        after = json.loads(kubectl("get", "secret", "keeps-paceline-progress-tls", "-n", namespace, "-o", "json"))[
            "data"
        ]
        assert before == after
    finally:
        helm("uninstall", "keeps", "-n", namespace)
