# Two commands for a fresh machine with python3 >= 3.11: `make demo` and `make test`.
# Both set up .venv by themselves; a second run finds it made and is quick.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.set-up
BIN := $(VENV)/bin

.PHONY: help setup demo test test-quick floors test-tools test-containers lint bench docs clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

setup: $(STAMP) ## make .venv with everything in it (demo, test and bench do it themselves)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Tempfleet needs python3 3.11 or newer; '$(PYTHON)' is" "`$(PYTHON) --version 2>&1`." \
	         "Name another one: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Tempfleet needs Python's venv module: on Debian and Ubuntu, apt install python3-venv."; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' 2>&1 | grep -v '^WARNING' || true
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compression,embedded,flower]' --group dev \
	  || { echo "The packages could not be installed; the lines above say why (is a package index reachable?)."; exit 1; }
	@touch $(STAMP)

demo: setup ## two hosts, real workers and beat, 2,000 files, a kill -9: about half a minute
	@$(BIN)/tempfleet demo

# Tests run side by side, two processes for each core; PARALLEL= runs them one after the other.
PARALLEL ?= --numprocesses=auto --dist=worksteal

test: setup ## lint, types, layers, the built wheel on its oldest libraries, then the whole suite
	@$(MAKE) --no-print-directory --jobs=2 lint floors
	@$(BIN)/python -m pytest $(PARALLEL)

test-quick: setup ## within a minute, on fakeredis and a real Redis: all but tests/system and what starts processes (workers, consoles, pages, mypy)
	@$(BIN)/python -m pytest -q --numprocesses=logical --dist=worksteal -m 'not process' --ignore=tests/system

# The wheel, not the checkout, on the oldest libraries that pyproject.toml allows.
FLOORS := .venv-floors
FLOOR_TESTS := tests/registry/test_registry.py tests/registry/test_fleet.py tests/registry/test_store.py tests/settings/test_settings.py \
  tests/manager/test_manager.py tests/tasks/test_tasks.py tests/monitoring/test_metrics.py tests/capacity/test_usage.py tests/plugins/test_hooks.py \
  tests/plugins/test_plugins.py tests/system/stories/test_two_hosts.py

floors: $(FLOORS)/.set-up ## the built wheel, tested on the oldest libraries that it allows
	@rm -rf dist && $(FLOORS)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist . 2>&1 \
	  | grep -v '^WARNING' || true
	@$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl 2>&1 \
	  | grep -v '^WARNING' || true
	@$(FLOORS)/bin/python -P -m pytest -q $(PARALLEL) $(FLOOR_TESTS)

$(FLOORS)/.set-up: pyproject.toml tests/floors.py
	@echo "Setting up $(FLOORS) (once; about a minute) ..."
	@test -x $(FLOORS)/bin/python || $(PYTHON) -m venv $(FLOORS)
	@$(PYTHON) tests/floors.py > $(FLOORS)/floors.txt
	@$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(FLOORS)/floors.txt 2>&1 | grep -v '^WARNING' || true
	@touch $(FLOORS)/.set-up

# No service is started by its installation: the tests start what they need, on ports of their own.
POLICY := /usr/sbin/policy-rc.d

test-tools: ## as root on Debian: install the programs that the operating tests use, instead of skipping them
	@made=; test -e $(POLICY) || { printf '#!/bin/sh\nexit 101\n' > $(POLICY) && chmod 755 $(POLICY) && made=1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
	    prometheus redis-server openssl systemd chromium chromium-driver docker.io docker-compose debootstrap iptables >/dev/null; \
	  code=$$?; test -z "$$made" || rm -f $(POLICY); exit $$code

test-containers: setup ## the image and docker-compose.yml on a Docker engine, started for it if need be
	@TEMPFLEET_TEST_CONTAINERS=1 $(BIN)/python -m pytest tests/system/deploy/test_containers.py

lint: setup
	@$(BIN)/ruff check manager tasks tests docs deploy examples
	@$(BIN)/ruff format --check manager tasks tests docs deploy examples
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

bench: setup ## ratios against a peer in the same run
	@$(BIN)/python -m tests.bench

docs: setup ## make docs/reference out of the code
	@$(BIN)/python docs/generate.py

clean: ## remove .venv and caches
	@rm -rf $(VENV) $(FLOORS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
