# Two commands are all a fresh machine needs: `make up` and `make test`. Python >= 3.11 and make; everything else is
# installed into .venv from hash-pinned locks.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.run-installed
DEV    := $(VENV)/.dev-installed
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help up test unit bench lint format simulate drill lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

up: $(RUN)  ## Start a desk that trades on paper, with its page (ARGS="--market synthetic:7 --speed 20")
	@$(BIN)/breakwater up $(ARGS)

test: $(DEV)  ## Run every test (ARGS="-k gate" selects)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(DEV)  ## Format check, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(DEV)  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV)  ## Measure ratios into build/bench.json (ONLY=prefix selects)
	@$(BIN)/python tests/benchmarks/run.py $(if $(ONLY),--only $(ONLY))

simulate: $(DEV)  ## Run the desk in virtual time (SEED=1 N=5)
	@$(BIN)/python -m breakwater.simulation.run_seeds --seed $(or $(SEED),1) --count $(or $(N),5)

drill: $(RUN)  ## The crash drill on the built-in synthetic crash
	@$(BIN)/breakwater drill crash --market synthetic:1 --speed max $(ARGS)

lock: $(DEV)  ## Rewrite requirements/*.txt from pyproject.toml
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml requirements/build.in -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev pyproject.toml requirements/build.in -c requirements/run.txt -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra operator pyproject.toml requirements/build.in -c requirements/dev.txt -o requirements/image.txt

clean:  ## Remove what was built (not the desk's state in .breakwater)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit("Breakwater needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.12 ..." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(RUN): $(VENV)/pyvenv.cfg requirements/run.txt pyproject.toml
	@echo "installing Breakwater into $(VENV) (hash-pinned) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(VENV)/pyvenv.cfg requirements/dev.txt pyproject.toml
	@echo "installing the development tools into $(VENV) (hash-pinned) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(RUN)
