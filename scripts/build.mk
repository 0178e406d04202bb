# Building and testing. Included by the Makefile.
#
#:
#:Building
#:  make build       every tool, optimized
#:  make test        builds everything and runs every test
#:  make test-cuda   the device code of `--features cuda`, on an emulated card (needs g++; R1_CUDA=card: on a card)
#:  make lint        formatting and clippy
#:  BUILT=1          takes the programs as they are
#:  BIN              where they are [target/release]

.PHONY: build test test-cuda lint have-rust

# Without Rust there is one thing to do, and it is said instead of a shell's "not found".
have-rust:
	@command -v $(CARGO) >/dev/null 2>&1 || { \
	  echo "make: cargo is not installed: get Rust from https://rustup.rs (1.89 or later), open a new shell, run make again" >&2; exit 2; }
	@command -v cc >/dev/null 2>&1 || { \
	  echo "make: no C compiler (cc): install gcc or clang with your package manager, run make again" >&2; exit 2; }

# BUILT=1 takes the programs in $(BIN) as they are.
ifdef BUILT
build:
else
build: | have-rust
	$(CARGO) build --release --locked --workspace --bins
endif

test: build
	$(CARGO) test --release --locked --workspace

test-cuda: | have-rust
	$(CARGO) test --release --locked -p r1-kernels --features cuda --lib -- cuda
	$(CARGO) test --release --locked -p r1-kernels --features cuda --test card
	$(CARGO) test --release --locked -p r1-model -p r1-train --features r1-model/cuda,r1-train/cuda --test device

lint: | have-rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
