# Gatehouse. `make demo` and `make test` do all set-up themselves; each step is done once and again only when it is stale.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

PY := .venv/bin/python
SETUP := ./config/setup.sh
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test check bench fuzz clean lock

help:
	@echo "make demo   start the whole system on this machine with simulated cameras and doors"
	@echo "make test   run every test          make check  format, lint, types, import contracts, console tests"
	@echo "make bench  run every benchmark     make fuzz   fuzz every parser, SECONDS=60 each"
	@echo "make lock   pin the dependencies anew     make clean  remove what was built"

setup:
	@$(SETUP) say "Setting up Gatehouse: Debian packages, Python environment, console, portraits (the first time takes minutes)."
	@$(SETUP) all

demo:
	@$(SETUP) say "Starting the Gatehouse demo; set-up comes first if it is missing or stale (the first time takes minutes)."
	@$(SETUP) all
	@exec .venv/bin/gatehouse demo $(ARGS)

test:
	@$(SETUP) say "Testing Gatehouse; set-up comes first if it is missing or stale (the first time takes minutes)."
	@$(SETUP) all
	@$(if $(ARGS),$(PY) -m pytest $(ARGS),$(PY) -m pytest -n 2 --dist loadfile --ignore tests/stories && $(PY) -m pytest tests/stories)

check:
	@$(SETUP) say "Checking Gatehouse: format, lint, types, import contracts, console; set-up comes first if it is missing or stale."
	@$(SETUP) packages python console
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo
	cd gateway/console && npm run --silent check

bench:
	@$(SETUP) say "Measuring Gatehouse; set-up comes first if it is missing or stale, the report lands in build/bench.html."
	@$(SETUP) all
	@mkdir -p build
	@.venv/bin/gatehouse bench all --html build/bench.html $(ARGS)

fuzz:
	@$(SETUP) say "Fuzzing everything that reads bytes from outside; what is learnt and found stays in build/fuzz."
	@$(SETUP) python fuzz
	@$(PY) -m tests.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

lock:
	@$(SETUP) say "Pinning the dependencies anew: requirements.lock, requirements-dev.lock and requirements-fuzz.lock."
	@$(SETUP) lock

clean:
	@$(SETUP) say "Removing what was built: environment, console, caches (data stays)."
	@rm -rf .venv build *.egg-info gateway/console/node_modules gateway/console/dist
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
