# Two commands do everything on a fresh machine: `make demo` and `make test`.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is supported. Set PYTHON to choose another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)

AUDIO ?=
FRAMEWORK ?= livekit
CLOUD ?=
REPLAY_FLAGS := $(if $(CLOUD),--cloud)

.PHONY: demo test lint bench faults fuzz parity matrix clean

demo: $(VENV)/.demo
	$(BIN)/eot replay --framework $(FRAMEWORK) $(REPLAY_FLAGS) $(if $(AUDIO),"$(AUDIO)")

# As many tests at once as there are cores; what they reckon is small, so that a second thread each would only be in the way.
test: lint
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --include 'eot_core/*' --fail-under 95

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict eot_core adapters

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults --write docs/faults.md

parity: $(VENV)/.dev
	$(BIN)/python -m tests.parity --write docs/parity.md

matrix: $(VENV)/.dev
	$(BIN)/python -m tests.matrix

# The long versions of what `make test` samples: random interleavings, and hostile bytes at both ends of the protocol.
fuzz: $(VENV)/.dev
	EOT_INTERLEAVINGS=10000 EOT_FUZZ_FRAMES=100000 $(BIN)/python -m pytest -q --timeout 1200 -s \
		tests/eot_core/test_session_stateful.py tests/eot_core/protocol

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one, or set PYTHON"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[livekit,pipecat,open,cli]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[livekit,pipecat,open,cli,bench,plot,serve]' --group dev
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .venv-matrix .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
