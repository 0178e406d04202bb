"""Writes tests/golden/tokenizer/conversations.json: whole conversations, what of them is the assistant's, and tools, by transformers.

    python scripts/golden/conversations.py [--r1-init target/release/r1-init] [OUT]

Templates with {% generation %} blocks in several ways of writing them, and one that shows the tools, for the tokenizer that r1-init
learns from tokenizer.py's corpus: ids and mask as apply_chat_template(…, return_assistant_tokens_mask=True) gives them.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from tokenizer import CORPUS, versions, write
from transformers import AutoTokenizer

TEMPLATES = {
    # As TRL patches Qwen's and SmolLM's: the end of the turn is learned too.
    "chatml": (
        "{%- for m in messages %}\n    {%- if m.role == 'assistant' %}\n        {{- '<|im_start|>assistant\\n' }}\n"
        "        {%- generation %}\n            {{- m.content + '<|im_end|>' }}\n        {%- endgeneration %}\n        {{- '\\n' }}\n"
        "    {%- else %}\n        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    ),
    "plain": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
        "{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    # Blanks and line breaks around the tags, and a token that straddles the edge of a span.
    "blanks": (
        "{% for m in messages %}\n  {% if m.role == 'assistant' %}\n  A:\n   {% generation %}\n  {{ m.content }} \n  {% endgeneration %}\n tail\n"
        "  {% else %}\n  U: {{ m.content }}\n  {% endif %}\n{% endfor %}\n"
    ),
    # Only the answer behind the thinking, the thinking of earlier turns cut; two spans a turn; none for an empty one.
    "parts": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{% set c = m.content %}{% if '</think>' in c and not loop.last %}"
        "{% set c = c.split('</think>')[-1] %}{% endif %}<|assistant|>{%- generation -%} {{ c[:3] }} {%- endgeneration -%}…{% generation %}{{ c[3:] }}{% endgeneration %}"
        "{{ eos_token }}{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}"
    ),
    # Tools as Qwen's and Llama's templates write them.
    "tools": (
        "{{ bos_token }}{%- if tools %}\n    {{- 'You may call:' }}\n    {%- for tool in tools %}\n        {{- '\\n' }}{{- tool | tojson }}\n    {%- endfor %}\n"
        "    {{- '\\n' + (tools | tojson(indent=4)) + '\\n' }}\n{%- endif %}{%- for m in messages %}{%- if m.role == 'assistant' %}{{- '<|assistant|>' }}"
        "{%- generation %}{%- for call in m.tool_calls or [] %}{{- '<call>' + call.function.name + (call.function.arguments | tojson) + '</call>' }}{%- endfor %}"
        "{{- m.content or '' }}{{- eos_token }}{%- endgeneration %}{%- else %}{{- '<|user|>' + m.content }}{%- endif %}{%- endfor %}"
    ),
}

TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Adds <two> numbers & says \"so\"; 加法.", "parameters": {
        "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number", "default": 1.5}}, "required": ["a"]}}},
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}, "strict": True, "return": None}},
]

TURNS = {
    "one": [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "<think>2 + 3 = 5</think> <answer>5</answer>"}],
    "several": [
        {"role": "system", "content": "Be short."}, {"role": "user", "content": "请问 2 + 3 等于多少？"},
        {"role": "assistant", "content": "<think>\n二加三等于五 </think>\n\n 5 😀"}, {"role": "user", "content": " and 7 - 2? "},
        {"role": "assistant", "content": "<think>7 - 2 = 5</think>naïve 👩‍👩‍👧‍👦"}, {"role": "user", "content": "e\u0301?"}, {"role": "assistant", "content": " é "},
    ],
    "calls": [
        {"role": "user", "content": "Add 2 and 3."},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"b": 3, "a": 2.5}}}]},
        {"role": "tool", "content": "5.5", "name": "add"}, {"role": "assistant", "content": "It is 5.5."},
    ],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("out", nargs="?", type=Path, default=root / "tests/golden/tokenizer")
    parser.add_argument("--r1-init", type=Path, default=root / "target/release/r1-init", help="the tool, built")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus, policy = Path(scratch, "corpus.txt"), Path(scratch, "policy")
        corpus.write_text("".join(f"{line}\n" for line in CORPUS), encoding="utf-8")
        subprocess.run([args.r1_init, "--preset", "llama-tiny", "--corpus", corpus, "--vocab", "420", "-q", "-o", policy], check=True)
        tokenizer = AutoTokenizer.from_pretrained(policy)
    rows = []
    for name, template in TEMPLATES.items():
        for kind, messages in TURNS.items():
            for tools in [None, TOOLS] if name == "tools" else [None]:
                made = tokenizer.apply_chat_template(
                    messages, tools=tools, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
                text = tokenizer.apply_chat_template(messages, tools=tools, chat_template=template, tokenize=False)
                assert tokenizer(text, add_special_tokens=False).input_ids == made["input_ids"]
                assert any(made["assistant_masks"]), (name, kind)
                rows.append(dict(template=name, conversation=kind, tools=tools is not None, text=text, ids=made["input_ids"],
                                 mask="".join(map(str, made["assistant_masks"]))))
    recipe = versions() | dict(command="python scripts/golden/conversations.py")
    write(args.out / "conversations.json", dict(
        recipe=recipe, templates=TEMPLATES, conversations=TURNS, tools=json.dumps(TOOLS, ensure_ascii=False), rendered=rows))


if __name__ == "__main__":
    main()
