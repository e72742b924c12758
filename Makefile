# Everything runs from a virtual environment in .venv, made on first use from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run ui test focus axe crash lint format wheel bench lock dictionary sample clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Install everything into .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

run: $(STAMP) ## Load, validate, analyse and publish (HOME_DIR=folder; default: data/ or the sample)
	$(BIN)/token-analytics run $(if $(HOME_DIR),--home $(HOME_DIR))

ui: $(STAMP) ## Open the Dagster UI on http://127.0.0.1:3000
	$(BIN)/token-analytics ui $(if $(HOME_DIR),--home $(HOME_DIR))

test: $(STAMP) ## Run the tests
	PATH="$$PATH:$(CURDIR)/.venv-focus/bin" $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

focus: ## Install the FinOps Foundation's validator of FOCUS into .venv-focus, for `make test` to use
	$(PYTHON) -m venv .venv-focus
	.venv-focus/bin/python -m pip install --quiet --disable-pip-version-check "focus-validator==1.0.0" "multimethod<2"

axe: ## Install axe-core into .axe, for `make test` to look for obstacles in pages (needs npm)
	npm install --silent --no-audit --no-fund --prefix .axe axe-core@4.14.1

crash: $(STAMP) ## Kill and interrupt runs at twenty random moments, and fill a disk
	TOKEN_ANALYTICS_TEST_KILLS=20 TOKEN_ANALYTICS_TEST_INTERRUPTS=20 $(BIN)/pytest tests/test_crash.py

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --nocolor --disable-progress-bar dbt_project/models expectations
	$(BIN)/sqlfluff lint --nocolor --disable-progress-bar --templater placeholder pipeline/*/sql

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(STAMP) ## Build dist/*.whl: everything, which needs nothing else of this checkout, and the tracker alone
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist . ./tracker

bench: $(STAMP) ## Measure a second run against a bare dbt build
	$(BIN)/python bench/second_run.py

dictionary: $(STAMP) ## Write docs/data-dictionary.md anew from the models
	$(BIN)/python -m tools.dictionary

sample: $(STAMP) ## Generate data/sample anew
	$(BIN)/python -m tools.sample

lock: ## Pin all dependencies anew (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --no-emit-index-url --no-header \
		--no-annotate --upgrade -o requirements.lock

clean: ## Remove what runs and tests leave in the checkout
	rm -rf dbt_project/target dbt_project/logs .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
