# Two commands are enough on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Modules are compiled when they are first imported: of all that is installed, few ever are.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Each worker begins with its part of the files, so that few fixtures of a file or a folder are made by several. Two cores
# keep three of them busy, since many tests wait for other programs. More threads of linear algebra than cores wait for
# each other, busily, and take four times as long.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -q

# Hundreds of processes are started: where bytecode is not kept, each compiles all that it imports anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install demo app test test-ray test-ray-quick test-slow test-browser test-browser-quick test-integrations \
        test-mdistiller test-keras-backends packages lint types contracts check testbed bench bench-quick reports \
        benchmarks clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[dev]'
	touch $@

demo: install            ## record a sick distillation of real data, diagnose it, cure it, show the proof
	$(BIN)/kddoctor demo

app: demo                ## the inspection app on the demo's runs
	$(BIN)/kddoctor app demo/*/

test: install            ## all tests but those of browsers and of other tools, and slow ones
	$(PYTEST) -m "not browser and not integrations and not ray and not slow"

test-slow: install       ## earlier batches of the benchmark's implementations, each recorded once, and the whole test-bed
	$(PYTEST) -m "slow and not browser"

# The report and the app in a real browser; needs Chromium, node and Java. quick: the fullest pages alone, for CI.
test-browser-quick: PAGES := -m "not slow"
test-browser test-browser-quick: $(VENV)/.browser
	$(PYTEST) tests/browser $(PAGES)

test-integrations: $(VENV)/.integrations  ## recorders and importers with the real tools: transformers, Lightning, Keras, …
	KERAS_BACKEND=torch $(PYTEST) -m integrations tests/integrations tests/importers tests/docs

test-mdistiller: install  ## the importer on what mdistiller's own trainer writes in the test; SOURCE: a clone, or its address
	$(PIP) -e '.[dev,importers]' yacs tqdm pillow
	$(PIP) --no-deps tensorboardX
	rm -rf $(VENV)/mdistiller && git clone --quiet --depth 1 $(or $(SOURCE),https://github.com/megvii-research/mdistiller) $(VENV)/mdistiller
	MDISTILLER=$(abspath $(VENV))/mdistiller $(PYTEST) -m integrations tests/importers/test_mdistiller.py

test-keras-backends: install  ## the Keras recorder on TensorFlow and on JAX; large packages, so that CI runs torch alone
	$(PIP) -e '.[dev,integrations]' grpcio protobuf requests
	@# TensorFlow asks for an older h5py than the one that Keras has here.
	$(PIP) --no-deps tensorflow-cpu jax jaxlib astunparse flatbuffers gast google-pasta opt_einsum six termcolor wheel wrapt
	$(PYTEST) tests/integrations/test_keras_backends.py

test-ray: $(VENV)/.ray   ## treatments on a local cluster of several Ray nodes; some minutes
	$(BIN)/python -m pytest -q -m ray tests/treatment/test_ray.py

test-ray-quick: $(VENV)/.ray  ## of these, the one in which a node is killed in mid-trial, with nothing lost; for CI
	$(BIN)/python -m pytest -q -m ray tests/treatment/test_ray.py -k "mid_trial or refused"

# What the suites of other programs need beside the package's own requirements, one after the other in one environment.
packages: install
	$(MAKE) --jobs=1 $(VENV)/.browser $(VENV)/.integrations $(VENV)/.ray

$(VENV)/.browser: $(STAMP) tests/browser/package.json
	$(PIP) -e '.[dev,browser]'
	cd tests/browser && npm install --ignore-scripts --no-audit --no-fund --silent
	touch $@

$(VENV)/.integrations: $(STAMP)
	$(PIP) -e '.[dev,integrations,importers]' mlflow-skinny alembic sqlalchemy
	$(PIP) --no-deps torchdistill tensorboardX
	touch $@

$(VENV)/.ray: $(STAMP)
	$(PIP) -e '.[dev,ray]'
	touch $@

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

bench: install           ## the fault benchmark: how often is the diagnosis right? An hour the first time, then minutes
	$(BIN)/kddoctor bench --output reports --readme README.md --accuracy kddoctor/report/accuracy.json

bench-quick: install     ## a slice of it in a few minutes, against the committed verdicts
	$(BIN)/kddoctor bench --quick

reports: bench demo      ## everything below reports/ and the pictures of the README, made anew
	$(BIN)/kddoctor diagnose demo/teacher-rows-misaligned --html reports/demo-before.html --exit-zero --quiet
	$(BIN)/kddoctor diagnose demo/teacher-rows-misaligned-treated --html reports/demo-after.html \
		--before demo/teacher-rows-misaligned --exit-zero --quiet
	$(BIN)/python docs/scenarios.py runs reports
	$(PIP) -e '.[dev,browser]'
	$(BIN)/python docs/pictures.py demo

benchmarks: install      ## speed and accuracy of the probes, as ratios against peers
	$(PIP) -e '.[dev,importers]'
	$(PIP) --no-deps -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.cka
	$(BIN)/python -m benchmarks.temperature_sweep
	$(BIN)/python -m benchmarks.recorder
	$(BIN)/python -m benchmarks.regressions
	$(BIN)/python -m benchmarks.app

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
