#!/usr/bin/env bash
# The tasks of one round: FILE without its first SKIP lines (they are held out), cut into runs of N lines; prints run
# ROUND (from 1), starting over when the file is used up.
#
#   scripts/take.sh tasks.jsonl 300 32 7
set -euo pipefail
file=$1 skip=$2 n=$3 round=$4
awk -v skip="$skip" -v n="$n" -v round="$round" '
  NR > skip { lines[count++] = $0 }
  END {
    if (count < 1) { print "take.sh: fewer than " skip + 1 " tasks in the file" > "/dev/stderr"; exit 2 }
    if (n > count) n = count
    for (i = 0; i < n; i++) print lines[((round - 1) * n + i) % count]
  }' "$file"
