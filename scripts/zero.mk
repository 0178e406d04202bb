# R1-Zero: a noisy base, then reinforcement by rule rewards alone. Included by the Makefile.
#
#:
#:R1-Zero
#:  make, make zero  a base, rounds of reinforcement by rule rewards, evaluation before and after
#:  RUN              folder of the run [runs/zero]
#:  MODEL            a policy directory or GGUF file to begin with, instead of an invented base
#:  TASKS            tasks (JSONL), the first HELD_OUT of them to measure with, instead of drawn ones
#:  ROUNDS           rounds of reinforcement [40]
#:  PROMPTS, GROUP   tasks of a round, completions of a task [32, 16]
#:  MAX_TOKENS       longest completion [64]
#:  TEMPLATE         of the prompt [r1-zero; with MODEL auto]
#:  PROBLEMS, ASKED  flags of r1-tasks: which problems, and how hard those of reinforcement are
#:  CORPUS           flags of r1-tasks: how hard and how many the base imitates
#:  HELD_OUT         tasks to measure with [300]
#:  EVAL_SAMPLES     completions of each [4]
#:  BASE_FLAGS       of r1-sft, for the base
#:  ZERO_REWARDS     of r1-reward    ZERO_FLAGS  of r1-grpo    JUDGE  of r1-reward, everywhere

RUN    ?= runs/zero
ROUNDS ?= 40

# MODEL= takes a policy (a directory or a GGUF file) instead of imitating, TASKS= takes tasks instead of drawing them.
PROBLEMS     ?= --family arithmetic --operands 1-9 --order-matters 0.5
ASKED        ?= --operators 2
CORPUS       ?= --operators 1-2 --count 90000
PROMPTS      ?= 32
GROUP        ?= 16
MAX_TOKENS   ?= 64
TEMPLATE     ?= $(if $(MODEL),auto,r1-zero)
HELD_OUT     ?= 300
EVAL_SAMPLES ?= 4
BASE_FLAGS   ?= --epochs 1 --batch-size 64 --lr 2e-3 --schedule cosine --warmup 40 --router-bias-rate 0.01
ZERO_REWARDS ?= --reward accuracy=1 --reward format=0.1
JUDGE        ?=
ZERO_FLAGS   ?= --lr 3e-4 --loss dapo

BASE := $(RUN)/0-base
ZERO := $(RUN)/1-zero
EVAL := $(RUN)/eval

ENGINE  = --threads $(THREADS)
SAMPLER = --max-tokens $(MAX_TOKENS) --seed $(SEED) $(ENGINE)
UPDATE  = $(ENGINE)

# What a run was begun with stands in $(RUN)/settings; other settings want another RUN, or old results would pass for new.
SETTINGS = MODEL=$(MODEL) TASKS=$(TASKS) SEED=$(SEED) TEMPLATE=$(TEMPLATE) PROBLEMS=$(PROBLEMS) ASKED=$(ASKED) \
  CORPUS=$(CORPUS) PROMPTS=$(PROMPTS) GROUP=$(GROUP) MAX_TOKENS=$(MAX_TOKENS) HELD_OUT=$(HELD_OUT) \
  EVAL_SAMPLES=$(EVAL_SAMPLES) BASE_FLAGS=$(BASE_FLAGS) ZERO_REWARDS=$(ZERO_REWARDS) JUDGE=$(JUDGE) ZERO_FLAGS=$(ZERO_FLAGS) \
  $(R1_SETTINGS_TOO)

export R1_SETTINGS = $(SETTINGS)

.PHONY: settled
settled: | build
	@mkdir -p $(RUN)
	@if [ ! -e $(RUN)/settings ]; then printf '%s\n' "$$R1_SETTINGS" > $(RUN)/settings; \
	elif [ "$$R1_SETTINGS" != "$$(cat $(RUN)/settings)" ]; then \
	  echo "make: $(RUN)/settings: the run was begun with other settings; give another RUN=, or remove $(RUN)" >&2; exit 2; fi

.PHONY: zero
zero: $(EVAL)/base.jsonl $(EVAL)/zero.jsonl | settled
	@$(BIN)/r1-eval $^ --show 3

# 0. The base: MODEL where one is named, else a small DeepSeek-V3-shaped policy that imitated noisy solutions.
ifdef MODEL
$(BASE)/done: | settled
	$(BIN)/r1-init $(if $(filter %.gguf,$(MODEL)),--from-gguf,--from-hf) $(MODEL) -o $(BASE)/policy
	touch $@
else
$(BASE)/corpus.jsonl: | settled
	mkdir -p $(@D)
	$(BIN)/r1-tasks --corpus $(PROBLEMS) $(CORPUS) --split train --seed $(SEED) -o $@
$(BASE)/init/$(POLICY_FILE): $(BASE)/corpus.jsonl
	$(BIN)/r1-init --preset r1-tiny --corpus $< --seed $(SEED) -o $(BASE)/init
$(BASE)/done: $(BASE)/init/$(POLICY_FILE) $(BASE)/corpus.jsonl
	$(BIN)/r1-sft $(BASE)/init $(BASE)/corpus.jsonl -o $(BASE)/policy --template $(TEMPLATE) $(BASE_FLAGS) \
	  --seed $(SEED) $(ENGINE) --metrics $(BASE)/metrics.jsonl
	touch $@
endif

# Held-out tasks to measure with, and each round's own training tasks.
ifdef TASKS
$(EVAL)/tasks.jsonl: $(TASKS)
	mkdir -p $(@D)
	head -n $(HELD_OUT) $< > $@.part
	mv $@.part $@
ZERO_TASKS = scripts/take.sh $(TASKS) $(HELD_OUT) $(PROMPTS) $(1)
else
$(EVAL)/tasks.jsonl: | settled
	mkdir -p $(@D)
	$(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split test --unique --count $(HELD_OUT) --seed 1000 -o $@
ZERO_TASKS = $(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --unique --count $(PROMPTS) --seed $(SEED)10$(1)
endif

# 1. R1-Zero.
$(call REINFORCE,$(ZERO),$(BASE)/policy,$(ROUNDS),ZERO_TASKS,$(ZERO_REWARDS),--template $(TEMPLATE),$(ZERO_FLAGS))

$(eval $(call EVALUATE,base,$(BASE)/policy,$(BASE)/done,--template $(TEMPLATE)))
$(eval $(call EVALUATE,zero,$(ZERO)/policy,$(ZERO)/done,--template $(TEMPLATE)))
