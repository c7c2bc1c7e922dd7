# Two commands matter: `make sweep` answers the scenario, `make test` checks everything.
# Needed: git, make and Python 3.12 (`.python-version` selects it). Everything else lands in .venv.

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PYTHON ?= python3.12
BIN := .venv/bin
SCENARIO ?= scenarios/3090.yaml
export UV_PYTHON_DOWNLOADS := never

.PHONY: env sweep test check lint types tests docs outputs format traces bench matrix clean

env: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --clear --python 3.12 .venv
	$(UV) pip install --quiet --python .venv --constraint constraints.txt --editable '.[lerobot]' --group dev
	touch $@

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

sweep: env
	$(BIN)/actprof sweep $(SCENARIO)

test: env lint types tests

check: test

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: env
	$(BIN)/mypy

tests: env
	$(BIN)/pytest --numprocesses auto --dist loadfile

# The site, in build/site. Material says at each start that it will end in 2027.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Print anew what README.md and docs/ show of commands.
outputs: env
	$(BIN)/python tests/docs/consoles.py

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

traces: env
	$(BIN)/python benchmarks/ship_traces.py $(POLICIES)

bench: env
	$(BIN)/python benchmarks/run.py

# ACT under several lerobots and torches, each in an environment of its own: 60 GB and an hour.
matrix: env
	$(BIN)/python benchmarks/matrix.py --uv $(UV)

clean:
	rm -rf .venv .uv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
