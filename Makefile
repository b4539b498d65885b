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
BPF     := bpf
OBJECTS := src/ipos/objects
MULTIARCH := $(shell uname -m)-linux-gnu

PROGRAMS := $(filter-out $(BPF)/lab/%,$(wildcard $(BPF)/*/*.bpf.c))
# These are compiled for IPv6, too: IPOS_FAMILY in bpf/abi/address.h.
PROGRAMS6 := $(addprefix $(BPF)/,xdp/xdp.bpf.c tc/ingress.bpf.c tc/egress.bpf.c sock/sockops.bpf.c)
BPF_OBJECTS := $(patsubst %.bpf.c,$(OBJECTS)/%.bpf.o,$(notdir $(PROGRAMS))) \
	$(patsubst %.bpf.c,$(OBJECTS)/%6.bpf.o,$(notdir $(PROGRAMS6)))
LAB_OBJECTS := $(patsubst $(BPF)/lab/%.bpf.c,$(OBJECTS)/lab/%.bpf.o,$(wildcard $(BPF)/lab/*.bpf.c))
HEADERS := $(wildcard $(BPF)/*/*.h)
NATIVE_SOURCES := $(wildcard native/*.c)
NATIVE := native/libipos.so native/libipos6.so

WARN   := -O2 -g -Wall -Wextra -Werror -fno-strict-aliasing
# Headers are shared by all programs; none of them calls every function.
BPF_CFLAGS := $(WARN) -Wno-unused-function -target bpf -mcpu=v3 -I/usr/include/$(MULTIARCH) -I$(BPF)
NATIVE_CFLAGS := $(WARN) -DIPOS_NATIVE=1 -fPIC -I. -I$(BPF)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup packages objects abi test test-slow farm lint demo fuzz bench bench-reading \
	bench-packets bench-flood bench-agents docs wheel deb image clean

help:
	@echo "make setup      Debian packages, .venv, compiled data plane; leaves .venv/bin/ipos"
	@echo "make demo       the farm in a minute (DEMO_ARGS=--json for one JSON object)"
	@echo "make test       lint and every test that is not slow"
	@echo "make test-slow  the tests that take minutes"
	@echo "make farm       only the tests that need root and namespaces"
	@echo "make fuzz       the core against the Python oracle and eBPF, full size (FUZZ_ARGS)"
	@echo "make bench      paired measurements against direct connections and HAProxy"
	@echo "make bench-reading  what it costs to decide about a request head"
	@echo "make bench-packets  what XDP takes for one packet, by kind, beside programs that do the least"
	@echo "make bench-flood    what one SYN of a flood costs, beside the kernel's own cookies"
	@echo "make bench-agents   what 3 and 64 idle agents cost, and how soon they know each other"
	@echo "make abi        src/ipos/abi from the headers in bpf/abi"
	@echo "make lint       ruff, mypy, clang-format, generated files, the rules of CONTRIBUTING.md"
	@echo "make docs       the pages of docs/ that are derived from code"
	@echo "make wheel      dist/*.whl with the compiled data plane inside"
	@echo "make deb        dist/*.deb for this version of Debian, with all that it needs"
	@echo "make image      an OCI image from that, by buildah (IMAGE, IMAGE_BASE, BUILDAH)"

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

# What a program left behind that is gone would be loaded with the others.
objects: $(BPF_OBJECTS) $(LAB_OBJECTS) $(NATIVE)
	@rm -f $(filter-out $(BPF_OBJECTS),$(wildcard $(OBJECTS)/*.bpf.o))

# llvm-strip -g drops DWARF and keeps BTF and line information, which is what the verifier shows.
define compile_bpf
@mkdir -p $(@D)
$(CLANG) $(BPF_CFLAGS) $(FAMILY) -c $< -o $@
$(STRIP) -g $@
endef

$(OBJECTS)/lab/%.bpf.o: $(BPF)/lab/%.bpf.c Makefile
	$(compile_bpf)

# One rule for each program: its object has its name and another folder.
define program_rule
$(OBJECTS)/$(notdir $(1:.bpf.c=.bpf.o)): $(1) $(HEADERS) Makefile
	$$(compile_bpf)
endef
$(foreach program,$(PROGRAMS),$(eval $(call program_rule,$(program))))

define program6_rule
$(OBJECTS)/$(notdir $(1:.bpf.c=6.bpf.o)): FAMILY := -DIPOS_FAMILY=6
$(OBJECTS)/$(notdir $(1:.bpf.c=6.bpf.o)): $(1) $(HEADERS) Makefile
	$$(compile_bpf)
endef
$(foreach program,$(PROGRAMS6),$(eval $(call program6_rule,$(program))))

native/libipos6.so: FAMILY := -DIPOS_FAMILY=6
$(NATIVE): $(NATIVE_SOURCES) $(wildcard native/*.h) $(PROGRAMS) $(HEADERS) Makefile
	$(CLANG) $(NATIVE_CFLAGS) $(FAMILY) -shared $(NATIVE_SOURCES) -o $@

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@clang-format --dry-run -Werror $(wildcard $(BPF)/*/*.[ch] native/*.[ch] bench/*.c)
	@$(BIN)/python -m scripts.abi --check
	@$(BIN)/python -m scripts.house

# What Python knows of the headers of the data plane.
abi: setup
	@$(BIN)/python -m scripts.abi

test: lint
	@$(BIN)/python -m scripts.suite $(PYTEST_ARGS)

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

bench-packets: setup
	@$(BIN)/python -m bench.packets $(BENCH_ARGS)

bench-flood: setup
	@$(BIN)/python -m bench.flood $(BENCH_ARGS)

bench-agents: setup
	@$(BIN)/python -m bench.agents $(BENCH_ARGS)

docs: setup
	@$(BIN)/python -m scripts.docs

wheel: setup
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . 1>&2

# In a tree of its own: debhelper writes beside its rules.  --no-check-builddeps: build-essential is
# asked for else, and nothing is compiled there.
DEB := build/deb/ipos
deb: setup
	@command -v dh >/dev/null || apt-get -qq install --yes --no-install-recommends debhelper 1>&2
	@rm -rf build/deb && mkdir -p $(DEB)/wheel $(DEB)/completions dist
	@cp -r packaging/debian $(DEB)/debian
	@cp -r README.md docs packaging/ipos packaging/ipos.toml.example packaging/containers.conf $(DEB)
	@cp packaging/ipos-agent.service $(DEB)/debian/ipos.ipos-agent.service
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(DEB)/wheel . 1>&2
	@$(BIN)/python -m scripts.manpages $(DEB)/man
	@_IPOS_COMPLETE=source_bash $(BIN)/ipos > $(DEB)/completions/ipos
	@_IPOS_COMPLETE=source_zsh $(BIN)/ipos > $(DEB)/completions/_ipos
	@_IPOS_COMPLETE=source_fish $(BIN)/ipos > $(DEB)/completions/ipos.fish
	@cd $(DEB) && PIP='$(CURDIR)/$(BIN)/python -m pip' dpkg-buildpackage --build=binary \
		--no-check-builddeps --no-sign --no-pre-clean >../build.log 2>&1 || { tail -n 30 ../build.log >&2; exit 1; }
	@cp build/deb/*.deb dist/ && ls dist/*.deb

# IMAGE_BASE has to be the release of Debian that the package is made on.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
RELEASE := $(shell . /etc/os-release && echo "$$VERSION_CODENAME")
IMAGE      ?= localhost/ipos:$(VERSION)
IMAGE_BASE ?= docker.io/library/debian:$(RELEASE)-slim
BUILDAH    ?= buildah
image: deb
	@command -v buildah >/dev/null || apt-get -qq install --yes --no-install-recommends buildah 1>&2
	@rm -rf build/image && mkdir -p build/image
	@cp build/deb/ipos_*.deb build/image/ipos.deb
	@$(BUILDAH) build --quiet --build-arg BASE=$(IMAGE_BASE) --tag $(IMAGE) \
		--file packaging/oci/Containerfile build/image >build/image.id
	@echo $(IMAGE)

clean:
	@rm -rf $(OBJECTS) $(NATIVE) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
