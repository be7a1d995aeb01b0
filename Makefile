# Everything a person runs. `make` alone makes or refreshes .venv and is a no-op when it is up to date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 5000
WORKSPACE := $(if $(CONICAL_WORKSPACE),$(CONICAL_WORKSPACE),workspace)

# Ray: no usage statistics, no uv hook, and no token auth that a stray file in the home switches on (only half of Ray would obey it)
export RAY_USAGE_STATS_ENABLED := 0
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0
export RAY_AUTH_MODE ?= disabled
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := setup
.PHONY: setup check format test test-all demo ui bench docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) -V 2>&1) is too old: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "python3 has no venv module: install it (Debian: apt-get install python3-venv)"; exit 2; }
	@echo "Installing the locked packages into $(VENV): about 3 minutes and 7 GB"
	@$(PYTHON) -m venv $(VENV)
	@# the two torch packages first: a resolver that sees them pinned does not look at other builds
	@$(BIN)/python -m pip install -qq --constraint requirements.lock torch torchvision
	@$(BIN)/python -m pip install -qq --constraint requirements.lock --editable ".[dev]"
	@touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# a process per core for what starts no Ray; each Ray has the machine to itself
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile

test: check
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m "not slow and not ray and not end_to_end" $(PARALLEL)
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m "not slow and (ray or end_to_end)"

test-all: check
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m "not ray and not end_to_end" $(PARALLEL)
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m "ray or end_to_end"

demo: setup
	@HF_HUB_OFFLINE=1 $(BIN)/conical demo

ui: setup
	@$(BIN)/conical ui --port $(PORT)

bench: setup
	$(BIN)/python jobs/bench_ingest.py
	$(BIN)/python jobs/bench_input.py
	$(BIN)/python jobs/bench_caption.py
	$(BIN)/python jobs/bench_metrics.py
	$(BIN)/python jobs/bench_text_tower.py
	$(BIN)/python jobs/bench_train.py

docs: setup
	$(BIN)/python jobs/build_docs.py

clean:
	rm -rf $(WORKSPACE) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
