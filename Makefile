# Two commands matter: `make demo` and `make test`. Each needs only Python >= 3.11 and sets up its own .venv.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
FUZZ_TARGETS ?= http1 headers json form call-00 call-01 call-02 call-05 call-06 call-07 -chat -messages grpc-ModelInfer grpc-Predict grpc-Classify
FUZZ_FOLDER ?= .fuzz
# Two workers even on larger machines: the suites start servers and databases of their own.
TEST_WORKERS ?= 2

COMPILED_TESTS ?= tests/unit/gate tests/unit/protocols tests/unit/server tests/unit/serving tests/integration/fronts tests/integration/open_inference

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled check bench soak fuzz docs format clean

help:
	@echo "make demo   train, deploy and call a real model (ARGS=--exit stops after the calls)"
	@echo "make test   every test; starts its own PostgreSQL and S3 server"
	@echo "make test-compiled   the path of a call compiled to C, and its tests"
	@echo "make check  format, lint, types, layers, budgets, generated code, links"
	@echo "make bench  the benchmarks of benchmarks/, side by side with what they are compared to"
	@echo "make soak | fuzz | docs | format | clean"

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(PIP) install --quiet --editable '.[train]'
	@touch $@

# pip compiles whatever it installs, on one core; here all cores compile what a process of the tests may import.
UNUSED := /tests?/|/(plotly|databricks)/|/ray/(rllib|serve|llm)/|/transformers/models/(?!(auto|bert|bloom|distilbert|encoder_decoder|gpt2|llama|roberta)/)[^/]+/|/moto/(?!(core|s3|moto_server|utilities|moto_api|s3bucket_path|settings|instance_metadata|backend_index)/)[^/]+/

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(PIP) install --quiet --no-compile --editable '.[train,fast,qubo,search,sklearn,boost,catboost,torch,keras,transformers,tensorflow,mlflow,data,text,llm,llama-cpp,ray,postgres,s3,otel,test]'
	-$(BIN)/python -m compileall -qq -j 0 -x '$(UNUSED)' $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) install --quiet --editable '.[check]'
	@touch $@

# An editable installation is not compiled ahead; without this every process of a platform would read all of its source anew where
# Python is told to keep no bytecode (PYTHONDONTWRITEBYTECODE), as in many containers.
COMPILE = $(BIN)/python -m compileall -q src
# For the same reason tests keep theirs: to rewrite the assertions of every file anew costs each worker about 14 s of processor time.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

demo: $(VENV)/.demo
	$(COMPILE)
	$(BIN)/modelyard demo $(ARGS)

test: $(VENV)/.test
	$(COMPILE)
	$(PYTEST) -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/unasync.py --check
	$(BIN)/python scripts/protos.py --check
	$(BIN)/python scripts/reference.py --check
	$(BIN)/python scripts/budgets.py
	$(BIN)/python scripts/links.py

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python scripts/unasync.py
	$(BIN)/python scripts/protos.py
	$(BIN)/python scripts/reference.py

bench: $(VENV)/.test
	$(COMPILE)
	$(BIN)/python benchmarks/run.py $(ARGS)

# The path of a call compiled (docs/howto/compile.md), and what is tested of it beside the interpreted modules.
test-compiled: $(VENV)/.test
	$(PIP) install --quiet --editable '.[compile]'
	rm -rf dist/compiled && HATCH_BUILD_HOOKS_ENABLE=1 $(PIP) wheel . --quiet --no-deps --no-build-isolation --wheel-dir dist/compiled
	$(PIP) install --quiet --no-deps --target dist/compiled/installed dist/compiled/*.whl
	PYTHONPATH=dist/compiled/installed $(BIN)/python -c "import modelyard.server.handler as m; assert not m.__file__.endswith('.py'), m.__file__"
	PYTHONPATH=dist/compiled/installed $(PYTEST) -n $(TEST_WORKERS) --dist loadfile $(COMPILED_TESTS) $(ARGS)

soak: $(VENV)/.test
	MODELYARD_SOAK=1 $(PYTEST) tests/integration tests/acceptance --timeout 3600 $(ARGS)

fuzz: $(VENV)/.test
	FUZZ_INPUTS=1000000 FUZZ_SEED=0 $(PYTEST) -n $(TEST_WORKERS) --timeout 0 tests/fuzz $(ARGS)
	HYPOTHESIS_PROFILE=fuzz $(PYTEST) -n $(TEST_WORKERS) --timeout 3600 -m hypothesis tests/unit $(ARGS)
	$(PIP) install --quiet --only-binary :all: atheris && for target in $(FUZZ_TARGETS); do \
	  PYTHONPATH=tests $(BIN)/python -m fuzz.guided $$target $(FUZZ_FOLDER) -max_total_time=60 -artifact_prefix=$(FUZZ_FOLDER)/ || exit 1; done

docs: $(VENV)/.check
	$(BIN)/python scripts/reference.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
