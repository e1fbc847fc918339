# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One more than CPUs: tests of leases and processes wait a good part of their time.
JOBS   ?= $(shell $(PYTHON) -c "import os; print(1 + (os.cpu_count() or 1))")

.PHONY: constraints demo test slow chaos lint docs format bench fuzz sanitize ext ext-debug clean help

help:            ## show what there is
	@grep -E '^[a-z-]+: .*##' Makefile | sed -E 's/: .*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An editable install with the kernels built in place; redone when the build changes.
$(VENV)/.installed: pyproject.toml setup.py constraints.txt _braid.pyx _braid.pxd $(wildcard kernels/*) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed   ## make a small export, convert it, verify it, say how to look at it
	$(BIN)/shardlift demo --dir demo

test: $(VENV)/.dev         ## every test but the slow ones (ten minutes on two cores)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow"

slow: $(VENV)/.dev         ## the slow tests: chaos, power cuts, full disks, sanitizers, memory
	$(BIN)/pytest -n 2 --dist worksteal -m slow

chaos: $(VENV)/.dev        ## a long chaos test: some hundred shards, kills, a broker restart
	CHAOS_SHARDS=$${CHAOS_SHARDS:-9x8x7} $(BIN)/pytest -m slow tests/e2e/test_chaos.py

lint: $(VENV)/.dev         ## ruff, cython-lint, mypy, the kernels' stub and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint _braid.pyx _braid.pxd kernels
	$(BIN)/mypy
	$(BIN)/stubtest _braid --mypy-config-file pyproject.toml --allowlist tests/kernel/stub_exceptions.txt
	$(BIN)/lint-imports

docs: $(VENV)/.dev         ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.dev       ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ext: | $(BIN)/python       ## build only the kernels, in place
	$(BIN)/python setup.py -q build_ext --inplace

# The result is dated 1970, so that the next `make ext` or install optimises it again.
ext-debug: | $(BIN)/python ## the same in half the time, for editing kernels: hardly optimised
	KERNEL_FLAGS="-O1 -g" $(BIN)/python setup.py -q build_ext --inplace
	touch -d @0 _braid*.so build/lib*/_braid*.so

sanitize: $(VENV)/.dev     ## the kernel tests on a build with address and undefined-behaviour checks
	$(BIN)/python -m fuzz.sanitized $(BIN)/python -m pytest \
	  -o "pythonpath=build/sanitized ." -m "not slow" tests/kernel

# FUZZ_RUNS executions of each target, or FUZZ_SECONDS of it, whichever ends first (0: no limit).
FUZZ_RUNS    ?= 1000000
FUZZ_SECONDS ?= 0
FUZZ_TARGETS ?= $(shell $(BIN)/python -c "from fuzz.targets import TARGETS; print(*TARGETS)")

fuzz: $(VENV)/.fuzz        ## a million executions of every target; FUZZ_RUNS, FUZZ_SECONDS, FUZZ_TARGETS
	set -e; for target in $(FUZZ_TARGETS); do echo "fuzz $$target"; \
	  $(BIN)/python -m fuzz.sanitized --fuzz $(BIN)/python -m fuzz.run $$target \
	    -runs=$(FUZZ_RUNS) -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1; done

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3.0'
	@touch $@

# A run of half an hour that updates the tables of README and docs; BENCH=--quick only looks.
BENCH ?= --write

bench: $(VENV)/.bench      ## measure beside TensorStore and igneous; BENCH="--write --large" for all
	$(BIN)/python -m benchmarks $(BENCH)
	$(BIN)/python -m benchmarks.ledger_scale $(if $(findstring --quick,$(BENCH)),--edges 8) $(filter --write,$(BENCH))

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

# What is left after it: make test, and commit the file with what passed.
constraints: | $(BIN)/python ## write constraints.txt anew: the newest versions of everything
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --disable-pip-version-check '.[dev]'
	(grep '^#' constraints.txt; build/constraints/bin/pip freeze --exclude shardlift) > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info _braid*.so _braid.c
