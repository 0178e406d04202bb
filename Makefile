# The R1 recipe, stage by stage: every target's commands can be read with `make -n` and run by hand.
#
#   make          R1-Zero from nothing: init, a noisy base by imitation, rounds of reinforcement, evaluation
#   make r1       all stages of the recipe in their first form
#   make test     builds everything and runs every test
#   make lint     formatting and clippy
#
# Variables: RUN=runs/NAME  SEED=N  ROUNDS=N  THREADS=N  MODEL=POLICY_DIRECTORY  TASKS=FILE.jsonl  (see README.md)

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

.PHONY: clean
clean:
	rm -rf target runs
