# Each target sets up what it needs by itself: `.venv` from requirements.lock, with hashes, through uv. The network is
# used when the lock or a pyproject.toml is newer than the environment, and at no other time.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The uv on PATH where there is one that starts, else the version that the lock names.
UV := $(or $(shell uv --version >/dev/null 2>&1 && command -v uv),.work/uv/bin/uv)

# uv is to use the interpreter that it is given, not to bring in another.
export UV_PYTHON_DOWNLOADS := never
# Where the shell forbids bytecode, each start would compile every import again.
unexport PYTHONDONTWRITEBYTECODE
# These would lead another environment's packages into ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help demo test test-all lint docs bench soak lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(READY) ## a recorded generation on shipped data; all but the model's answers is real
	@$(BIN)/codegen demo

test: $(READY) ## the quick tests: every room, and generations end to end in the sandbox; no network after the first time
	@$(BIN)/pytest -q -n auto -m "not slow" $(PYTEST_ARGS)

test-all: $(READY) ## all tests, minutes; what this machine lacks is skipped, with the reason
	@$(BIN)/pytest -q -n auto $(PYTEST_ARGS)

lint: $(READY) ## style, format, types, and the layers between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure speed and memory against a model with a fixed delay: about two minutes on a quiet machine
	@$(BIN)/python tests/benchmarks/import_cost.py
	@$(BIN)/python tests/benchmarks/from_record.py
	@$(BIN)/python tests/benchmarks/happy_path.py
	@$(BIN)/python tests/benchmarks/hundred_at_once.py

soak: $(READY) ## kill a generation at named points and at 200 random moments, and start it again; SOAK_ARGS="--help"
	@$(BIN)/python tests/soak/soak.py $(SOAK_ARGS)

docs: $(READY) docs/requirements.lock ## build the documentation into .work/site
	@test -x .work/docs/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .work/docs
	@$(BIN)/uv pip sync --quiet --python .work/docs/bin/python --require-hashes docs/requirements.lock
	@.work/docs/bin/mkdocs build --strict --site-dir .work/site

# The locks hold names, versions and hashes, for every platform and Python from 3.10 on, and no index.
COMPILE = pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate
lock: $(UV) ## resolve the dependencies anew
	$(UV) $(COMPILE) --upgrade plugins/codegen/pyproject.toml --extra flytekit --group pyproject.toml:dev -o requirements.lock
	$(UV) $(COMPILE) --upgrade --group pyproject.toml:docs -o docs/requirements.lock

clean: ## remove everything that was made here
	rm -rf .venv .work dist demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): requirements.lock pyproject.toml plugins/codegen/pyproject.toml
	@echo "Setting up .venv from requirements.lock"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; $(PYTHON) is " \
		+ sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@$(MAKE) --silent --no-print-directory $(UV)
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf .venv; $(UV) venv --quiet --python "$$(command -v $(PYTHON))" .venv; }
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable plugins/codegen
	@touch $@

# No prerequisite of the environment: one that stands needs no uv beside it.
.work/uv/bin/uv: requirements.lock
	@rm -rf .work/uv && mkdir -p .work
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .work/uv.lock
	@if $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --no-deps --require-hashes --target .work/uv -r .work/uv.lock; \
	elif $(PYTHON) -m venv .work/uv >/dev/null 2>&1; then \
		.work/uv/bin/python -m pip install --quiet --no-deps --require-hashes -r .work/uv.lock; \
	else \
		echo "uv can't be brought in: $(PYTHON) has neither pip nor venv." >&2; \
		echo "Install one of them (Debian, Ubuntu: apt-get install python3-venv), or uv itself." >&2; \
		exit 1; \
	fi
	@touch $@
