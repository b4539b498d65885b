# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up; a second call is quick. Set-up speaks on stderr only, so that
# `make demo DEMO_ARGS=--json` leaves one JSON object on stdout.

# The distribution's, if it is new enough: it is built with optimisations, and an agent takes an
# eighth less CPU by it than by one that is not.
PYTHON    ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
               2>/dev/null && echo /usr/bin/python3 || echo python3)
CLANG     ?= clang
STRIP     ?= llvm-strip
DEMO_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?=

VENV    := .venv
BIN     := $(VENV)/bin
BPF     := src/ipos/inic/bpf
MULTIARCH := $(shell uname -m)-linux-gnu

LAB_BPF := src/ipos/lab/bpf
BPF_OBJECTS := $(patsubst %.bpf.c,%.bpf.o,$(wildcard $(BPF)/*.bpf.c $(LAB_BPF)/*.bpf.c))
NATIVE_SOURCES := $(wildcard $(BPF)/native/*.c)
NATIVE := $(if $(NATIVE_SOURCES),$(BPF)/native/libipos.so)

WARN   := -O2 -g -Wall -Wextra -Werror
# Headers are shared by all programs; none of them calls every function.
BPF_CFLAGS := $(WARN) -MMD -MP -Wno-unused-function -target bpf -mcpu=v3 -I/usr/include/$(MULTIARCH) -I$(BPF)
NATIVE_CFLAGS := $(WARN) -DIPOS_NATIVE=1 -fPIC -shared -fno-strict-aliasing -I$(BPF)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup packages objects test test-slow farm lint demo fuzz bench bench-reading bench-agents docs wheel clean

help:
	@echo "make setup      Debian packages, .venv, compiled data plane; leaves .venv/bin/ipos"
	@echo "make demo       the farm in a minute (DEMO_ARGS=--json for one JSON object)"
	@echo "make test       ruff, mypy and every test that is not slow"
	@echo "make test-slow  the tests that take minutes"
	@echo "make farm       only the tests that need root and namespaces"
	@echo "make fuzz       the core against the Python oracle and eBPF, full size (FUZZ_ARGS)"
	@echo "make bench      paired measurements against direct connections and HAProxy"
	@echo "make bench-reading  what it costs to decide about a request head"
	@echo "make bench-agents   what 3 and 64 idle agents cost, and how soon they know each other"
	@echo "make docs       the pages of docs/ that are derived from code"
	@echo "make wheel      dist/*.whl with the compiled data plane inside"

# Recursion and not prerequisites: packages must be there before clang and python are run.
setup:
	@.ci/packages $(PYTHON) 1>&2
	@$(MAKE) -s --no-print-directory $(VENV)/.installed objects 1>&2

packages:
	@.ci/packages $(PYTHON) 1>&2

$(VENV)/.installed: pyproject.toml hatch_build.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

objects: $(BPF_OBJECTS) $(NATIVE)

# llvm-strip -g drops DWARF and keeps BTF and line information, which is what the verifier shows.
%.bpf.o: %.bpf.c Makefile
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
	$(STRIP) -g $@

# One compiler call for several sources leaves one dependency file of no use: name the headers.
$(BPF)/native/libipos.so: $(NATIVE_SOURCES) $(wildcard $(BPF)/*.h $(BPF)/*.c $(BPF)/*/*.h) Makefile
	$(CLANG) $(NATIVE_CFLAGS) $(NATIVE_SOURCES) -o $@

-include $(wildcard $(BPF)/*.d $(LAB_BPF)/*.d)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# Two files at a time: a farm test mostly waits, and a file's tests share a lab. What needs the CPUs
# for itself comes after them. Status 5 is pytest's for none selected, as a -k may do to either.
test: lint
	@$(BIN)/python -m pytest -m 'not slow and not alone' -n 2 --dist loadfile $(PYTEST_ARGS) \
		|| test $$? = 5
	@$(BIN)/python -m pytest -m 'alone and not slow' $(PYTEST_ARGS) || test $$? = 5

test-slow: setup
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

farm: setup
	@$(BIN)/python -m pytest -m 'farm and not slow' $(PYTEST_ARGS)

demo: setup
	@$(BIN)/ipos demo $(DEMO_ARGS)

fuzz: setup
	@$(BIN)/python -m fuzz $(FUZZ_ARGS)

bench: setup
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-reading: setup
	@$(BIN)/python -m bench.reading $(BENCH_ARGS)

bench-agents: setup
	@$(BIN)/python -m bench.agents $(BENCH_ARGS)

docs: setup
	@$(BIN)/python -m scripts.docs

wheel: setup
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . 1>&2

clean:
	@rm -f $(BPF_OBJECTS) $(BPF)/*.d $(LAB_BPF)/*.d $(BPF)/native/*.so $(BPF)/native/*.d
	@rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
