# FaceX: `make test`, `make demo`, `make check` each set up .venv themselves; running twice is fine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml Makefile | cksum | cut -d' ' -f1)
TEST_JOBS ?= 2

.PHONY: setup test test-slow demo check format help-pages clean

setup: $(STAMP)

# The CPU wheel of torch goes in first: a plain range would take the newest build, with gigabytes of
# CUDA packages. The package itself declares a range that admits it.
$(STAMP): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	rm -f $(VENV)/.installed-*
	touch $@

test: setup  # `make test-slow` runs what takes minutes
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/write_help.py --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Swaps two public-domain portraits that come inside packages, and draws every task on one sheet.
demo: setup
	$(BIN)/python examples/demo.py --out demo

help-pages: setup
	$(BIN)/python scripts/write_help.py

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
