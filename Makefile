# Two commands are enough on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo test lint types contracts check testbed bench bench-quick reports benchmarks clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install            ## record a sick distillation of real data, diagnose it, cure it, show the proof
	$(BIN)/kddoctor demo

test: install            ## all tests
	$(BIN)/python -m pytest -n 2 -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports

check: lint types contracts test   ## what CI runs

testbed: install         ## the whole fault test-bed: every fault, more seeds; prints accuracy and false alarms
	$(BIN)/python -m tests.testbed

bench: install           ## the fault benchmark: how often is the diagnosis right? Two hours the first time, then minutes
	$(BIN)/kddoctor bench --output reports --readme README.md --accuracy kddoctor/report/accuracy.json

bench-quick: install     ## a slice of it in a few minutes, against the committed verdicts
	$(BIN)/kddoctor bench --quick

reports: bench           ## everything below reports/, made anew

benchmarks: install      ## speed and accuracy of the probes, as ratios against peers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.cka
	$(BIN)/python -m benchmarks.temperature_sweep

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
