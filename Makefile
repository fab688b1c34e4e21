# The commands of this project, the same for people and for CI. Needs Linux, Python 3.11, git, make.
#   make demo PYTHON=python3.12 HOLD=1      another Python; leave the dashboard running at the end
#   make setup TORCH_INDEX=URL              torch from another index (a small CPU build, say)
#   make dashboards SEARCH=s3://photos/runs/scene-tune
#   make bench QUICK=1                      see in minutes that the benchmarks work
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
HOLD ?=
QUICK ?=
INPUTS ?= 10000
DEMO_ARGS ?=
SEARCH ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo dashboards test test-fast test-long fuzz check format bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(INSTALLED) ## make .venv and install everything, at the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt retdm/__init__.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or later is needed, $(PYTHON) is %d.%d; run make PYTHON=..." % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy python3-venv; } || { echo 'error: $(PYTHON) has no venv module; on Debian: sudo apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch torchvision
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## photos -> shards on S3 -> two Ray workers -> metrics, all on this machine
	$(BIN)/python cluster/local/demo.py $(if $(HOLD),--hold) $(DEMO_ARGS)

dashboards: setup ## TensorBoard and optuna-dashboard of a search, or a run: SEARCH=URL
	$(BIN)/python cluster/local/dashboards.py $(if $(SEARCH),'$(SEARCH)')

# What is slow or starts servers wants the whole machine, and runs one test at a time.
test: test-fast ## the whole test suite
	$(BIN)/python -m pytest --durations=40 -m 'slow or cluster'

test-fast: setup ## without what is slow or starts servers, on all cores
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow and not cluster'

test-long: setup ## what is too long for `test`: hosts, searches, leaks, 20 kills, the demo
	RETDM_LONG=1 RETDM_CHAOS_KILLS=20 $(BIN)/python -m pytest -s tests/system tests/onray/test_leaks.py tests/local/test_demo.py tests/cluster/test_image_install.py

fuzz: setup ## give every reader 10,000 damaged inputs; INPUTS=N for another number
	RETDM_FUZZ=$(INPUTS) $(BIN)/python -m pytest tests/fuzz

check: setup ## lint, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## measure the speed of the parts; photos below RETDM_TEST_DATA, else rendered ones
	$(BIN)/python tests/bench/all.py $(if $(QUICK),--quick)

format: setup ## put the code into the format that check wants
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## end a demo's servers; remove its files and all caches, but keep .venv
	@if [ -d .demo ]; then for part in ray_head s3_server; do \
		$(BIN)/python cluster/local/$$part.py stop --dir .demo/$${part%%_*} || exit 1; done; fi
	rm -rf .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
