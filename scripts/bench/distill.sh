#!/bin/sh
# Six ways to teach a small student with its teacher's tokenizer, at equal updates, on held-out problems:
#   scripts/bench/distill.sh TEACHER [OUT]        # TEACHER: a policy of `make`, such as runs/zero/1-zero/policy
# From nothing: text, forward KL, reverse KL, Jensen-Shannon, and forward KL from a file of 8 tokens a place. From the student of text: text
# again, and on-policy in rounds, in closed form and by policy gradient. About 15 minutes on one thread. THREADS, SEED, UPDATES and ROUNDS are read.
set -eu
teacher=$(cd "$1" && pwd) out=${2:-runs/distill}
cd "$(dirname "$0")/../.."
bin=$PWD/target/release threads=${THREADS:-1} seed=${SEED:-0} updates=${UPDATES:-800} rounds=${ROUNDS:-12}
mkdir -p "$out"
problems="--family arithmetic --operands 1-9 --order-matters 0.5"
draw="--max-tokens 64 --threads $threads"
paper="--temperature 0.6 --top-p 0.95"

[ -e "$out/tasks.jsonl" ] || "$bin/r1-tasks" $problems --operators 2 --split test --unique --count 300 --seed 1000 -q -o "$out/tasks.jsonl"
[ -e "$out/student" ] || "$bin/r1-init" --preset qwen-tiny --tokenizer "$teacher" --seed "$seed" -q -o "$out/student"
[ -e "$out/rows.jsonl" ] || "$bin/r1-tasks" $problems --operators 1-2 --split train --count 8000 --seed "${seed}8001" -q \
  | "$bin/r1-rollout" "$teacher" --template r1-zero $paper $draw --seed "$seed" -q \
  | "$bin/r1-reward" --reward accuracy=1 --reward format=0.1 -q -o "$out/rows.jsonl"

# measure NAME POLICY: the paper's sampling on held-out problems.
measure() {
  [ -e "$out/eval-$1.jsonl" ] || "$bin/r1-rollout" "$2" "$out/tasks.jsonl" --template r1-zero --samples 4 $paper $draw --seed 1000 -q \
    | "$bin/r1-reward" --reward accuracy=1 --reward format=0.1 -q -o "$out/eval-$1.jsonl"
}
# learn NAME STUDENT ROWS FLAGS...: one student, and what it took.
learn() {
  name=$1 from=$2 rows=$3
  shift 3
  began=$(date +%s)
  "$bin/r1-distill" "$from" "$rows" -o "$out/$name" --template r1-zero --batch-size 32 --seed "$seed" --threads "$threads" \
    --metrics "$out/$name.jsonl" -q "$@"
  echo "$name: $(($(date +%s) - began)) s"
}

measure teacher "$teacher"
falling="--correct-only --max-steps $updates --lr 2e-3 --warmup 20"
learn text "$out/student" "$out/rows.jsonl" $falling
learn forward-kl "$out/student" "$out/rows.jsonl" $falling --loss forward-kl --teacher "$teacher"
learn reverse-kl "$out/student" "$out/rows.jsonl" $falling --loss reverse-kl --teacher "$teacher"
learn jsd "$out/student" "$out/rows.jsonl" $falling --loss jsd --teacher "$teacher"
began=$(date +%s)
"$bin/r1-rollout" "$teacher" "$out/rows.jsonl" --score teacher --top 8 --threads "$threads" -q -o "$out/scored.jsonl"
echo "scoring: $(($(date +%s) - began)) s"
learn top-8 "$out/student" "$out/scored.jsonl" $falling --loss forward-kl

# Rounds of 512 of the student's own completions, 16 updates each; and as many updates on the teacher's text.
learn text-again "$out/text" "$out/rows.jsonl" --correct-only --max-steps $((16 * rounds)) --lr 5e-4 --warmup 20
# on_policy NAME SCORED FLAGS...: with SCORED the teacher's log-probabilities come in the rows.
on_policy() {
  way=$1 scored=$2
  shift 2
  before=$out/text
  for round in $(seq 1 "$rounds"); do
    mkdir -p "$out/$way-rounds"
    rows=$out/$way-rounds/$round.jsonl
    [ -e "$rows" ] || "$bin/r1-tasks" $problems --operators 1-2 --split train --count 256 --seed "${seed}9$round" -q \
      | "$bin/r1-rollout" "$before" --template r1-zero --samples 2 $draw --seed "$seed" -q \
      | if [ "$scored" = yes ]; then "$bin/r1-rollout" "$teacher" --score teacher --threads "$threads" -q; else cat; fi > "$rows.part"
    [ -e "$rows" ] || mv "$rows.part" "$rows"
    learn "$way-rounds/$round" "$before" "$rows" --epochs 1 --lr 5e-4 --schedule constant --keep-optimizer "$@" > /dev/null
    before=$out/$way-rounds/$round
  done
}
began=$(date +%s)
on_policy closed no --loss reverse-kl --teacher "$teacher"
echo "on-policy, closed form: $(($(date +%s) - began)) s"
began=$(date +%s)
on_policy gradient yes --loss policy-gradient
echo "on-policy, policy gradient: $(($(date +%s) - began)) s"

for name in text forward-kl reverse-kl jsd top-8 text-again "closed-rounds/$rounds" "gradient-rounds/$rounds"; do
  measure "$(echo "$name" | cut -d/ -f1)" "$out/$name"
done
"$bin/r1-eval" "$out/eval-teacher.jsonl" "$out/eval-text.jsonl" "$out/eval-forward-kl.jsonl" "$out/eval-reverse-kl.jsonl" "$out/eval-jsd.jsonl" \
  "$out/eval-top-8.jsonl" "$out/eval-text-again.jsonl" "$out/eval-closed-rounds.jsonl" "$out/eval-gradient-rounds.jsonl"
