# Two commands are all a fresh machine needs: `make up` and `make test`. Python >= 3.11 and make; everything else is
# installed into .venv from hash-pinned locks.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.run-installed
DEV    := $(VENV)/.dev-installed
ARGS   ?=
# Test workers: one for each core.
JOBS   ?= auto

# What the image is made for: Python of its base image, and the machine it runs on (x86_64 or aarch64).
VERSION      := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE        ?= breakwater:$(VERSION)
BASE_IMAGE   ?= python:$(IMAGE_PYTHON)-slim
IMAGE_PYTHON ?= 3.11
IMAGE_ARCH   ?= $(shell uname -m | sed -e s/arm64/aarch64/ -e s/amd64/x86_64/)
MANYLINUX    := $(foreach minor,5 12 17 24 26 27 28 31 34 35,manylinux_2_$(minor)) manylinux1 manylinux2010 manylinux2014

.DEFAULT_GOAL := help
.PHONY: help up test test-slow fault-matrix bench lint format simulate drill cluster-up cluster-build cluster-down wheelhouse image chart lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

up: $(RUN)  ## Start a desk that trades on paper, with its page (ARGS="--market synthetic:7 --speed 20")
	@$(BIN)/breakwater up $(ARGS)

# Files are shared out over the workers, the longest first (tests/conftest.py); the cluster tests share one cluster, so
# they run by themselves.
test: $(DEV)  ## Run every test (ARGS="-k gate" selects)
ifeq ($(strip $(ARGS)),)
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=4 --dist loadfile --no-loadscope-reorder --ignore=tests/cluster
	@$(BIN)/python -m pytest tests/cluster
else
	@$(BIN)/python -m pytest $(ARGS)
endif

test-slow: $(DEV)  ## Run the tests that take longer than `make test` has time for
	@$(BIN)/python -m pytest -m slow $(ARGS)

fault-matrix: $(DEV)  ## Kill, cut off, fill up, in every combination: no event lost (RUNS=200 SEED=1)
	@$(BIN)/python tests/faults/matrix.py --runs $(or $(RUNS),200) $(if $(SEED),--seed $(SEED)) $(ARGS)

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

cluster-up: $(DEV)  ## Start a Kubernetes cluster on this machine's loopback (Linux; builds it once, needs Go)
	@$(BIN)/python -m tests.cluster.local up $(ARGS)

cluster-build: $(DEV)  ## Build what the cluster needs, if it can be built here (several minutes the first time)
	@$(BIN)/python -m tests.cluster.local build $(ARGS)

cluster-down: $(DEV)  ## Stop it and remove what it wrote
	@$(BIN)/python -m tests.cluster.local down $(ARGS)

wheelhouse: $(RUN)  ## Download what the image consists of, by hash, into build/wheelhouse
	@rm -rf build/wheelhouse.part && mkdir -p build/wheelhouse.part
	@$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		--python-version $(IMAGE_PYTHON) $(foreach name,$(MANYLINUX),--platform $(name)_$(IMAGE_ARCH)) \
		-r requirements/image.txt -d build/wheelhouse.part
	@said=$$($(BIN)/hatchling build -t wheel -d build/wheelhouse.part 2>&1) || { echo "$$said" >&2; exit 1; }
	@rm -rf build/wheelhouse && mv build/wheelhouse.part build/wheelhouse
	@echo "build/wheelhouse: $$(ls build/wheelhouse | wc -l) wheels, $$(du -sh build/wheelhouse | cut -f1); next: make image"

image:  ## Build the image from build/wheelhouse with docker, podman or buildah (IMAGE=name:tag BASE_IMAGE=...)
	@ls build/wheelhouse/breakwater-*.whl >/dev/null 2>&1 || { echo "build/wheelhouse is not there: run make wheelhouse first" >&2; exit 1; }
	@for tool in docker podman buildah; do \
		if "$$tool" info >/dev/null 2>&1; then echo "$$tool build -t $(IMAGE)"; \
			exec "$$tool" build -t $(IMAGE) --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(VERSION) \
				--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null)" .; fi; \
	done; echo "no image was built: none of docker, podman and buildah works here (tried 'info' of each). Install one, or start its engine." >&2; exit 1

chart: $(DEV)  ## Check the Helm chart and pack it into build/
	@helm=$$($(BIN)/python -c 'from tests.cluster.local.build import tools; print(tools() / "helm")') && \
		"$$helm" lint --strict --quiet helm/breakwater && "$$helm" package helm/breakwater -d build

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
