# The stages after R1-Zero, each in its first form. Included by the Makefile.
#
# Departures from the paper at this size: the "human" part of the cold start is a set of worked solutions; general
# requests are rewarded for form and language only, since preference models are not part of the suite yet.

COLD       := $(RUN)/2-cold-start
SFT        := $(RUN)/3-sft
REASON     := $(RUN)/4-rl
REJECT     := $(RUN)/5-reject
SFT_AGAIN  := $(RUN)/6-sft
ALL        := $(RUN)/7-rl
DISTILL    := $(RUN)/8-distill

R1_ROUNDS    ?= 20
R1_PROBLEMS  ?= --family arithmetic --operands 1-9 --order-matters 0.5 --language en=2 --language zh=1
R1_REWARDS   ?= --reward accuracy=1 --reward format=0.1 --reward language=0.2
R1_SFT       ?= --epochs 2 --batch-size 64 --lr 1e-3 --schedule cosine --warmup 10 --min-lr-ratio 0.1
R1_LR        ?= --lr 1e-4 --loss dapo
STUDENTS     := qwen-tiny llama-tiny
STAGES       := base zero sft rl sft-again r1 $(STUDENTS)

.PHONY: r1 r1-stages
r1: | build
	@[ -z "$(MODEL)$(TASKS)" ] || { \
	  echo "make: the later stages draw their own tasks and students yet: make r1 takes no MODEL or TASKS (make zero does)" >&2; exit 2; }
	+$(MAKE) r1-stages RUN=$(if $(filter runs/zero,$(RUN)),runs/r1,$(RUN)) PROBLEMS="$(R1_PROBLEMS)"

r1-stages: $(STAGES:%=$(EVAL)/%.jsonl)
	@$(BIN)/r1-eval $^ --by language
	@$(BIN)/r1-plot $(RUN) -o $(RUN)/report.html

FORM := --template $(TEMPLATE)

# 2. Cold start: R1-Zero's own correct and readable completions, and worked solutions that check themselves.
$(COLD)/refined.jsonl: $(ZERO)/done
	mkdir -p $(@D)
	$(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --unique --count 400 --seed $(SEED)2001 \
	  | $(BIN)/r1-rollout $(ZERO)/policy $(FORM) --samples 4 $(SAMPLER) \
	  | $(BIN)/r1-reward $(R1_REWARDS) \
	  | $(BIN)/r1-reject --correct --finished --format --language 1 --best 1 --report $(COLD)/refused.json > $@.part
	mv $@.part $@
$(COLD)/written.jsonl: | settled
	mkdir -p $(@D)
	$(BIN)/r1-tasks --corpus --noise none $(PROBLEMS) $(ASKED) --split train --unique --count 1500 --seed $(SEED)2002 -o $@
$(COLD)/examples.jsonl: $(COLD)/refined.jsonl $(COLD)/written.jsonl
	cat $^ > $@.part
	mv $@.part $@

# 3. SFT on the base.
$(SFT)/done: $(COLD)/examples.jsonl $(BASE)/done
	mkdir -p $(@D)
	$(BIN)/r1-sft $(BASE)/policy $< -o $(SFT)/policy $(FORM) $(R1_SFT) --seed $(SEED) $(ENGINE) --metrics $(SFT)/metrics.jsonl
	touch $@

# 4. Reasoning RL with the language-consistency reward.
REASON_TASKS = $(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --unique --count $(PROMPTS) --seed $(SEED)40$(1)
$(call REINFORCE,$(REASON),$(SFT)/policy,$(R1_ROUNDS),REASON_TASKS,$(R1_REWARDS),$(FORM),$(R1_LR))

# 5. Rejection sampling, and non-reasoning examples in the paper's proportion of 3 to 1.
$(REJECT)/reasoning.jsonl: $(REASON)/done
	mkdir -p $(@D)
	$(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --unique --count 1500 --seed $(SEED)5001 \
	  | $(BIN)/r1-rollout $(REASON)/policy $(FORM) --samples 4 $(SAMPLER) \
	  | $(BIN)/r1-reward $(R1_REWARDS) \
	  | $(BIN)/r1-reject --correct --finished --format --language 0.95 --no-code --dedup --best 1 \
	      --report $(REJECT)/refused.json > $@.part
	mv $@.part $@
$(REJECT)/general.jsonl: | settled
	mkdir -p $(@D)
	$(BIN)/r1-tasks --corpus --noise none --family general --language en=2 --language zh=1 --split train --count 500 \
	  --seed $(SEED)5002 -o $@
$(REJECT)/examples.jsonl: $(REJECT)/reasoning.jsonl $(REJECT)/general.jsonl
	cat $^ > $@.part
	mv $@.part $@

# 6. SFT on the base again.
$(SFT_AGAIN)/done: $(REJECT)/examples.jsonl $(BASE)/done
	mkdir -p $(@D)
	$(BIN)/r1-sft $(BASE)/policy $< -o $(SFT_AGAIN)/policy $(FORM) $(R1_SFT) --seed $(SEED) $(ENGINE) \
	  --metrics $(SFT_AGAIN)/metrics.jsonl
	touch $@

# 7. RL for all scenarios: reasoning and general requests in one batch, temperature 0.7 as in the paper.
ALL_TASKS = { $(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --unique --count $(PROMPTS) --seed $(SEED)70$(1); \
	  $(BIN)/r1-tasks --family general --language en=2 --language zh=1 --split train --count 8 --seed $(SEED)70$(1); }
$(call REINFORCE,$(ALL),$(SFT_AGAIN)/policy,$(R1_ROUNDS),ALL_TASKS,$(R1_REWARDS),$(FORM) --temperature 0.7,$(R1_LR))

# 8. Distillation: the final policy's correct completions teach students of other shapes and vocabularies.
$(DISTILL)/teacher.jsonl: $(ALL)/done
	mkdir -p $(@D)
	$(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --count 6000 --seed $(SEED)8001 \
	  | $(BIN)/r1-rollout $(ALL)/policy $(FORM) --samples 1 --temperature 0.6 --top-p 0.95 $(SAMPLER) \
	  | $(BIN)/r1-reward $(R1_REWARDS) > $@.part
	mv $@.part $@
define STUDENT
$(DISTILL)/$(1)/init/$(POLICY_FILE): $(BASE)/corpus.jsonl
	$(BIN)/r1-init --preset $(1) --corpus $$< --seed $(SEED) -o $(DISTILL)/$(1)/init
$(DISTILL)/$(1)/done: $(DISTILL)/teacher.jsonl $(DISTILL)/$(1)/init/$(POLICY_FILE)
	$(BIN)/r1-distill $(DISTILL)/$(1)/init $$< -o $(DISTILL)/$(1)/policy --template chat --correct-only --epochs 4 \
	  --batch-size 64 --lr 2e-3 --schedule cosine --warmup 20 --min-lr-ratio 0.1 --seed $(SEED) $(ENGINE) \
	  --metrics $(DISTILL)/$(1)/metrics.jsonl
	touch $$@
$(call EVALUATE,$(1),$(DISTILL)/$(1)/policy,$(DISTILL)/$(1)/done,--template chat)
endef
$(foreach s,$(STUDENTS),$(eval $(call STUDENT,$(s))))

$(eval $(call EVALUATE,sft,$(SFT)/policy,$(SFT)/done,$(FORM)))
$(eval $(call EVALUATE,rl,$(REASON)/policy,$(REASON)/done,$(FORM)))
$(eval $(call EVALUATE,sft-again,$(SFT_AGAIN)/policy,$(SFT_AGAIN)/done,$(FORM)))
$(eval $(call EVALUATE,r1,$(ALL)/policy,$(ALL)/done,$(FORM)))
