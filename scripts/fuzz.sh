#!/usr/bin/env bash
# Any bytes into the readers of r1-verify: libFuzzer on the stable toolchain, one target after the other.
#
#   scripts/fuzz.sh [SECONDS [TARGET…]]     SECONDS a target (default 60); TARGET: math extract tasks form (default all)
#
# What is found is kept under target/fuzz/found and ends the run; seeds are shared/verify/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("${@}")
[ ${#targets[@]} -gt 0 ] || targets=(math extract tasks form)
folder=shared/verify/fuzz
out=$PWD/target/fuzz
mkdir -p "$out/found"

# What `cargo fuzz --sanitizer none` passes; none of it needs a nightly compiler. There is no unsafe code to look into.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$out" --target "$host"

for target in "${targets[@]}"; do
    mkdir -p "$out/corpus/$target"
    dictionary=$folder/text.dict
    [ "$target" = math ] && dictionary=$folder/math.dict
    # A hang is ten seconds for one input, which under libFuzzer's counters and beside other work is some two of the tool.
    "$out/$host/release/$target" "$out/corpus/$target" "$folder/corpus/$target" -dict="$dictionary" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=16384 \
        -artifact_prefix="$out/found/$target-" -print_final_stats=1 -verbosity=${VERBOSE:-0} 2>&1 | tail -25
done
