# What a newcomer types. Each target sets up first; the second time that costs nothing.
# Continuous integration calls `make check` and `make test` exactly as they stand here.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

# Where Python is told to keep no compiled files, every process would compile its imports anew: some six seconds each.
# Elsewhere the first import leaves what the next ones use, which is quicker than compiling everything ahead.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

.PHONY: help setup demo test check format serve bench clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP) ## Create .venv and install the project into it (done by every other target)

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "make: no python3 found. Install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv)." >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"make: Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}. Install one and call: make PYTHON=/path/to/python3.11 ...")'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot create environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "[1/3] environment in $(VENV)"
	@[ -x $(BIN)/pip ] || "$(PYTHON)" -m venv $(VENV)
	@echo "[2/3] installer (uv)"
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "[3/3] project and dependencies (the first time: half a gigabyte or more to download)"
	@UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install --python $(BIN)/python $(COMPILE) -e '.[dev]'
	@touch $@

demo: setup ## From two profiles to two adapters to answers, end to end, in one table
	$(BIN)/python -m examples.demo

test: setup ## Run the tests
	$(BIN)/python -m pytest

check: setup ## Formatting, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Rewrite the files the way `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: setup ## Run the service on this machine
	$(BIN)/hypernet serve

bench: setup ## Measure; the last line is one JSON object
	$(BIN)/python -m benchmarks

clean: ## Remove the environment and the caches (never data, runs or checkpoints)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
