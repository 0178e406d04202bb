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
"$venv/bin/python" "$here/loss.py"
"$venv/bin/python" "$here/smollm2.py"
"$venv/bin/python" "$here/rope.py"
# The tokenizer's goldens start from what r1-init learns: build it first.
(cd "$here/../.." && cargo build --release --locked -p r1-init)
"$venv/bin/python" "$here/tokenizer.py"
