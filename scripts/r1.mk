# The stages after R1-Zero: cold start (cold.mk), SFT, reasoning RL, rejection sampling, SFT, RL for all scenarios. Included by the Makefile.
#
# Departures from the paper, at this size: where no MODEL is named, worked solutions that check themselves stand for what
# people wrote, and the general requests, their replies and the preferences between replies are drawn like the problems.
#
#:
#:All stages
#:  make r1          R1-Zero, cold start, SFT, RL, rejection sampling, SFT, RL for all, students; then the report
#:  R1_ROUNDS        rounds of reasoning RL [30]
#:  ALL_ROUNDS       rounds of RL for all scenarios [24]; in the last JUDGED_ROUNDS [8] of them general requests
#:                   and preference models take part (the paper: the last 400 of 1,700 steps); 0 does without them
#:  REJECT_PROMPTS   problems whose completions are chosen from in rejection sampling [3000; with TASKS as many as PROMPTS]
#:  GENERAL          general requests (JSONL) for the last stage [drawn]
#:  REPLIES          general examples (JSONL) for the second SFT, at 1 to 3 reasoning ones [drawn]
#:  PREFERENCES      pairs (JSONL) to learn `helpful` from, and HARMS to learn `harmless` from [drawn]
#:  PRESETS          the students, of r1-init [qwen-tiny llama-tiny]; RL_STUDENTS those that also learn by
#:                   reinforcement alone [llama-tiny]
#:  READABLE         flags of r1-reject on what is imitated [--format; with MODEL none]
#:  R1_PROBLEMS, R1_CORPUS, R1_REWARDS, R1_SFT, R1_GRPO, ALL_REWARDS, PREFER: flags, as for R1-Zero

COLD       := $(RUN)/2-cold-start
SFT        := $(RUN)/3-sft
REASON     := $(RUN)/4-rl
REJECT     := $(RUN)/5-reject
SFT_AGAIN  := $(RUN)/6-sft
ALL        := $(RUN)/7-rl
JUDGES     := $(RUN)/judges

R1_ROUNDS      ?= 30
ALL_ROUNDS     ?= 24
JUDGED_ROUNDS  ?= 8
REJECT_PROMPTS ?= $(if $(TASKS),$(PROMPTS),3000)
GENERAL        ?=
REPLIES        ?=
PREFERENCES    ?=
HARMS          ?=
BILINGUAL     := --language en=2 --language zh=1
# Reasoning in words, so that there is a language to keep to; and a base that mixes languages and is not always kind.
R1_PROBLEMS  ?= --family arithmetic --operands 1-9 --order-matters 0.5 --words 1 $(BILINGUAL)
R1_CORPUS    ?= --family general=0.1 --noise default,mixed-language=0.3,unkind=0.5 --operators 1-2 --count 90000
R1_REWARDS   ?= --reward accuracy=1 --reward format=0.1 --reward language=0.2
R1_SFT       ?= --epochs 2 --batch-size 32 --lr 1e-3 --schedule cosine --warmup 10 --min-lr-ratio 0.1
R1_GRPO      ?= --lr 1e-4 --loss dapo
ALL_REWARDS  ?= $(R1_REWARDS) --reward general:helpful=1 --reward general:harmless=1
PREFER       ?= --epochs 1 --batch-size 32 --lr 3e-4 --warmup 10

# What `make r1` adds to the settings that a run must keep (scripts/zero.mk).
R1_NAMES := R1_ROUNDS ALL_ROUNDS JUDGED_ROUNDS REJECT_PROMPTS COLD_WAYS COLD_PROMPTS COLD_FORM WRITER WRITER_FLAGS WRITER_TOKENS \
  WRITTEN GENERAL REPLIES PREFERENCES HARMS R1_REWARDS R1_SFT R1_GRPO ALL_REWARDS PREFER READABLE PRESETS RL_STUDENTS TAUGHT STUDENT_BASE DISTILL_FLAGS STUDENT_ROUNDS STUDENT_GRPO
R1_SETTINGS_TOO = $(if $(filter r1-stages,$(MAKECMDGOALS)),$(foreach name,$(R1_NAMES),$(name)=$($(name))))

.PHONY: r1 r1-stages
r1: | build
	+$(MAKE) r1-stages RUN=$(if $(filter runs/zero,$(RUN)),runs/r1,$(RUN)) PROBLEMS="$(R1_PROBLEMS)" CORPUS="$(R1_CORPUS)"

PRESETS     ?= qwen-tiny llama-tiny
RL_STUDENTS ?= llama-tiny
STAGES := base zero sft rl sft-again r1 $(PRESETS) $(RL_STUDENTS:%=%-rl)
r1-stages: $(RUN)/report.html
	@$(BIN)/r1-eval $(STAGES:%=$(EVAL)/%.jsonl)
	@echo "general requests before and after the last stage, and the report: $(KINDNESS) $(RUN)/report.html"

FORM := --template $(TEMPLATE)

# Tasks to train on, the same for every stage: drawn anew, or taken from TASKS.
#   1 how many  2 seed, which is also the place in TASKS
ifdef TASKS
PRACTICE = scripts/take.sh $(TASKS) $(HELD_OUT) $(1) $(2)
else
PRACTICE = $(BIN)/r1-tasks $(PROBLEMS) $(ASKED) --split train --unique --count $(1) --seed $(SEED)$(2)
endif

# 2. The cold start's examples: scripts/cold.mk.

# 3. SFT on the base.
$(SFT)/done: $(COLD)/examples.jsonl $(BASE)/done
	mkdir -p $(@D)
	$(BIN)/r1-sft $(BASE)/policy $< -o $(SFT)/policy $(FORM) $(R1_SFT) --seed $(SEED) $(ENGINE) --metrics $(SFT)/metrics.jsonl
	touch $@

# 4. Reasoning RL with the language-consistency reward.
REASON_TASKS = $(call PRACTICE,$(PROMPTS),40$(1))
$(call REINFORCE,$(REASON),$(SFT)/policy,$(R1_ROUNDS),REASON_TASKS,$(R1_REWARDS),$(FORM),$(R1_GRPO))

# 5. Rejection sampling, among it non-reasoning examples in the paper's proportion: one to three.
READABLE ?= $(if $(MODEL),,--format)
$(REJECT)/rewarded.jsonl: $(REASON)/done
	mkdir -p $(@D)
	$(call PRACTICE,$(REJECT_PROMPTS),5001) \
	  | $(BIN)/r1-rollout $(REASON)/policy $(FORM) --samples 4 $(SAMPLER) \
	  | $(BIN)/r1-reward $(R1_REWARDS) $(JUDGE) > $@.part
	mv $@.part $@
# Of mixed quality, as what is collected is: preferences come last.
$(REJECT)/general.jsonl: $(REPLIES) | settled
	mkdir -p $(@D)
ifdef REPLIES
	cp $< $@.part
else
	$(BIN)/r1-tasks --corpus --noise unkind=0.3 --family general $(BILINGUAL) --split train --count 1000 --seed $(SEED)5002 -o $@.part
endif
	mv $@.part $@
$(REJECT)/examples.jsonl: $(REJECT)/rewarded.jsonl $(REJECT)/general.jsonl $(EVAL)/tasks.jsonl
	$(BIN)/r1-reject $< --correct --finished $(READABLE) --language 0.95 --no-code --dedup --best 1 --decontaminate $(EVAL)/tasks.jsonl \
	  --mix $(REJECT)/general.jsonl=1/3 --report $(REJECT)/refused.json -o $@

# 6. SFT on the base again.
$(SFT_AGAIN)/done: $(REJECT)/examples.jsonl $(BASE)/done
	mkdir -p $(@D)
	$(BIN)/r1-sft $(BASE)/policy $< -o $(SFT_AGAIN)/policy $(FORM) $(R1_SFT) --seed $(SEED) $(ENGINE) \
	  --metrics $(SFT_AGAIN)/metrics.jsonl
	touch $@

# Preference models: of use (the final summary), and without harm (the whole response).
#   1 opinion  2 file of pairs, where there is one
define PREFERENCE_MODEL
$(JUDGES)/$(1).pairs.jsonl: $(2) | settled
	mkdir -p $$(@D)
	$(if $(2),cp $$< $$@.part,$(BIN)/r1-tasks --pairs --family general $(BILINGUAL) --split train --count 6000 --seed $(SEED)7002 \
	  | grep -F '"aspect":"$(1)"' > $$@.part)
	mv $$@.part $$@
$(JUDGES)/$(1)/done: $(JUDGES)/$(1).pairs.jsonl $(SFT_AGAIN)/done
	mkdir -p $$(@D)
	$(BIN)/r1-prefer $(SFT_AGAIN)/policy $$< -o $(JUDGES)/$(1)/policy $(FORM) $(PREFER) --seed $(SEED) $(ENGINE) \
	  --metrics $(JUDGES)/$(1)/metrics.jsonl
	touch $$@
endef
$(eval $(call PREFERENCE_MODEL,helpful,$(PREFERENCES)))
$(eval $(call PREFERENCE_MODEL,harmless,$(HARMS)))
OPINIONS = $(BIN)/r1-judge --score helpful=$(JUDGES)/helpful/policy --score harmless=$(JUDGES)/harmless/policy $(ENGINE)

# 7. RL for all scenarios, at temperature 0.7 as in the paper: reasoning first, at the end together with general requests.
LATE := $(lastword $(shell seq 1 $(ALL_ROUNDS) | tail -n $(JUDGED_ROUNDS) | head -n 1))
is-late = $(if $(LATE),$(shell [ $(1) -ge $(LATE) ] && echo yes))
KINDNESS := $(if $(LATE),$(RUN)/general/sft-again.jsonl $(RUN)/general/r1.jsonl)
ifdef GENERAL
REQUESTS = scripts/take.sh $(GENERAL) 100 $(1) $(2)
else
REQUESTS = $(BIN)/r1-tasks --family general $(BILINGUAL) --split train --count $(1) --seed $(SEED)$(2)
endif
ALL_TASKS = { $(call PRACTICE,$(PROMPTS),70$(1));$(if $(call is-late,$(1)), $(call REQUESTS,$(PROMPTS),75$(1));) }
OPINION_NEEDS = $(if $(call is-late,$(1)),$(JUDGES)/helpful/done $(JUDGES)/harmless/done)
OPINION_PIPE = $(if $(call is-late,$(1)),| $(OPINIONS) --metrics $(ALL)/judging-metrics.jsonl )
$(call REINFORCE,$(ALL),$(SFT_AGAIN)/policy,$(ALL_ROUNDS),ALL_TASKS,$(ALL_REWARDS),$(FORM) --temperature 0.7,$(R1_GRPO),OPINION)

$(eval $(call EVALUATE,sft,$(SFT)/policy,$(SFT)/done,$(FORM)))
$(eval $(call EVALUATE,rl,$(REASON)/policy,$(REASON)/done,$(FORM)))
$(eval $(call EVALUATE,sft-again,$(SFT_AGAIN)/policy,$(SFT_AGAIN)/done,$(FORM)))
$(eval $(call EVALUATE,r1,$(ALL)/policy,$(ALL)/done,$(FORM)))

# General requests nobody trained on, before and after the last stage.
$(RUN)/general/tasks.jsonl: $(GENERAL) | settled
	mkdir -p $(@D)
ifdef GENERAL
	head -n 100 $< > $@.part
else
	$(BIN)/r1-tasks --family general $(BILINGUAL) --split test --count 100 --seed 1001 -o $@.part
endif
	mv $@.part $@
#   1 name  2 policy  3 its receipt
define EVALUATE_GENERAL
$(RUN)/general/$(1).jsonl: $(RUN)/general/tasks.jsonl $(3) $(JUDGES)/helpful/done $(JUDGES)/harmless/done
	$(BIN)/r1-rollout $(2) $$< --samples $(EVAL_SAMPLES) $(FORM) --max-tokens $(MAX_TOKENS) --seed 1000 $(ENGINE) \
	  | $(OPINIONS) | $(BIN)/r1-reward $(ALL_REWARDS) $(JUDGE) > $$@.part
	mv $$@.part $$@
endef
$(eval $(call EVALUATE_GENERAL,sft-again,$(SFT_AGAIN)/policy,$(SFT_AGAIN)/done))
$(eval $(call EVALUATE_GENERAL,r1,$(ALL)/policy,$(ALL)/done))

# All of it on one page.
$(RUN)/report.html: $(STAGES:%=$(EVAL)/%.jsonl) $(KINDNESS)
	$(BIN)/r1-plot $(RUN) -o $@
