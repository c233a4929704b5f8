# One door a task. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never
WORKERS ?= 3

.PHONY: help setup demo test test-fast soak check fix bench docs clean

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

# What needs Kubernetes gets it built from Go modules where Go is installed; the demo and the quick tasks never wait for that.
setup: export EAVES_SETUP_KUBERNETES := $(filter setup test bench soak,$(MAKECMDGOALS))
setup: export EAVES_SETUP_SOAK := $(filter soak,$(MAKECMDGOALS))
setup: ## install system packages and the Python environment (idempotent; does nothing when current)
	@tools/setup.sh

demo: setup ## controller, node and registry on this machine; kubectl apply; an answer by HTTP
	@$(PY) -m tools.demo

test: setup ## all tests: unit, contract (real tools), system (whole daemons, faults)
	@$(PY) -m pytest -n $(WORKERS) --dist loadgroup -m "not soak" tests

test-fast: setup ## unit tests only, under two minutes
	@$(PY) -m pytest -n 2 tests/unit

soak: setup ## long runs of the failure tests
	@$(PY) -m pytest -n 0 -m soak --timeout 7200 tests

check: setup ## format, lint, types, layers, drift of generated code; under one minute
	@tools/check.sh

fix: setup ## format and repair what can be repaired
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
	@$(PY) tools/generate_wire.py ; $(PY) tools/generate_settings_reference.py

bench: setup ## measure; one JSON file each in build/bench
	@$(PY) -m tests.bench $(BENCH)

docs: setup ## build the documentation into build/docs
	@.venv/bin/uv sync --locked --inexact --quiet --group docs
	@.venv/bin/sphinx-build -W -q -b html docs build/docs && echo "docs: build/docs/index.html"

clean: ## remove what the other tasks made in this folder
	@rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
