#!/bin/sh
# What NVIDIA's compiler makes of the device code, one line a kernel: registers, bytes spilled, shared memory, and how many tensor-core
# products (HMMA), 16-byte background copies (LDGSTS), matrix loads (LDSM), 16-byte loads (LDG.128), other loads, and local loads and
# stores stand in its machine code.
#   scripts/bench/sass.sh [CAPABILITY, such as 90]
# It needs NVRTC (CUDA_LIBRARY_DIRS) and, on the PATH, nvdisasm and cuobjdump: of a toolkit, or of the wheel `triton`
# (triton/backends/nvidia/bin). No card.
set -eu
cd "$(dirname "$0")/../.."
capability=${1:-90}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo run --quiet --release -p r1-kernels --features cuda --example ptx -- "$folder" "$capability"
printf '%-32s %4s %7s %7s %5s %6s %5s %7s %4s %5s\n' "kernel, sm_$capability" regs spilled shared HMMA LDGSTS LDSM LDG.128 LDG LD/STL
for object in "$folder"/*.cubin; do
    cuobjdump -res-usage "$object" > "$folder/usage" 2>&1
    nvdisasm -c "$object" > "$folder/code"
    awk '
        FNR == NR {
            if ($1 == "Function") { name = $2; sub(/:$/, "", name) }
            else if (name != "" && match($0, /REG:[0-9]+/)) {
                regs[name] = substr($0, RSTART + 4, RLENGTH - 4)
                match($0, /STACK:[0-9]+/); stack[name] = substr($0, RSTART + 6, RLENGTH - 6)
                match($0, /SHARED:[0-9]+/); shared[name] = substr($0, RSTART + 7, RLENGTH - 7)
            }
            next
        }
        /^\.text\./ { name = $1; sub(/^\.text\./, "", name); sub(/:$/, "", name); order[++kernels] = name }
        /HMMA/ { hmma[name]++ }
        /LDGSTS/ { ldgsts[name]++ }
        /LDSM/ { ldsm[name]++ }
        / LDG\..*128/ { wide[name]++; next }
        / LDG\./ { narrow[name]++ }
        / LDL| STL/ { local[name]++ }
        END {
            for (i = 1; i <= kernels; i++) {
                n = order[i]
                printf "%-32s %4d %7d %7d %5d %6d %5d %7d %4d %5d\n", n, regs[n], stack[n], shared[n], hmma[n], ldgsts[n], ldsm[n], wide[n], narrow[n], local[n]
            }
        }' "$folder/usage" "$folder/code"
done
