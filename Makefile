# Everything that a developer does. Needs Python ≥ 3.11, make and the package index; makes its own environment.
.PHONY: install demo test test-slow test-newest audit lint format bench bench-batches bench-gpu bench-peers devices \
	peers trained trained-peers hostile fuzz checkpoints int8 parity catalogue site release-check clean
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) and print("$(p)")' 2>/dev/null)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export TF_CPP_MIN_LOG_LEVEL ?= 2
export KERAS_BACKEND ?= tensorflow

help:
	@echo "make demo       build v8-s, export it in every format, print one table, draw one picture;"
	@echo "                 WEIGHTS=yolov8s.pt: the network of that file, with what it has learned"
	@echo "make test       the test suite"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-newest  the suite on the newest version of every package, in an environment of its own"
	@echo "make audit      known vulnerabilities of the packages in the environment"
	@echo "make lint       style and types"
	@echo "make format     bring the code into style"
	@echo "make bench      measure build time, import time and latency on this machine"
	@echo "make bench-batches  images a second and memory at batch 1, 8 and 32"
	@echo "make bench-gpu  latency and throughput of SavedModels, JAX and ONNX on a GPU, or on the CPU without one"
	@echo "make bench-peers  the latencies, also of other projects' networks, in an environment of its own"
	@echo "make devices    ask Vela, TFLite Micro and LiteRT about every family; goes on where it was stopped"
	@echo "make hostile    files that were made to do harm: their counts, worst time and memory"
	@echo "make trained CACHE=dir  fetch trained networks from packages, measure int8 of them by every method"
	@echo "make trained-peers CACHE=dir  the same by ai-edge-quantizer, in an environment of its own"
	@echo "make fuzz       damage files of every kind at random, for an hour together; FUZZ_SECONDS=… for longer"
	@echo "make checkpoints CHECKPOINTS=dir GOLDEN=dir  bring original weights in, compare outputs"
	@echo "make int8       the int8 file of each release's smallest network, its operators, none of them in float"
	@echo "make catalogue  one page with every network, to filter, sort and compare: build/catalogue.html"
	@echo "make site       the pages, with the catalogue and the reference of the functions: build/site"
	@echo "make release-check  build wheel and source package, check what is in them, try the wheel in a new environment"
	@echo "make parity GOLDEN=dir  compare every network with its golden outputs"

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py $(and $(WEIGHTS),--weights $(WEIGHTS)) $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow $(ARGS)

# The packages of pyproject.toml without their bounds: pip then takes the newest that fit together.
UNBOUND = import re, tomllib; \
	project = tomllib.load(open("pyproject.toml", "rb"))["project"]; extras = project["optional-dependencies"]; \
	names = project["dependencies"] + [name for extra in ("bom", "completion", "dev", "ethos-u", "features", "hub", "micro", "openvino", "plots", "serving", "signing", "site") for name in extras[extra]]; \
	print(*{re.match(r"[\w.-]+", name)[0] for name in names} - {project["name"]})

test-newest:
	rm -rf $(VENV)-newest
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		$$($(PYTHON) -c '$(UNBOUND)')
	$(VENV)-newest/bin/python -m pip list --disable-pip-version-check
	$(VENV)-newest/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

audit: $(STAMP)
	test -x $(VENV)-audit/bin/pip-audit || $(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)-audit/resolved.txt
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)-audit/resolved.txt $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python zoo/benchmark.py --out bench $(ARGS)

bench-batches: $(STAMP)
	$(BIN)/python zoo/batches.py $(ARGS)
	$(BIN)/python zoo/batching.py

bench-gpu: $(STAMP)
	$(BIN)/python zoo/gpu.py --out bench-gpu $(ARGS)

PEERS := keras-cv kagglehub kyolo openvino litert-torch ai-edge-quantizer onnxscript

peers:
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(PEERS)

bench-peers: peers
	$(VENV)-peers/bin/python zoo/benchmark.py --out bench-peers --parts latency $(ARGS)

trained-peers: peers
	$(VENV)-peers/bin/python zoo/trained.py --cache $(or $(CACHE),$(error name a folder for the packages: make trained-peers CACHE=dir)) \
		--methods ai-edge-quantizer $(ARGS)

devices: $(STAMP)
	$(BIN)/python tflite/devices.py $(ARGS)

int8: $(STAMP)
	$(BIN)/python zoo/int8.py $(ARGS)

trained: $(STAMP)
	$(BIN)/python zoo/trained.py --cache $(or $(CACHE),$(error name a folder for the packages: make trained CACHE=dir)) $(ARGS)

parity: $(STAMP)
	$(BIN)/python zoo/parity.py $(or $(GOLDEN),$(error name the folder of golden files: make parity GOLDEN=dir)) $(ARGS)

catalogue: $(STAMP)
	$(BIN)/python zoo/site/catalogue_page.py

site: $(STAMP)
	$(BIN)/python -m mkdocs build --config-file zoo/site/mkdocs.yml $(ARGS)

hostile: $(STAMP)
	$(BIN)/python -m pytest tests/test_hostile_work.py tests/test_hostile_files.py tests/test_hostile_hdf5.py \
		tests/test_hostile_pickles.py tests/test_onnx_reading.py $(ARGS)

FUZZ_SECONDS ?= 3600

fuzz: $(STAMP)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/test_fuzz.py tests/test_strangers.py -m '' --hypothesis-profile=fuzz $(ARGS)

checkpoints: $(STAMP)
	$(BIN)/python zoo/checkpoints.py $(and $(CHECKPOINTS),--checkpoints $(CHECKPOINTS)) $(and $(GOLDEN),--golden $(GOLDEN)) $(ARGS)

# What a release needs: both packages build, hold what they should, and the wheel works in an environment of its own.
release-check:
	rm -rf dist $(VENV)-release
	test -x $(VENV)-build/bin/twine || $(PYTHON) -m venv $(VENV)-build
	$(VENV)-build/bin/python -m pip install --quiet --disable-pip-version-check --upgrade build twine
	$(VENV)-build/bin/python -m build --outdir dist .
	$(VENV)-build/bin/twine check --strict dist/*
	$(VENV)-build/bin/python zoo/release.py contents dist
	$(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd dist && ../$(VENV)-release/bin/python ../zoo/release.py works

clean:
	rm -rf build dist demo bench bench-gpu bench-peers .pytest_cache .ruff_cache .mypy_cache
