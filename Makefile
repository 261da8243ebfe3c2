# Two commands do the work: `make up` (a running platform) and `make test` (everything that must hold).
# GNU make 4.3 or newer, any POSIX shell. `make help` lists the rest.

PYTHON ?=
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SERVERS := $(CURDIR)/.cache/servers/bin
WITH_SERVERS := PATH="$(SERVERS):$$PATH"

# What each worker runs: tests/conftest.py. The tests of the Docker Engine mostly wait for it.
WORKERS := --numprocesses auto

# Branch coverage: the engine's heart 95 %, the rest 85 %.
COVERAGE_GATE = $(BIN)/coverage report --skip-covered --include='autogit/model/*,autogit/core/*' --fail-under=95 && \
	$(BIN)/coverage report --skip-covered --omit='autogit/model/*,autogit/core/*' --fail-under=85

export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up setup servers test check lint format type imports integration golden soak bench docs docs-check build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

up: ## install into .venv, write .env if there is none, and bring the platform up
	@scripts/venv
	@test -e .env || $(BIN)/autogit init --yes
	@$(BIN)/autogit up --yes

setup: ## make .venv with everything that development needs (instant when it is there)
	@scripts/venv dev

servers: # fetches the real servers that tests start, as far as this machine can have them
	@tests/servers/install

# Order matters: what fails in a second comes before what takes minutes.
test: setup servers lint type imports docs-check ## run everything that must hold: style, types, layers, reference pages, tests, coverage
	$(WITH_SERVERS) $(BIN)/pytest $(WORKERS) --cov --cov-report= $(PYTEST_ARGS)
	$(if $(PYTEST_ARGS),@echo "A part of the tests (PYTEST_ARGS): coverage is not judged.",$(COVERAGE_GATE))

check: test ## the same as test: all that CI runs

lint: setup ## check style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## rewrite the code in the house format (ruff)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

type: setup ## check types (mypy, strict)
	$(BIN)/mypy

imports: setup ## check that imports point down (import-linter)
	$(BIN)/lint-imports

integration: setup servers ## run only the tests that start real servers on loopback
	$(WITH_SERVERS) $(BIN)/pytest -m integration $(PYTEST_ARGS)

golden: setup ## rewrite the golden files from what the code does now; read the diff before committing it
	AUTOGIT_UPDATE_GOLDEN=1 $(BIN)/pytest tests/golden $(PYTEST_ARGS)

soak: setup servers ## run the long form of the fault tests (minutes to hours)
	$(WITH_SERVERS) AUTOGIT_SOAK=1 $(BIN)/pytest -m soak $(PYTEST_ARGS)

bench: setup ## measure what docs/explanation/performance.md reports
	$(BIN)/python benchmarks/run.py

docs: setup ## write docs/reference/, .env.example and the dashboards from what they are made of
	$(BIN)/python docs/generate.py
	$(BIN)/python scripts/dashboards.py

docs-check: setup ## fail where docs/reference/ or .env.example lag behind the code
	$(BIN)/python docs/generate.py --check

build: setup ## build the wheel and the source archive into dist/
	$(BIN)/python -m build --outdir dist .

clean: ## remove build output and caches (.venv, .env, .autogit and the lockfile stay)
	rm -rf build dist .cache .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find autogit docs tests -type d -name __pycache__ -prune -exec rm -rf {} +
