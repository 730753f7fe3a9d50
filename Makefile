PYTHON ?= python3
BIN := .venv/bin
# One process for each core, each with one thread: two that share all cores get in each other's way.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test lint types docs docs-version gallery notebooks package lowest clean fuzz crash

demo: .venv/ready
	$(BIN)/cofire demo

# All but the slow ones; `make test ALL=1` runs these too, and lists the error messages that none provokes.
test: .venv/ready
	$(TESTS) $(if $(ALL),--every-message,-m "not slow")

# Bad input, other every day: a right answer or an error of ours.
SEED ?= $(shell date +%Y%m%d)
fuzz: .venv/ready
	@echo "seed $(SEED)"
	COFIRE_FUZZ=20 COFIRE_FUZZ_SEED=$(SEED) $(TESTS) tests/fuzz

# Kills, full disks, folders without rights, two processes at once, for every command that writes.
crash: .venv/ready
	@echo "seed $(SEED)"
	COFIRE_CRASHES=12 COFIRE_FUZZ_SEED=$(SEED) $(TESTS) tests/crash

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: .venv/ready
	$(BIN)/mypy

# The site in build/site, with the pictures that `make gallery` made; it asks for no network when it is read.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -m mkdocs build --strict

# The same as one of the versions on the branch `gh-pages`, between which readers choose: make docs-version VERSION=0.2
docs-version: .venv/ready
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mike deploy --update-aliases $(VERSION) latest
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mike set-default latest

gallery: .venv/ready
	PYTHONPATH=. $(BIN)/python -m website.gallery

# The notebooks as files for Jupyter; their sources are notebooks/*.py.
notebooks: .venv/ready
	mkdir -p build/notebooks
	for source in notebooks/*.py; do $(BIN)/jupytext --quiet --to ipynb --output build/notebooks/$$(basename $$source .py).ipynb $$source || exit 1; done

# Wheel and sdist, checked, and the wheel tried in an environment of its own.
package: .venv/ready
	rm -rf dist build/installed
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(PYTHON) -m venv build/installed
	build/installed/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd build/installed && PYTHONPATH= bin/cofire --version && PYTHONPATH= bin/python -m doctest lib/python*/site-packages/cofire/network/network.py

# The oldest versions that pyproject.toml allows: what they cannot do is a bound to raise.
lowest:
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=build/lowest build/lowest/bin/uv pip install --quiet --resolution lowest-direct --editable ".[matplotlib,trust,lightning,transformers]" --requirement tests/lowest.txt
	cd build && PYTHONPATH= lowest/bin/cofire --version
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -q --override-ini=filterwarnings=default src/cofire tests/patterns tests/graphs tests/activations tests/boost tests/report/test_notebook.py tests/cli/test_help.py tests/test_options.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('cofire needs Python 3.11 or newer: make PYTHON=python3.12 ...' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist cofire-demo .pytest_cache .mypy_cache .ruff_cache
