#!/bin/sh
# r1-rollout and r1-judge against a real server, llama.cpp's by llama-cpp-python, on both of its paths:
#   scripts/bench/endpoint.sh FILE.gguf [OUT]
# PYTHON (with `pip install 'llama-cpp-python[server]'`), PROMPTS, TOKENS, THREADS and PORT are read. The greedy completions of the
# server's chat path, of its completions path and of our own engine from the same file (its weights unpacked) are held against
# each other: with the server's quantized activations on the one side and f32 on the other, texts part where two tokens are
# nearly equally probable.
set -eu
file=$(realpath "$1") out=${2:-runs/endpoint}
cd "$(dirname "$0")/../.."
bin=$PWD/target/release python=${PYTHON:-python3} port=${PORT:-8471} threads=${THREADS:-1}
mkdir -p "$out"
"$python" -m llama_cpp.server --model "$file" --model_alias served --n_threads "$threads" --n_ctx 2048 --logits_all true \
  --port "$port" > "$out/server.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
until "$python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/v1/models')" 2> /dev/null; do
  kill -0 $server || { cat "$out/server.log" >&2; exit 1; }
  sleep 0.5
done
[ -e "$out/policy/model.safetensors" ] || "$bin/r1-init" --from-gguf "$file" -o "$out/policy" -q
"$bin/r1-tasks" --family general --count "${PROMPTS:-8}" --seed 3 -q -o "$out/tasks.jsonl"
draw="$out/tasks.jsonl --temperature 0 --max-tokens ${TOKENS:-48}"
url="--endpoint http://127.0.0.1:$port/v1 --concurrency 2"
"$bin/r1-rollout" "$out/policy" $draw --template chat --dtype f32 -o "$out/own.jsonl"
"$bin/r1-rollout" - $draw $url -o "$out/chat.jsonl"
"$bin/r1-rollout" "$out/policy" $draw --template chat $url -o "$out/completions.jsonl"
"$bin/r1-rollout" "$out/policy" "$out/completions.jsonl" --template chat --dtype f32 --score own --top 1 -q -o "$out/scored.jsonl"
"$python" - "$out" <<'END'
import json, os, sys
read = lambda name: [json.loads(line)["rollout"]["completion"] for line in open(f"{sys.argv[1]}/{name}.jsonl")]
own, chat, completions = read("own"), read("chat"), read("completions")
def compare(name, a, b):
    same = sum(x.strip() == y.strip() for x, y in zip(a, b))
    part = [len(os.path.commonprefix([x.strip(), y.strip()])) / max(1, len(x.strip())) for x, y in zip(a, b)]
    print(f"{name}: {same} of {len(a)} texts equal, on average the first {100 * sum(part) / len(part):.0f} % of a text")
compare("chat path and completions path", chat, completions)
compare("own engine and completions path", own, completions)
compare("own engine and chat path", own, chat)
rows = [json.loads(line)["own"] for line in open(f"{sys.argv[1]}/scored.jsonl")]
gaps = [top[0] - own for row in rows for top, own in zip(row["top_logprobs"], row["logprobs"])]
other = sorted(gap for gap in gaps if gap > 0)
print(f"of the server's {len(gaps)} tokens {len(gaps) - len(other)} are our most probable ones, too; "
      f"the others are less probable by {', '.join(f'{gap:.3f}' for gap in other)} nats")
END
"$bin/r1-judge" $url --prompt readability --max-tokens 48 "$out/own.jsonl" -o "$out/judged.jsonl"
