# dse: `make sweep` installs and runs the first sweep, `make test` runs the tests. See README.md.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help sweep test test-all lint bench clean

VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
JOBS ?= 2
# A wheel index for torch, for instance one without CUDA; empty means the default index.
TORCH_INDEX ?=
TORCH = torch==2.13.0
TRITON = triton==3.7.1

FIND_PYTHON = for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done
PYTHON ?= $(shell $(FIND_PYTHON))

help:
	@echo "make sweep     install dse in $(VENV) and sweep arch/fusemax.yaml"
	@echo "make test      run the tests that need no GPU and finish soon (TORCH_INDEX=<index> for a CPU build of torch)"
	@echo "make test-all  run the slow tests too"
	@echo "make lint      check style, types and imports"
	@echo "make bench     run the benchmarks"
	@echo "make clean     remove $(VENV) and everything built"

sweep: $(VENV)/installed
	$(VENV)/bin/dse sweep arch/fusemax.yaml

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -n $(JOBS) -m "not slow and not gpu"

test-all: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -n $(JOBS) -m "not gpu"

lint: $(VENV)/installed-lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/installed-test
	@set -e; for script in benchmarks/*.py; do \
		if test -e "$$script"; then echo "$$script"; $(VENV)/bin/python "$$script"; fi; done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "dse needs Python 3.11 or newer; none was found" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dse needs Python 3.11 or newer; $(PYTHON) is older or missing" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	@touch $@

# torch first and alone: it is large, and its index holds nothing else that dse needs.
$(VENV)/installed-torch: $(VENV)/bin/python constraints.txt
	$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) install -c constraints.txt $(TRITON)
	@touch $@

$(VENV)/installed-test: $(VENV)/installed-torch pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e ".[trace,test]"
	@touch $@ $(VENV)/installed

$(VENV)/installed-lint: $(VENV)/installed-test
	$(PIP) install -c constraints.txt -e ".[trace,test,lint]"
	@touch $@
