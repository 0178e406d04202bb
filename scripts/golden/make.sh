#!/bin/sh
# Writes every file of tests/golden anew:  scripts/golden/make.sh [VENV]
# VENV (default target/oracle) is a Python 3.11+ environment; it is made, with requirements.txt in it, where it is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/../../target/oracle}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -r "$here/requirements.txt" || { rm -rf "$venv"; exit 1; }
fi
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
"$venv/bin/python" "$here/checkpoints.py"
"$venv/bin/python" "$here/scores.py"
PYTHONHASHSEED=0 "$venv/bin/python" "$here/lora.py"
# verl would pull torch's other versions in: it stands in an environment of its own, on top of this one.
verl=$here/../../target/oracle-verl
if [ ! -x "$verl/bin/python" ]; then
    "$venv/bin/python" -m venv "$verl"
    "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        > "$("$verl/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/oracle.pth"
    { "$verl/bin/pip" install -r "$here/requirements-verl.txt" && "$verl/bin/pip" install --no-deps verl==0.9.1; } || { rm -rf "$verl"; exit 1; }
fi
"$verl/bin/python" "$here/loss.py"
"$venv/bin/python" "$here/divergence.py"
"$venv/bin/python" "$here/label_smoothing.py"
"$venv/bin/python" "$here/smollm2.py"
"$venv/bin/python" "$here/rope.py"
# open-r1 is on no registry: OPEN_R1_REWARDS names its src/open_r1/rewards.py, OPEN_R1_COMMIT where that is from.
if [ -n "${OPEN_R1_REWARDS:-}" ]; then
    "$venv/bin/python" "$here/rewards.py" "$OPEN_R1_REWARDS" "${OPEN_R1_COMMIT:-unknown}"
fi
"$venv/bin/python" "$here/evaluation.py"
"$venv/bin/python" "$here/gguf_types.py"
"$venv/bin/python" "$here/fp8.py"
"$venv/bin/python" "$here/parquet_rows.py"
# The tokenizer's goldens start from what r1-init learns: build it first.
(cd "$here/../.." && cargo build --release --locked -p r1-init)
"$venv/bin/python" "$here/tokenizer.py"
"$venv/bin/python" "$here/conversations.py"
