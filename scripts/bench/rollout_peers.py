"""transformers' generate and llama.cpp on the rows that rollout.sh wrote: the same prompts, the same number of new tokens.

Prints lines `case,engine,seconds,tokens`. llama.cpp is driven as its own batched bench does it: all prompts in one call, a
group's prompt once and its cache shared, then one call a step with a token of every sequence; nothing is sampled there (a fixed
token goes on), which is in its favour. transformers runs in f32, and in bf16 where it is asked for (`transformers-bf16`): torch needs instructions for it that a machine may
lack, and dies then. llama.cpp runs on the file as it is, too.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

policy, tiny, work, gguf, repeat, cases, peers = sys.argv[1:8]
THREADS = 2


def prompts(name):
    with open(f"{work}/{name}.jsonl") as rows:
        return [json.loads(row)["prompt"] for row in rows]


def shape(case):
    """Completions a prompt, new tokens of each."""
    return (16 if case == "groups" else 1), (1 if case == "prefill" else 64)


def tell(case, engine, run, tokens):
    run()
    times = []
    for _ in range(int(repeat)):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    print(f"{case},{engine},{statistics.median(times)},{tokens}", flush=True)


def through_transformers(kind):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(THREADS)
    for directory, own in [(policy, [c for c in cases.split() if c != "tiny"]), (tiny, [c for c in cases.split() if c == "tiny"])]:
        if not own:
            continue
        tokenizer = AutoTokenizer.from_pretrained(directory)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        tokenizer.padding_side = "left"
        model = AutoModelForCausalLM.from_pretrained(directory, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[kind]).eval()
        for case in own:
            samples, new = shape(case)
            batch = tokenizer(prompts(case), return_tensors="pt", padding=True, return_token_type_ids=False)

            def run():
                with torch.inference_mode():
                    model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=samples,
                                   min_new_tokens=new, max_new_tokens=new)

            count = len(batch["input_ids"]) * samples * new
            tell(case, f"transformers {kind}", run, int(batch["attention_mask"].sum()) if case == "prefill" else count)


def through_llama(kind):
    import llama_cpp as ll

    file = Path(gguf)
    if kind != "as it is":
        file = Path(work) / f"{kind}.gguf"
        subprocess.run([sys.executable, Path(__file__).with_name("gguf_as.py"), gguf, file, kind], check=True, stdout=subprocess.DEVNULL)
    ll.llama_log_set(quiet, None)
    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(str(file).encode(), ll.llama_model_default_params())
    vocabulary = ll.llama_model_get_vocab(model)
    for case in cases.split():
        if case == "tiny":
            continue
        samples, new = shape(case)
        ids = []
        for text in prompts(case):
            text = text.encode()
            room = (ll.llama_token * (len(text) + 8))()
            ids.append(room[: ll.llama_tokenize(vocabulary, text, len(text), room, len(room), False, True)])
        rows = sum(len(p) for p in ids)
        sequences = len(ids) * samples
        settings = ll.llama_context_default_params()
        settings.n_ctx = rows + sequences * (new + 1) + 256
        settings.n_batch = settings.n_ubatch = 512
        settings.n_seq_max, settings.kv_unified = sequences, True
        settings.n_threads = settings.n_threads_batch = THREADS
        context = ll.llama_init_from_model(model, settings)
        batch = ll.llama_batch_init(max(512, sequences), 0, 1)

        def decode(tokens):
            """tokens: (id, position, sequence, whether logits are wanted)"""
            for at in range(0, len(tokens), 512):
                part = tokens[at : at + 512]
                for i, (token, position, sequence, wanted) in enumerate(part):
                    batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
                    batch.seq_id[i][0] = sequence
                batch.n_tokens = len(part)
                if ll.llama_decode(context, batch):
                    raise SystemExit(f"llama.cpp: {case} does not fit")

        def run():
            memory = ll.llama_get_memory(context)
            ll.llama_memory_clear(memory, True)
            decode([(t, p, s * samples, p == len(prompt) - 1) for s, prompt in enumerate(ids) for p, t in enumerate(prompt)])
            for s in range(len(ids)):
                for other in range(1, samples):
                    ll.llama_memory_seq_cp(memory, s * samples, s * samples + other, -1, -1)
            # The first new token comes out of the prompts.
            for step in range(new - 1):
                decode([(ids[s // samples][1], len(ids[s // samples]) + step, s, True) for s in range(sequences)])

        tell(case, f"llama.cpp {kind}", run, rows if case == "prefill" else sequences * new)
        ll.llama_batch_free(batch)
        ll.llama_free(context)


if "transformers" in peers.split():
    through_transformers("f32")
if "transformers-bf16" in peers.split():
    through_transformers("bf16")
if "llama" in peers.split() and gguf:
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    for kind in ["bf16", "f32", "as it is"]:
        through_llama(kind)
