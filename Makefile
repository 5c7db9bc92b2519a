# `make demo` and `make test` set up what they need by themselves; nothing is installed outside .venv, except
# Debian packages that are missing (see tools/setup). PYTHON=/path/to/python3 chooses the interpreter.

SHELL := /bin/sh
BIN   := .venv/bin
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo bench bench-quick test faults lint format generate setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' Makefile

demo: ## run a real pipeline over the source files of Python's standard library
	@tools/setup demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/stdlib/run

test: setup ## run the tests; PYTEST_ARGS='-k quota -x' is passed on to pytest
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: ## measure speed against other tools, in about twenty minutes; writes bench/results.md
	@tools/setup bench
	$(BIN)/python -m bench --write bench/results.md

bench-quick: ## the same in about one, on less work, and writes nothing
	@tools/setup bench
	$(BIN)/python -m bench --quick

faults: setup ## kill, starve and deceive pdt at every step there is; takes many minutes
	PDT_FAULTS=full $(BIN)/python -m pytest tests/faults -rP $(PYTEST_ARGS)

lint: setup ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## mend style and format where that can be done by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: setup ## write completions/ and man/ anew, after a change of the command line
	$(BIN)/python tools/generate

setup: ## make .venv with everything for development
	@tools/setup dev

clean: ## remove what was made: .venv, caches, builds, the demo's data
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage examples/stdlib/work
	find src tests examples bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || :
