# Paceline. `make help` lists every target. Everything that a target needs it installs itself, once.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# embedded: a real cluster on this machine, made from nothing; kind: one in a container engine; current: kubectl's context.
CLUSTER ?= embedded
export CLUSTER

UV_VERSION := 0.13.9
# The project's own environment in .venv; made and brought up to date by `uv sync`, which is quick when nothing changed.
VENV := .venv
BIN := $(VENV)/bin
DEVCLUSTER := $(BIN)/python -m devcluster
ON_CLUSTER := $(DEVCLUSTER) exec --
PYTEST := $(BIN)/pytest
# Of the levels that take long, where their time goes.
SLOWEST := --durations=10 --durations-min=10

##@ The two commands
.PHONY: demo test
demo: env ## From nothing to a model trained on a real two-node cluster, live (CLUSTER=embedded|kind|current)
	@$(BIN)/python -m tools.demo

test: ## Everything the project is tested with, fast levels first, on a real API server and real kubelets
	@bash tools/test.sh

##@ Checks
.PHONY: verify fmt lint type unit golden monitoring trainer devcluster-test cluster-test e2e chaos
verify: lint type verify-generated unit golden ## All that needs no cluster: lint, types, layers, generated files, unit and golden tests

fmt: env ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: env ## ruff and the layers (import-linter)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: env ## Strict types
	$(BIN)/mypy

unit: env ## Pure logic: tables and hypothesis
	$(PYTEST) -q -n auto tests/unit $(ARGS)

golden: env ## Rendered objects and CRDs against committed YAML (UPDATE_GOLDEN=1 writes them)
	$(PYTEST) -q tests/golden

monitoring: env ## Alerts and recording rules by promtool, dashboards by Grafana's own types
	$(PYTEST) -q -n auto tests/rules tests/dashboards

trainer: env ## The trainer on this machine: CPU, gloo, two processes
	$(PYTEST) -q -n 2 --dist loadfile tests/trainer $(SLOWEST)

devcluster-test: env ## The embedded cluster itself: repair after kill -9, cut wires, nothing left over
	$(PYTEST) -q tests/devcluster

cluster-test: prometheus ## A real API server with kwok nodes: every transition, refusals, kubectl and Helm
	$(DEVCLUSTER) down
	$(DEVCLUSTER) up --nodes 0 --kwok-nodes 4 --monitors
	$(ON_CLUSTER) $(PYTEST) -q tests/cluster $(SLOWEST) $(ARGS)
	$(DEVCLUSTER) up --nodes 0 --kwok-nodes 20
	$(ON_CLUSTER) $(PYTEST) -q tests/scale $(SLOWEST)

e2e: prometheus ## Real kubelets, real torchrun, the examples as they stand
	$(DEVCLUSTER) down
	$(MAKE) -s cluster-up image
	$(ON_CLUSTER) $(PYTEST) -q -n 2 --dist loadfile tests/e2e -m "not alone and not network_policies" $(SLOWEST)
	$(ON_CLUSTER) $(PYTEST) -q tests/e2e -m alone $(SLOWEST)
	$(ON_CLUSTER) $(PYTEST) -q tests/chaos -m short $(SLOWEST)
	$(DEVCLUSTER) up --nodes 2 --network-policies
	$(ON_CLUSTER) $(PYTEST) -q tests/e2e -m network_policies

chaos: env ## Training disturbed in every way, by hand: ARGS="--rounds 5 --minutes 15 --seed 1" (an hour and more)
	$(DEVCLUSTER) down
	$(MAKE) -s cluster-up image
	$(ON_CLUSTER) $(PYTEST) tests/chaos $(ARGS)

WORKLOAD ?= two-hundred
# Of 110 pods each; a tenth of them goes in the storm.
FAKE_NODES ?= $(if $(filter two-hundred trouble,$(WORKLOAD)),20,$(if $(filter thousand,$(WORKLOAD)),140,160))
RESULTS ?= .state/bench-$(WORKLOAD).json
.PHONY: bench bench-check bench-churn bench-versus
bench: env ## Many jobs on a real API server, five runs, one of five-thousand: WORKLOAD=two-hundred|thousand|five-thousand|trouble (half an hour and more)
	$(DEVCLUSTER) down
	$(DEVCLUSTER) up --nodes 0 --kwok-nodes $(FAKE_NODES)
	$(ON_CLUSTER) $(BIN)/python -m bench run $(WORKLOAD) --json $(RESULTS)

bench-churn: env ## Jobs come and go while things break: ARGS="--minutes 60 --seed 1", or --no-faults, to look for growth
	$(DEVCLUSTER) down
	$(DEVCLUSTER) up --nodes 0 --kwok-nodes 20
	$(ON_CLUSTER) $(BIN)/python -m bench churn $(ARGS)

bench-check: env ## Are the figures of the last such runs within the bounds of bench/ranges.yaml?
	$(BIN)/python -m bench check $(RESULTS)

bench-versus: env ## Paceline beside training-operator, Trainer, JobSet, Jobs and a bare client: ARGS="--runs 1 --systems paceline,job" (an hour a run)
	$(BIN)/python -m bench versus-build
	$(DEVCLUSTER) down
	$(DEVCLUSTER) up --nodes 0 --kwok-nodes 20
	$(ON_CLUSTER) $(BIN)/python -m bench versus --json .state/versus.json $(ARGS)

##@ Generated files (each has its twin in `make verify`)
.PHONY: crds locks chart-readme dashboards generated verify-generated
generated: crds locks chart-readme dashboards ## Write every generated file

crds: env ## CRDs, and schemas of recipes and compression methods, from the types
	@mkdir -p crds charts/paceline/files/crds
	$(BIN)/python -m paceline_trainer.schemas > operator/paceline/api/recipes.json
	$(BIN)/python -m paceline_trainer.schemas --methods > operator/paceline/api/methods.json
	for kind in trainingjobs compressionjobs; do $(BIN)/paceline crds $$kind > crds/paceline.dev_$$kind.yaml; done
	cp crds/*.yaml charts/paceline/files/crds/
	cp operator/paceline/cost/price-book.csv charts/paceline/files/

chart-readme: env ## The chart's README from its values.yaml
	$(BIN)/python -m tools.chart_readme > charts/paceline/README.md

dashboards: env ## Grafana dashboards from tools/dashboards
	$(BIN)/python -m tools.dashboards

EXPORT := uv export -q --frozen --no-dev --no-emit-workspace --format requirements-txt --no-header
locks: env ## The images' locked requirements from uv.lock
	uv lock -q
	$(EXPORT) --package paceline > operator/requirements.lock
	$(EXPORT) --package paceline-trainer > trainer_image/requirements.lock

verify-generated: ## Fails where a generated file differs from what its generator writes
	@before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; \
	files="uv.lock crds operator/paceline/api/recipes.json operator/paceline/api/methods.json operator/requirements.lock trainer_image/requirements.lock charts/paceline/files charts/paceline/README.md"; \
	tar -cf - $$files | tar -xf - -C "$$before"; \
	$(MAKE) -s generated; \
	for f in $$files; do diff -ru "$$before/$$f" "$$f" || { echo "$$f was not up to date: commit what 'make generated' wrote"; exit 1; }; done

##@ Cluster and images
.PHONY: cluster-up cluster-down image
cluster-up: env ## A two-node cluster (embedded: built and started here; the first time takes about 15 minutes)
	$(DEVCLUSTER) up --nodes 2

cluster-down: env ## Remove the cluster; caches stay
	$(DEVCLUSTER) down

image: env ## Build the operator's and the trainer's image and bring them to the nodes
	@refs=""; for name in operator trainer; do ref=$$($(DEVCLUSTER) build-image $$name | tail -n 1); refs="$$refs $$ref"; done; \
	$(DEVCLUSTER) load-image $$refs

##@ Environment
.PHONY: env prometheus help
env: ## The Python environment in .venv
	@command -v uv >/dev/null || python3 -m pip install -q uv==$(UV_VERSION)
	@[ -x $(BIN)/python ] || echo "installing the Python environment (torch among it: about 3 GB to fetch, 2-4 minutes the first time)"
	@uv sync -q --frozen

prometheus: env ## Prometheus and promtool, which tests on a cluster need: its network has no way to a mirror
	@$(BIN)/python -c "from devcluster import packages; packages.install({'promtool': 'prometheus'})"

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
