# Every target makes its own .venv when there is none: `make run` and `make test` need nothing before
# them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test test-lowest check coverage bench docs clean

run: $(VENV)/.ready
	$(BIN)/python -m simulator.run --policies gptrec,sasrec

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

# Lines that the tests reach, with a floor.
coverage: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov=policies --cov=gptrec --cov=simulator \
		--cov=analysis --cov-fail-under=80

# The tests with the oldest libraries that pyproject.toml admits.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) .github/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet -c .venv-lowest/constraints.txt torch
	.venv-lowest/bin/pip install --quiet -c .venv-lowest/constraints.txt -e '.[test]'
	.venv-lowest/bin/python -m pytest -n 2 --dist loadfile -o filterwarnings=ignore

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/throughput.py

# The documents as a site, in site/; every link is checked, and nothing is loaded from elsewhere.
docs: $(VENV)/.ready
	$(PIP) -e '.[docs]'
	$(BIN)/mkdocs build --strict

# torch goes first and alone: an unpinned torch pulls gigabytes of GPU packages.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) site .venv-lowest *.egg-info .pytest_cache .mypy_cache .ruff_cache
