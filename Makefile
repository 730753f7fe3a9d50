PYTHON ?= python3
BIN := .venv/bin
# One process for each core, each with one thread: two that share all cores get in each other's way.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.PHONY: demo test quick lint types docs gallery clean

demo: .venv/ready
	$(BIN)/cofire demo

test: .venv/ready
	$(TESTS) --every-message

quick: .venv/ready
	$(TESTS) -m "not slow"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: .venv/ready
	$(BIN)/mypy

# The site in build/site, with the pictures that `make gallery` made; it asks for no network when it is read.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -m mkdocs build --strict

gallery: .venv/ready
	PYTHONPATH=. $(BIN)/python -m website.gallery

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('cofire needs Python 3.11 or newer: make PYTHON=python3.12 ...' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv cofire-demo .pytest_cache .mypy_cache .ruff_cache
