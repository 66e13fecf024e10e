# Two commands: `make demo` (see it work) and `make test` (check everything). Both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
# `make demo DATA=folder` is the demo on your own videos; a DATA that the environment happens to have is not meant
ifeq ($(origin DATA)$(if $(DATA),, empty),command line)
OUT = demo-own
DEMO = --out "$(OUT)" --data "$(DATA)"
else
OUT = demo
DEMO = --out "$(OUT)"
endif

.PHONY: demo test clean

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: some minutes where torch is not cached"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: .venv/installed
	$(BIN)/python benchmarks/demo.py $(DEMO)

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest

clean:
	rm -rf .venv build dist demo demo-own
