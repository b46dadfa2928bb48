# Everything runs in .venv, which is made from pyproject.toml and constraints.txt, and brought up to date
# when either changes. Nothing is installed anywhere else.

SHELL := bash
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# One process here; more are for `accelerate launch --config_file configs/accelerate/….yaml`. Precision
# and device are the script's choice: it uses a GPU, and bf16 on it, where there is one.
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no

# The processes of the test run share the cores: more threads in each would only make them wait.
TEST_ENV := OMP_NUM_THREADS=1 MLFLOW_DISABLE_TELEMETRY=true
ARGS ?=

# All that need no argument: the signatures are given recordings.
BENCHMARKS := $(filter-out benchmarks/signatures.py,$(wildcard benchmarks/*.py))

.PHONY: pretrain ablation test lint layers bench clean help

help:
	@echo "make pretrain  train a masked autoencoder on synthetic 12-lead ECG, from nothing (ARGS='--optim.lr 1e-3')"
	@echo "make ablation  objectives and backbones at one budget, from data/ptbxl_dev to a table: hours; it resumes"
	@echo "make test      run the tests (ARGS='-k shards')"
	@echo "make lint      ruff, mypy and the check of the layers"
	@echo "make bench     measure what is fast, and print it as tables"
	@echo "make clean     remove .venv and what the tools left; data/ and runs/ stay"

pretrain: .venv/core
	$(LAUNCH) pretrain/mae.py $(ARGS)

# ARGS='--config ablation/ptbxl_gpu' is the larger one, for a GPU.
ablation: .venv/core
	$(BIN)/biofm ablate --config ablation/ptbxl_dev $(ARGS)

test: .venv/all
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/all layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# import-linter does not see a folder without __init__.py, and datasets/ must have none (CONTRIBUTING
# says why): it is shown a copy of the package in which datasets/ has one.
layers: .venv/all
	@rm -rf .cache/layers && mkdir -p .cache/layers
	@cp -rL biofm .cache/layers/biofm && touch .cache/layers/biofm/datasets/__init__.py
	cd .cache/layers && ../../$(BIN)/lint-imports --config ../../pyproject.toml --no-cache

bench: .venv/all
	@for benchmark in $(BENCHMARKS); do \
		echo "$$benchmark" && $(TEST_ENV) $(BIN)/python $$benchmark || exit 1; \
	done

clean:
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist biofm.egg-info
	find . -name __pycache__ -not -path './data/*' -not -path './runs/*' -exec rm -rf {} +

.venv/core: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing biofm into .venv (about 2 GB, a minute or two the first time) …"
	@$(PIP_INSTALL) -e .
	@touch $@

.venv/all: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing biofm and what its tests use into .venv (about 2.3 GB, a few minutes the first time) …"
	@$(PIP_INSTALL) -e '.[dev,ray,s3,deepspeed,federated]'
	@touch .venv/core $@

.venv/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
				echo "$$python cannot make virtual environments. Install its venv module" \
					"(Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }; \
			exec "$$python" -m venv .venv; \
		fi; \
	done; \
	echo "biofm needs Python 3.11 or newer, and none was found on the PATH. Install one" \
		"(Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.12;" \
		"conda create -n py312 python=3.12), or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 1
