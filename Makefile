# `make demo` and `make test` are complete by themselves: they build the environments they need.
# PYTHON may be any Python 3.10 … 3.12 with its venv module.
PYTHON ?= python3
MAIN := .venv
TRITON := .venv-triton
MILVUS := .venv-milvus
BIN := $(MAIN)/bin
CATALOGUE ?=
KEY ?=
SUITE ?=
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test torture bench check unit environments pretrain-defaults clean help

help:
	@echo "make demo [CATALOGUE=items.parquet [KEY=item_id]]   the whole path, on drawn goods or on your own catalogue"
	@echo "make test                                           style, types and every test, on real servers"
	@echo "make torture                                        the fault tests at fifty seeded points each; two hours or more"
	@echo "make bench [SUITE=search]                           speed, each figure beside its baseline"
	@echo "make pretrain-defaults                              train the shipped encoders again"
	@echo "make clean                                          remove what the above made, environments included"

$(MAIN)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info[:2] <= (3, 12); sys.exit(None if ok else f"Python 3.10, 3.11 or 3.12 is needed, {sys.executable} is {sys.version.split()[0]}; run: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(MAIN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(TRITON)/.ready: triton_models/requirements.txt
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check -r triton_models/requirements.txt
	touch $@

$(MILVUS)/.ready: tests/requirements-milvus.txt
	$(PYTHON) -m venv $(MILVUS)
	$(MILVUS)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements-milvus.txt
	touch $@

environments: $(MAIN)/.ready $(TRITON)/.ready $(MILVUS)/.ready

demo: $(MAIN)/.ready $(TRITON)/.ready
	$(BIN)/python -m examples.demo $(if $(CATALOGUE),--catalogue "$(CATALOGUE)") $(if $(KEY),--key "$(KEY)")

test: environments check
	$(BIN)/python -m pytest

torture: environments
	CONNECTOR_TORTURE=1 $(BIN)/python -m pytest tests/faults tests/unit tests/conformance/test_filters_on_stores.py

check: $(MAIN)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: environments
	$(BIN)/python -m benchmarks $(SUITE)

# MobileNet, which the image encoder begins with, is read by a package that nothing else needs.
pretrain-defaults: $(MAIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[defaults]" || echo "without ai-edge-litert: the image encoder begins with nothing"
	$(BIN)/python -m benchmarks.pretrain_defaults

clean:
	rm -rf $(MAIN) $(TRITON) $(MILVUS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/demo/out
