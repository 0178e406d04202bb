#!/bin/sh
# Seven ways to go on teaching a small student that has its teacher's tokenizer, at equal updates, on held-out problems:
#   scripts/bench/distill.sh TEACHER [OUT]        # TEACHER: a policy of `make`, such as runs/zero/1-zero/policy
# The student has first imitated some of the teacher's text. All ways take UPDATES batches of 32, the on-policy ones 512 of the student's own
# completions a round; but the policy gradient takes its rounds in batches of 128. One thread: about a quarter of an hour. WARM, UPDATES, METHODS, THREADS and SEED are read; what is
# there is not made again.
set -eu
teacher=$(cd "$1" && pwd) out=${2:-runs/distill}
cd "$(dirname "$0")/../.."
bin=$PWD/target/release threads=${THREADS:-1} seed=${SEED:-0} warm=${WARM:-800} updates=${UPDATES:-320}
methods=${METHODS:-text forward-kl reverse-kl jsd top-8 closed gradient}
rounds=$((updates / 16))
mkdir -p "$out"
problems="--family arithmetic --operands 1-9 --order-matters 0.5"
draw="--template r1-zero --max-tokens 64 --threads $threads --seed $seed -q"
paper="--temperature 0.6 --top-p 0.95"

# learn NAME STUDENT ROWS FLAGS...
learn() {
  to=$1 from=$2 rows=$3
  shift 3
  "$bin/r1-distill" "$from" "$rows" -o "$out/$to" --template r1-zero --seed "$seed" --threads "$threads" \
    --metrics "$out/$to.jsonl" -q "$@"
}
# measure NAME POLICY: the paper's sampling on held-out problems.
measure() {
  [ -e "$out/eval/$1.jsonl" ] || "$bin/r1-rollout" "$2" "$out/tasks.jsonl" --samples 4 $paper $draw \
    | "$bin/r1-reward" --reward accuracy=1 --reward format=0.1 -q -o "$out/eval/$1.jsonl"
}
# on_policy NAME FLAGS...: rounds of 512 completions and 16 updates. The gradient reads the teacher's log-probabilities from the rows.
on_policy() {
  name=$1 before=$out/warm
  shift
  mkdir -p "$out/$name"
  for round in $(seq 1 "$rounds"); do
    own=$out/$name/$round.rows.jsonl
    if [ ! -e "$own" ]; then
      "$bin/r1-tasks" $problems --operators 1-2 --split train --count 256 --seed "${seed}9$round" -q \
        | "$bin/r1-rollout" "$before" --samples 2 $draw > "$own.part"
      if [ "$name" = gradient ]; then
        "$bin/r1-rollout" "$teacher" "$own.part" --score teacher --threads "$threads" -q -o "$own"
      else
        mv "$own.part" "$own"
      fi
    fi
    learn "$name/$round" "$before" "$own" --epochs 1 --schedule constant --keep-optimizer "$@"
    before=$out/$name/$round
  done
}

mkdir -p "$out/eval"
[ -e "$out/tasks.jsonl" ] || "$bin/r1-tasks" $problems --operators 2 --split test --unique --count 300 --seed 1000 -q -o "$out/tasks.jsonl"
[ -e "$out/student" ] || "$bin/r1-init" --preset qwen-tiny --tokenizer "$teacher" --seed "$seed" -q -o "$out/student"
[ -e "$out/rows.jsonl" ] || "$bin/r1-tasks" $problems --operators 1-2 --split train --count 8000 --seed "${seed}8001" -q \
  | "$bin/r1-rollout" "$teacher" $paper $draw \
  | "$bin/r1-reward" --reward accuracy=1 --reward format=0.1 -q -o "$out/rows.jsonl"
learn warm "$out/student" "$out/rows.jsonl" --correct-only --batch-size 32 --max-steps "$warm" --lr 2e-3 --warmup 20
measure teacher "$teacher"
measure warm "$out/warm"
for name in $methods; do
  began=$(date +%s)
  rows=$out/rows.jsonl
  again="--correct-only --batch-size 32 --max-steps $updates --lr 5e-4 --schedule constant"
  case $name in
    text) learn text "$out/warm" "$rows" $again ;;
    top-8)
      [ -e "$out/scored.jsonl" ] || "$bin/r1-rollout" "$teacher" "$rows" --score teacher --top 8 --threads "$threads" -q -o "$out/scored.jsonl"
      learn top-8 "$out/warm" "$out/scored.jsonl" $again --loss forward-kl ;;
    closed) on_policy closed --batch-size 32 --lr 5e-4 --loss reverse-kl --teacher "$teacher" ;;
    # A few tokens that the teacher finds impossible make most of its gradient: batches four times as large, smaller steps.
    gradient) on_policy gradient --loss policy-gradient --batch-size 128 --lr 2e-4 ;;
    *) learn "$name" "$out/warm" "$rows" $again --loss "$name" --teacher "$teacher" ;;
  esac
  echo "$name: $(($(date +%s) - began)) s"
  last=$out/$name
  [ -e "$last/model.safetensors" ] || last=$out/$name/$rounds
  measure "$name" "$last"
done
cd "$out/eval"
"$bin/r1-eval" teacher.jsonl warm.jsonl $(for name in $methods; do echo "$name.jsonl"; done)
