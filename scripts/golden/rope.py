"""Writes tests/golden/rope/rope.json: rotary frequencies and score scales of configs, as transformers computes them.

    python scripts/golden/rope.py [OUT]

The configs are of published sizes or chosen so that every branch of a scaling is taken; both spellings of transformers (rope_scaling,
rope_parameters) appear. Frequencies are f32, as transformers has them.
"""

import json
import sys
from pathlib import Path

import transformers
from transformers import DeepseekV3Config, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding, yarn_apply_mscale
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA = dict(vocab_size=64, hidden_size=512, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4)
DEEPSEEK = dict(
    vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, kv_lora_rank=8, q_lora_rank=8,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=16, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=16, n_group=2, topk_group=1,
    first_k_dense_replace=0, norm_topk_prob=True, routed_scaling_factor=1.0, n_shared_experts=1,
)
YARN = dict(factor=40, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=4096)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)

CASES = {
    "llama 3.1": (LlamaConfig, dict(LLAMA, max_position_embeddings=131072, rope_theta=500000.0, rope_scaling=dict(LLAMA3, rope_type="llama3"))),
    "llama 3.2": (LlamaConfig, dict(LLAMA, head_dim=64, max_position_embeddings=131072, rope_parameters=dict(LLAMA3, factor=32.0, rope_theta=500000.0, rope_type="llama3"))),
    "llama plain": (LlamaConfig, dict(LLAMA, max_position_embeddings=4096)),
    "llama linear": (LlamaConfig, dict(LLAMA, max_position_embeddings=8192, rope_theta=10000.0, rope_scaling=dict(type="linear", factor=2.5))),
    "qwen2": (Qwen2Config, dict(LLAMA, max_position_embeddings=32768, rope_theta=1000000.0)),
    "qwen2 yarn": (Qwen2Config, dict(LLAMA, max_position_embeddings=131072, rope_theta=1000000.0, rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=32768))),
    "qwen3 yarn, its length kept": (Qwen3Config, dict(LLAMA, head_dim=128, max_position_embeddings=40960, rope_parameters=dict(rope_theta=1000000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=32768))),
    "yarn not truncated": (LlamaConfig, dict(LLAMA, max_position_embeddings=16384, rope_theta=10000.0, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=4096, truncate=False, beta_fast=20, beta_slow=2))),
    "yarn with its own factor": (LlamaConfig, dict(LLAMA, max_position_embeddings=16384, rope_theta=10000.0, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=4096, attention_factor=0.9))),
    "deepseek r1": (DeepseekV3Config, dict(DEEPSEEK, max_position_embeddings=163840, rope_theta=10000, rope_scaling=dict(YARN, type="yarn"))),
    "deepseek v2's mscale": (DeepseekV3Config, dict(DEEPSEEK, max_position_embeddings=163840, rope_parameters=dict(YARN, rope_theta=10000.0, rope_type="yarn", mscale=0.707, mscale_all_dim=0.707))),
    "deepseek, mscales differ": (DeepseekV3Config, dict(DEEPSEEK, max_position_embeddings=8192, rope_theta=10000.0, rope_scaling=dict(YARN, type="yarn", factor=2, mscale=1.2, mscale_all_dim=0.5))),
    "deepseek, no mscale": (DeepseekV3Config, dict(DEEPSEEK, max_position_embeddings=8192, rope_theta=10000.0, rope_scaling=dict(type="yarn", factor=2, original_max_position_embeddings=4096))),
    "moonlight": (DeepseekV3Config, dict(DEEPSEEK, q_lora_rank=None, max_position_embeddings=8192, rope_theta=50000.0)),
}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "tests/golden/rope"
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (kind, fields) in CASES.items():
        config = kind(**json.loads(json.dumps(fields)))
        deepseek = kind is DeepseekV3Config
        rotary = (DeepseekV3RotaryEmbedding if deepseek else LlamaRotaryEmbedding)(config)
        parameters = config.rope_parameters
        if parameters["rope_type"] != "default":
            frequencies, factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, "cpu")
            assert (frequencies == rotary.inv_freq).all() and factor == rotary.attention_scaling
        size = config.qk_head_dim if deepseek else getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        scale = yarn_apply_mscale(parameters, size**-0.5) if deepseek else size**-0.5
        architecture = {LlamaConfig: "Llama", Qwen2Config: "Qwen2", Qwen3Config: "Qwen3", DeepseekV3Config: "DeepseekV3"}[kind] + "ForCausalLM"
        rows.append(dict(name=name, config=dict(architectures=[architecture], **fields), frequencies=rotary.inv_freq.tolist(),
                         attention_factor=rotary.attention_scaling, attention_scale=scale))
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    recipe = json.dumps(dict(command="python scripts/golden/rope.py", transformers=transformers.__version__))
    (out / "rope.json").write_text(f'{{\n "recipe": {recipe},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    print(f"rope.json: {(out / 'rope.json').stat().st_size / 1000:.0f} kB, {len(rows)} configs")


if __name__ == "__main__":
    main()
