# Everything a contributor runs. The targets use the virtual environment in .venv (make install) unless VENV says else.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SOURCES := semconv instrumentation ledger collector reconciler exporters cli scripts
CHECKED := $(SOURCES) tests examples bench

.DEFAULT_GOAL := help
.PHONY: help install constraints format lint typecheck test docs build clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: ## Make .venv with everything that working on Spanledger needs
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q -c constraints.txt -e '.[all]' --group dev

constraints: ## Choose the versions in constraints.txt anew (the newest that fit together)
	$(BIN)/pip install -q uv
	{ head -n 2 constraints.txt; $(BIN)/uv pip compile -q pyproject.toml --all-extras --group dev --no-header \
		--no-annotate --no-emit-index-url --universal --python-version 3.11; } > constraints.new
	mv constraints.new constraints.txt

format: ## Put the code into shape
	$(BIN)/ruff check --fix-only -q $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

lint: ## Check style, format and the direction of imports
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/lint-imports

typecheck: ## Check types, twice: mypy --strict and pyright strict
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

test: ## Run the tests on two cores (make test T=tests/cli narrows)
	$(BIN)/python -m pytest -n 2 $(T)

docs: ## Check that the documentation names everything there is, and that its examples run
	$(BIN)/python -m pytest -q tests/cli/test_docs.py

build: ## Build the wheel and the source archive into dist/
	$(BIN)/pip install -q build
	$(BIN)/python -m build

clean: ## Remove what the tools left behind
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
