# Every command of the project. CI runs the same ones.

PYTHON ?= python3
BENCH_ARGS ?=
SEEDS ?= 1000
PROFILE ?= faults
RECIPE ?=
JOBS ?= 1

BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help venv run test retest check interop soak sim fuzz bench clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv with kraal and its tools; done by the others as needed

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: $(STAMP) ## start a server on 127.0.0.1:2181, data in ./kraal-data
	$(BIN)/kraal serve

test: $(STAMP) ## run the tests, without the long runs
	$(BIN)/python -m pytest -m "not soak"

retest: $(STAMP) ## run the tests that failed in the last run
	$(BIN)/python -m pytest -m "not soak" --last-failed --last-failed-no-failures none

check: $(STAMP) ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_layers.py

interop: $(STAMP) ## compare with Apache ZooKeeper and real clients, long runs included
	$(BIN)/python -m pytest tests/interop

soak: $(STAMP) ## run the long runs only
	$(BIN)/python -m pytest -m soak

sim: $(STAMP) ## ensembles in virtual time; SEEDS=1000 JOBS=1 PROFILE=faults or RECIPE=all
	$(BIN)/python -m kraal.sim --seeds $(SEEDS) --jobs $(JOBS) \
		$(if $(RECIPE),--recipe $(RECIPE),--profile $(PROFILE))

fuzz: $(STAMP) ## coverage-guided fuzzing of every decoder and of a whole replica
	$(BIN)/python -m tests.fuzz

bench: $(STAMP) ## measure kraal and Apache ZooKeeper; BENCH_ARGS="--quick" for a first look
	$(BIN)/python -m bench $(BENCH_ARGS)

clean: ## remove .venv, build/ and caches, but no data
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
