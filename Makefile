# Two commands: `make demo` (see it work) and `make test` (check everything). Both make .venv themselves.
PYTHON ?= python3
DATA ?=
OUT ?= demo
BIN := .venv/bin

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
	$(BIN)/python benchmarks/demo.py --out $(OUT) $(if $(DATA),--data $(DATA))

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest

clean:
	rm -rf .venv build dist demo
