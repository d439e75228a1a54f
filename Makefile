# Each target does all its set-up by itself: a clean clone, python3.11 and make are enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
PEERS  := .venv-peers
MINUTES := 10
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Two workers: the suite waits for brokers and daemons as often as it computes.
PYTEST_ARGS ?= -n 2 --dist loadfile
SCRIPTS     := .ci/run scripts/apt-install

# Debian keeps mosquitto in /usr/sbin, which is not on everyone's path.
export PATH := $(PATH):/usr/sbin
unexport PYTHONPATH VIRTUAL_ENV

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup mosquitto test lint format types chaos demo bench bench-full bench-peers bench-detection bench-drift soak fuzz lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment .venv, from the hashed lock

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "make setup: Python must be 3.11, 3.12 or 3.13, got $$($(PYTHON) --version): name one by make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    scripts/apt-install 'make setup' "python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

mosquitto: ## the broker that tests and benchmarks start for themselves (Debian's package)
	@command -v mosquitto >/dev/null || scripts/apt-install 'make mosquitto' mosquitto

test: setup mosquitto ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup ## style, layers, Dockerfile, shell scripts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck $(SCRIPTS)

format: setup ## let ruff format and mend what it can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

types: setup ## mypy, strict, over everything
	$(BIN)/mypy

chaos: setup mosquitto ## kills and broken connections in mid-stream, counted, written into docs/reliability.md (20 minutes)
	$(BIN)/python -m tests.chaos

demo: setup ## a simulated pump, from its history to the first alert, on this terminal
	$(BIN)/anomalyd demo

bench: setup mosquitto ## short benchmarks; fails where a ratio is far below its goal
	$(BIN)/python -m bench

bench-full: setup mosquitto $(PEERS)/pyod-river/.ready $(PEERS)/numalogic/.ready ## all benchmarks, written into docs/performance.md (BENCH_ARGS='PART --rounds 3')
	$(BIN)/python -m bench --full $(BENCH_ARGS)

bench-peers: setup mosquitto $(PEERS)/pyod-river/.ready $(PEERS)/numalogic/.ready ## anomalyd beside other detectors, each in an environment of its own (8 GB)
	$(BIN)/python -m bench --full comparing

bench-detection: setup mosquitto $(PEERS)/pyod-river/.ready ## all detectors on recorded machines, written into docs/detection.md (ANOMALYD_DATA, or ../shared/data)
	$(BIN)/python -m bench.detection $(BENCH_ARGS)

bench-drift: setup ## retraining over recorded machines and simulated months (BENCH_ARGS=--write: into docs/retraining.md)
	$(BIN)/python -m bench.drift $(BENCH_ARGS)

SOAK_MINUTES ?= 30
SOAK_RATE    ?= 10000
SOAK_SEED    ?=
soak: setup mosquitto ## readings and faults for SOAK_MINUTES, then what was lost and what grew (SOAK_ARGS=--write: into docs/reliability.md)
	$(BIN)/python -m bench.soak --minutes $(SOAK_MINUTES) --rate $(SOAK_RATE) $(if $(SOAK_SEED),--seed $(SOAK_SEED)) $(SOAK_ARGS)

fuzz: setup ## looks for messages that make an error escape or disappear (MINUTES=10)
	$(BIN)/pip install --quiet --only-binary :all: --no-deps --require-hashes --requirement fuzz/requirements.txt
	$(BIN)/python -m fuzz $(MINUTES)

$(PEERS)/%/.ready: bench/peers/%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --requirement $<
	@touch $@

# dev.txt is resolved first and holds the others to its versions: what ships is what was tested.
# The newest versions: make lock LOCK_ARGS=--upgrade
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
          --no-emit-index-url --custom-compile-command 'make lock' $(LOCK_ARGS)
lock: setup ## requirements/*.txt from pyproject.toml
	$(COMPILE) pyproject.toml --extra demo --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file requirements/daemon.txt
	$(COMPILE) pyproject.toml --extra trainer --constraint requirements/dev.txt --output-file requirements/trainer.txt
	$(COMPILE) --group build --constraint requirements/dev.txt --output-file requirements/build.txt

clean: ## remove what was made, the virtual environment too
	rm -rf $(VENV) $(PEERS) .bench-detection .bench-drift .fuzz build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
