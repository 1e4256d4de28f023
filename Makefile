# Ringyard's tasks. `make help` lists them. Everything is set up in .venv in this folder; nothing is installed globally.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.PHONY: help venv demo test lint format verify protos generate bench clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export UV_HTTP_TIMEOUT ?= 600

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## .venv with Ringyard (editable), its tools and the pinned versions of constraints.txt

$(READY): pyproject.toml constraints.txt hack/venv.sh
	@PYTHON=$(PYTHON) hack/venv.sh

demo: $(READY) ## train digits on 3 workers, kill one, serve, ask a Triton client (about a minute after the install)
	@$(BIN)/python hack/demo.py

test: $(READY) ## the whole suite, examples and README included
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## ruff, mypy --strict, floors of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## what ruff can put right by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

protos: $(READY) ## the protobuf stubs, with a pinned grpcio-tools in .cache/protos
	@env -u PYTHON hack/protos.sh

generate: $(READY) ## CRDs and the documents that are made from code
	@$(BIN)/python hack/generate.py
	@$(BIN)/python hack/metrics_doc.py

verify: $(READY) ## fails where a generated file differs from what its source makes, with its name
	@hack/verify.sh

bench: $(READY) ## the figures of DECISIONS.md, into bench/results/
	@$(BIN)/python bench/bench.py

clean: ## removes the venv, caches and build output
	@rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
