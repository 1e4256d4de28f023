# Ringyard's tasks. `make help` lists them. Everything is set up in .venv in this folder; nothing is installed globally.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.PHONY: help venv demo test lint format verify protos generate bench clean cluster-up cluster-down cluster-status cluster-test images deploy undeploy bench-cluster

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export UV_HTTP_TIMEOUT ?= 600

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

images: $(READY) ## the three images, into the cluster of `make cluster-up`; BUILDER=docker|podman|buildah [PUSH=1]: for any other
	@hack/images/build $(IMAGES)

deploy: ## CRDs and the operator into the cluster of KUBECONFIG, else of `make cluster-up` (IMAGE_PREFIX, IMAGE_TAG)
	@hack/deploy.sh deploy

undeploy: ## takes the operator out again; CRDS=1 deletes the CRDs too, with every job and endpoint
	@hack/deploy.sh undeploy

bench: $(READY) ## the figures of DECISIONS.md, into bench/results/
	@$(BIN)/python bench/bench.py

bench-cluster: $(READY) ## the figures of a cluster, on the one of KUBECONFIG, else of `make cluster-up`; Ringyard has to be deployed
	@$(BIN)/python bench/cluster.py $(ARGS)

cluster-up: ## a throw-away Kubernetes with three nodes on this machine (root, Go; the first time builds it: about 10 minutes)
	@hack/cluster/up

cluster-down: ## takes it away; what was built stays in ~/.cache/ringyard
	@hack/cluster/down

cluster-status: ## what of it is up, and how to talk to it
	@hack/cluster/status

cluster-test: $(READY) ## the tests that need a Kubernetes, against it or against the one of KUBECONFIG
	@CLUSTER_REQUIRED=1 $(BIN)/python -m pytest -m cluster $(ARGS)

clean: ## removes the venv, caches and build output
	@rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
