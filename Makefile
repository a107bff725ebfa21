# Needs Python 3.11 or newer and make; everything else is installed into .venv from the hash-pinned locks.
# `make PYTHON=…` uses an environment of its own for each version: .venv-3.13, for example.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2
BENCH_ARGS ?= --quick
LOCK_ARGS ?=

SHELL := /bin/sh
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs fmt lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## stand-in for Apple + gateway on loopback, with curl lines to try; needs no credentials
	@$(BIN)/python -m gateway demo

test: $(DEV) ## run the tests and hold the coverage floor (PYTEST_ARGS="-n 0 -k words" to narrow)
	$(BIN)/python -m pytest --cov --cov-report=term $(PYTEST_ARGS)

check: $(DEV) ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(RUNTIME) ## measure against nginx, Varnish and a bare handler (BENCH_ARGS="--against REVISION" compares)
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

docs: $(RUNTIME) ## write docs/openapi.json and docs/api.md
	$(BIN)/python -m gateway openapi > docs/openapi.json
	$(BIN)/python -m gateway openapi --markdown > docs/api.md

fmt: $(DEV) ## format the code and apply the safe fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

PIP_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url $(LOCK_ARGS)

lock: | $(DEV) ## pin what pyproject.toml asks for (LOCK_ARGS=--upgrade to move to newer versions)
	$(PIP_COMPILE) pyproject.toml --group dev --output-file requirements-dev.lock
	$(PIP_COMPILE) pyproject.toml --constraint requirements-dev.lock --output-file requirements.lock
	echo hatchling | $(PIP_COMPILE) - --constraint requirements-dev.lock --output-file deploy/build.lock
	$(PIP_COMPILE) --group clients --no-deps --output-file tests/e2e/clients.lock

clean: ## remove the environments and every cache
	rm -rf .venv .venv-* .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find gateway tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that works is updated in place: a demo may be running from it. `make clean` starts anew.
# Without --no-deps pip looks for newer versions of what is locked with extras, and fails when one appears.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/it")'
	@echo "installing $(1) into $(VENV)" >&2
	@$(BIN)/python -c "" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes --requirement $(1)
endef

# requirements-dev.lock includes every pin of requirements.lock, so one environment serves both.
$(RUNTIME): requirements.lock
	$(call install,$<)
	@touch $@

$(DEV): requirements.lock requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch $(RUNTIME) $@
