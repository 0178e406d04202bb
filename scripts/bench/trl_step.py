"""TRL's side of grpo_step.sh:  python trl_step.py POLICY OUT STEPS"""

import os
import resource
import statistics
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

policy, out, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(os.cpu_count())
model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
sums = [{"prompt": [{"role": "user", "content": f"What is {a} + {b} * 4?"}]} for a in range(1, 9) for b in range(1, 9)]
tokens, taken, sampling = [], [], []


def digits(completions, completion_ids, **_):
    tokens.append(sum(map(len, completion_ids)))
    return [float(sum(c.isdigit() for c in turn[0]["content"])) for turn in completions]


class Clock(TrainerCallback):
    """A step ends when its checkpoint is written."""

    def on_step_begin(self, *_, **__):
        self.began = time.perf_counter()

    def on_save(self, *_, **__):
        taken.append(time.perf_counter() - self.began)


class Timed(GRPOTrainer):
    def _generate(self, *args, **kwargs):
        began = time.perf_counter()
        result = super()._generate(*args, **kwargs)
        sampling.append(time.perf_counter() - began)
        return result


config = GRPOConfig(output_dir=out, use_cpu=True, bf16=False, per_device_train_batch_size=32, num_generations=8, max_completion_length=64,
                    max_steps=steps, learning_rate=1e-6, logging_steps=1, report_to="none", save_strategy="steps", save_steps=1,
                    save_total_limit=1, gradient_checkpointing=False, temperature=1.0, disable_tqdm=True)
trainer = Timed(model=model, processing_class=tokenizer, reward_funcs=digits, args=config, train_dataset=Dataset.from_list(sums), callbacks=[Clock()])
trainer.train()
rounded = lambda list: [round(x, 2) for x in list]
print(f"TRL {trl.__version__}, f32: median {statistics.median(taken[1:]):.2f} s of steps {rounded(taken)}, generation {rounded(sampling)}; "
      f"completion tokens {tokens}; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
