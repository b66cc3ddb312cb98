# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests run one process per core; more threads inside each would only fight over them.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test bench bench-methods kernels-report screenshots lint install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,examples]' --constraint constraints.txt
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/hypertune search examples/demo.yaml

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

bench: $(STAMP)
	$(BIN)/python -m pytest -m bench --capture=no --timeout=7200

# Every method on every task, five seeds: at most two hours on two cores; with QUICK=1 ten minutes. Goes on where a
# stopped run was, and leaves tables, figure and raw results in tests/benchmarks/results.
bench-methods: $(STAMP)
	$(BIN)/python tests/benchmarks/run.py $(if $(QUICK),--quick)

# Compiles every kernel ahead of time for four GPUs and writes docs/kernels.md.
kernels-report: $(STAMP)
	$(BIN)/python -m hypertune.kernels.report

# The images of the MLflow UI in the README, from a small study in Chromium.
screenshots: $(STAMP)
	HYPERTUNE_SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest tests/browser -q
