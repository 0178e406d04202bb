# 2. Cold start: examples of long reasoning that a person likes to read, by the paper's ways. Included by the Makefile.
#
#   zero        R1-Zero's own completions, as they are
#   few-shot    WRITER goes on after solved problems, in the form |special_token| reasoning |special_token| summary
#   reflection  WRITER is asked to reason step by step, to verify and to correct
#   refine      WRITER writes R1-Zero's right completions anew: in the question's language, step by step, with a summary
#
# Of each way's completions the right, finished ones in one language are taken, one a problem; what people wrote comes behind
# them. Departure from the paper, at this size: where no TASKS are named, worked solutions that check themselves stand for
# what people wrote. The default policy has only learned sums: it can neither be shown examples nor be asked to verify.
#
#:
#:Cold start
#:  COLD_WAYS        where examples come from, several of: zero few-shot reflection refine [zero]
#:  COLD_PROMPTS     problems asked in each way [400; with TASKS as many as PROMPTS]
#:  COLD_FORM        tags or special-token: the form that all examples are brought into [R1-Zero's stay, others get tags]
#:  WRITER           policy that is asked, in all ways but zero; - for a server [the base]
#:  WRITER_FLAGS     of r1-rollout, to ask it: --endpoint URL --model NAME, --temperature 0.6, ...
#:  WRITER_TOKENS    longest text of its [MAX_TOKENS]
#:  REVIEW=1         stops at STAGE/WAY.candidates.txt, for a person to edit and save as WAY.reviewed.txt, and goes on from these
#:  WRITTEN          examples (JSONL) that people wrote [worked solutions; with TASKS none]

COLD_WAYS     ?= zero
COLD_PROMPTS  ?= $(if $(TASKS),$(PROMPTS),400)
COLD_FORM     ?=
WRITER        ?= $(BASE)/policy
WRITER_FLAGS  ?=
WRITER_TOKENS ?= $(MAX_TOKENS)
REVIEW        ?=
WRITTEN       ?=

unknown-ways := $(filter-out zero few-shot reflection refine,$(COLD_WAYS))
$(if $(unknown-ways),$(error COLD_WAYS: $(unknown-ways) is none of zero few-shot reflection refine))

WRITER_DONE = $(if $(filter $(BASE)/policy,$(WRITER)),$(BASE)/done)
# A server has a chat template of its own.
WRITER_FORM = $(if $(filter -,$(WRITER)),,$(FORM))
WRITING     = --max-tokens $(WRITER_TOKENS) --seed $(SEED) $(ENGINE) $(WRITER_FLAGS)
COLD_JUDGED = $(BIN)/r1-reward $(R1_REWARDS) $(JUDGE)

$(COLD)/zero.rewarded.jsonl: $(ZERO)/done
	mkdir -p $(@D)
	$(call PRACTICE,$(COLD_PROMPTS),2001) | $(BIN)/r1-rollout $(ZERO)/policy $(FORM) --samples 4 $(SAMPLER) | $(COLD_JUDGED) > $@.part
	mv $@.part $@
# Examples and question are one text to go on with, whatever the policy's template; a solution ends at the empty line.
$(COLD)/few-shot.rewarded.jsonl: $(WRITER_DONE) | settled
	mkdir -p $(@D)
	$(call PRACTICE,$(COLD_PROMPTS),2003) \
	  | $(BIN)/r1-rollout $(WRITER) --ask few-shot $(if $(WRITER_FORM),--template raw) --stop $$'\n\n' --samples 4 $(WRITING) \
	  | $(COLD_JUDGED) > $@.part
	mv $@.part $@
$(COLD)/reflection.rewarded.jsonl: $(WRITER_DONE) | settled
	mkdir -p $(@D)
	$(call PRACTICE,$(COLD_PROMPTS),2004) \
	  | $(BIN)/r1-rollout $(WRITER) --ask reflection $(WRITER_FORM) --samples 4 $(WRITING) | $(COLD_JUDGED) > $@.part
	mv $@.part $@
# Mixed languages and a form that is not kept are what a draft may have: they are mended here.
$(COLD)/refine.rewarded.jsonl: $(COLD)/zero.rewarded.jsonl $(WRITER_DONE)
	$(BIN)/r1-reject $< --correct --finished --best 1 \
	  | $(BIN)/r1-rollout $(WRITER) --ask refine $(WRITER_FORM) --samples 2 $(WRITING) | $(COLD_JUDGED) > $@.part
	mv $@.part $@

COLD_GOOD = --correct --finished --language 1 --best 1
GOOD-zero = $(COLD_GOOD) $(READABLE) $(COLD_FORM:%=--form %)
GOOD-few-shot = $(COLD_GOOD) --form $(or $(COLD_FORM),tags)
GOOD-reflection = $(GOOD-few-shot)
GOOD-refine = $(GOOD-few-shot)

# The examples of a way; a person's word is the last.
#   1 way
define COLD_WAY
$(COLD)/$(1).candidates.txt: $(COLD)/$(1).rewarded.jsonl
	$(BIN)/r1-reject $$< $(GOOD-$(1)) --review $$@ > /dev/null
$(COLD)/$(1).reviewed.txt: | $(COLD_WAYS:%=$(COLD)/%.candidates.txt)
	@echo "make: edit $(COLD)/$(1).candidates.txt, save it as $$@, and run make again" >&2; exit 2
$(COLD)/$(1).jsonl: $(COLD)/$(1).rewarded.jsonl $(if $(REVIEW),$(COLD)/$(1).reviewed.txt)
	$(BIN)/r1-reject $$< $(GOOD-$(1)) $(if $(REVIEW),--reviewed $(COLD)/$(1).reviewed.txt) --report $(COLD)/$(1).refused.json -o $$@
endef
$(foreach way,$(COLD_WAYS),$(eval $(call COLD_WAY,$(way))))

$(COLD)/written.jsonl: $(WRITTEN) | settled
	mkdir -p $(@D)
ifdef WRITTEN
	cp $< $@.part
else ifdef TASKS
	: > $@.part
else
	$(BIN)/r1-tasks --corpus --noise none $(PROBLEMS) $(ASKED) --split train --unique --count 1500 --seed $(SEED)2002 -o $@.part
endif
	mv $@.part $@
$(COLD)/examples.jsonl: $(COLD_WAYS:%=$(COLD)/%.jsonl) $(COLD)/written.jsonl
	cat $^ > $@.part
	mv $@.part $@
