# The two commands a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/demo
# Files of tests are shared out among this many processes.
WORKERS ?= 2
# Small models run faster on one thread than on two that wait for each other.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all bench lint clean

demo: $(STAMP)
	$(BIN)/whenlens study organism:latent --out $(OUT)

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-all: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m ""

bench: $(STAMP)
	MODEL=$(MODEL) $(BIN)/python -m tests.bench

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,organisms]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
