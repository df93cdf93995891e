PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
CODE := shards encoders build_index segmenter labeler evaluation pocket tests benchmarks

.PHONY: help setup demo picture test check format clean

help:              ## this list
	@grep -hE '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY)    ## make .venv here and install the project with its development tools

demo: $(READY)     ## build a small index and label seven photographs; nothing is downloaded but packages
	$(BIN)/python -m labeler.demo demo/pictures
	$(BIN)/python -m build_index --corpus demo --preset pocket --out demo/shards
	$(BIN)/python -m labeler demo/pictures --index demo/shards --out demo/labels
	@echo "look at demo/labels/report.html and demo/labels/*.overlay.jpg"

picture: $(READY)  ## draw the README's picture anew, with the pocket pair as it is now
	rm -rf demo/readme
	$(BIN)/python -m labeler.demo demo/readme/pictures
	$(BIN)/python -m build_index --corpus demo --preset pocket --out demo/readme/shards
	$(BIN)/python -m labeler demo/readme/pictures/china.jpg --index demo/readme/shards --out demo/readme/labels
	cp demo/readme/labels/china.overlay.jpg docs/pictures/china.jpg

test: $(READY)     ## all tests that need no network, no GPU and no real weights
	$(PYTEST)

check: $(READY)    ## format, lint, types, tests: what a commit must pass
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(PYTEST)

format: $(READY)   ## rewrite the code in the project's format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:             ## remove everything that these commands made
	rm -rf $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
