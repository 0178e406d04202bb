# The R1 recipe, stage by stage: every target's commands can be read with `make -n` and run by hand.
# `make help` lists every target and variable: it prints the lines that begin with #: here and in scripts/*.mk.
#
#:Targets
#:  make help        this list
#:  make clean       removes target and runs
#:
#:Variables of every target
#:  SEED             of everything random [0]
#:  THREADS          to compute with; never changes a result [all]
#:  CARGO            the build tool [cargo]

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := zero

SEED    ?= 0
THREADS ?= $(shell getconf _NPROCESSORS_ONLN)
CARGO   ?= cargo
BIN     := target/release

include scripts/build.mk
include scripts/stage.mk
include scripts/zero.mk
include scripts/r1.mk
include scripts/cold.mk
include scripts/students.mk

.PHONY: clean help
help:
	@sed -n 's/^#:\(.*\)/\1/p' $(MAKEFILE_LIST)

clean:
	rm -rf target runs
