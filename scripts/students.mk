# 8. Distillation: the final policy's correct completions teach students of other shapes and vocabularies; beside each student
# stands the same one trained by reinforcement alone, as in the paper's table 6. Included by the Makefile.
#
# Its STUDENT_ROUNDS cost a fifth of what distillation does; scripts/bench/students.sh goes on until both have cost the same.
#
#:
#:Students
#:  TAUGHT           completions that the teacher writes for them [6000]
#:  STUDENT_BASE, DISTILL_FLAGS, STUDENT_ROUNDS, STUDENT_GRPO: what they know before, and how they learn
DISTILL     := $(RUN)/8-distill

TAUGHT         ?= 6000
STUDENT_BASE   ?= --max-steps 400 --batch-size 64 --lr 2e-3 --warmup 20
DISTILL_FLAGS  ?= --epochs 12 --batch-size 32 --lr 2e-3 --schedule cosine --warmup 20 --min-lr-ratio 0.1
STUDENT_ROUNDS ?= 30
STUDENT_GRPO   ?= --lr 3e-4 --loss dapo

# The teacher's completions of training tasks, sampled as the paper evaluates.
$(DISTILL)/teacher.jsonl: $(RUN)/7-rl/done
	mkdir -p $(@D)
	$(if $(TASKS),$(call PRACTICE,$(PROMPTS),8001),$(BIN)/r1-tasks $(PROBLEMS) --operators 1-2 --split train --count $(TAUGHT) --seed $(SEED)8001) \
	  | $(BIN)/r1-rollout $(RUN)/7-rl/policy --template $(TEMPLATE) --samples $(if $(TASKS),4,1) --temperature 0.6 --top-p 0.95 $(SAMPLER) \
	  | $(BIN)/r1-reward $(R1_REWARDS) $(JUDGE) > $@.part
	mv $@.part $@

# What a student has seen before: the base's corpus; where the base is a real checkpoint, the teacher's text.
$(DISTILL)/corpus.jsonl: $(if $(MODEL),$(DISTILL)/teacher.jsonl,$(BASE)/corpus.jsonl)
	mkdir -p $(@D)
	$(if $(MODEL),$(BIN)/r1-reject --finished $< -o $@,ln -f $< $@)

#   1 preset
define STUDENT
$(DISTILL)/$(1)/init/$(POLICY_FILE): $(DISTILL)/corpus.jsonl
	$(BIN)/r1-init --preset $(1) --corpus $$< --seed $(SEED) -o $(DISTILL)/$(1)/init
$(DISTILL)/$(1)/base/done: $(DISTILL)/$(1)/init/$(POLICY_FILE)
	mkdir -p $$(@D)
	$(BIN)/r1-sft $(DISTILL)/$(1)/init $(DISTILL)/corpus.jsonl -o $(DISTILL)/$(1)/base/policy --template chat $(STUDENT_BASE) \
	  --seed $(SEED) $(ENGINE) --metrics $(DISTILL)/$(1)/base/metrics.jsonl
	touch $$@
$(DISTILL)/$(1)/done: $(DISTILL)/teacher.jsonl $(DISTILL)/$(1)/base/done
	$(BIN)/r1-distill $(DISTILL)/$(1)/base/policy $$< -o $(DISTILL)/$(1)/policy --template chat --correct-only $(DISTILL_FLAGS) \
	  --seed $(SEED) $(ENGINE) --metrics $(DISTILL)/$(1)/metrics.jsonl
	touch $$@
$(call EVALUATE,$(1),$(DISTILL)/$(1)/policy,$(DISTILL)/$(1)/done,--template chat)
endef
$(foreach s,$(PRESETS),$(eval $(call STUDENT,$(s))))

STUDENT_TASKS = $(call PRACTICE,$(PROMPTS),85$(1))
$(foreach s,$(RL_STUDENTS),$(call REINFORCE,$(DISTILL)/$(s)-rl,$(DISTILL)/$(s)/base/policy,$(STUDENT_ROUNDS),STUDENT_TASKS,$(R1_REWARDS),--template chat,$(STUDENT_GRPO)))
$(foreach s,$(RL_STUDENTS),$(eval $(call EVALUATE,$(s)-rl,$(DISTILL)/$(s)-rl/policy,$(DISTILL)/$(s)-rl/done,--template chat)))
