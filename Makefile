# Every target makes the virtual environment that it needs. `make demo` shows what this is; `make test` checks it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo check test sim e2e interop compose bench-smoke proto format clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(VENV)/runtime: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing blumfeld into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/development: $(VENV)/runtime
	@echo "installing the tools of development into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/runtime          ## three nodes, a leader killed under load, nothing lost
	@$(BIN)/blumfeld demo

check: $(VENV)/development     ## lint, types, tidiness, unit tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_tidy.py tests/unit

test: check e2e                ## everything that needs Python only

e2e: $(VENV)/development       ## real processes, real clients, killed nodes
	$(BIN)/pytest tests/e2e

sim: $(VENV)/development       ## simulated clusters under faults: SEED=1 COUNT=1 DURATION=40
	PYTHONHASHSEED=0 $(BIN)/python -m tests.sim.run --seed $(or $(SEED),1) --count $(or $(COUNT),1) --duration $(or $(DURATION),40) --verbose

interop: $(VENV)/development   ## clients of other languages and Kafka's own tools; installs what it needs
	tests/interop/install.sh
	$(BIN)/pytest tests/interop

compose: $(VENV)/development   ## docker-compose: three containers, one killed under load
	deploy/test-compose.sh

bench-smoke: $(VENV)/development ## a first look at throughput
	$(BIN)/python bench/smoke.py

proto: $(VENV)/development     ## generate cluster/rpc from proto/
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=cluster/rpc --pyi_out=cluster/rpc proto/*.proto

format: $(VENV)/development    ## put every line where it belongs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:           ## remove the virtual environment and what tests left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
