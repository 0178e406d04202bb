# How a stage of the recipe looks as make rules. Included by the Makefile.
#
# A run is a directory with one folder a stage. Every file in it is whole or absent, and each command goes on where it was
# killed: so a killed make is run again and ends with the same bytes.
#
# A stage that trains has its policy in STAGE/policy and its receipt in STAGE/done. The weights cannot be the receipt: they
# are there from the first checkpoint on, and make would remove a target that a stopped command has changed.

POLICY_FILE := model.safetensors

# One round of reinforcement: fresh tasks, a group of completions each, rewards, advantages; then one update in place.
#   1 stage folder  2 round  3 policy that samples  4 receipt of that policy  5 command that prints the tasks
#   6 rewards  7 flags of r1-rollout  8 flags of r1-grpo  9 what else judges the completions: its receipts
#   10 and its part of the pipe
define ROUND
$(1)/round-$(2)/advantaged.jsonl: $(4) $(9) | settled
	mkdir -p $$(@D)
	$(5) \
	  | $(BIN)/r1-rollout $(3) --samples $(GROUP) $(7) $(SAMPLER) --metrics $(1)/sampling-metrics.jsonl \
	  $(10)| $(BIN)/r1-reward $(6) $(JUDGE) \
	  | $(BIN)/r1-advantage > $$@.part
	mv $$@.part $$@
$(1)/round-$(2)/done: $(1)/round-$(2)/advantaged.jsonl
	$(BIN)/r1-grpo $(3) $$< -o $(1)/policy $(8) $(UPDATE) --metrics $(1)/metrics.jsonl
	touch $$@
endef

# All rounds of a stage; the first one samples from another stage's policy, the later ones from this stage's own.
#   1 stage folder  2 first policy  3 rounds  4 tasks (a variable to be called with the round)  5 rewards
#   6 flags of r1-rollout  7 flags of r1-grpo  8 what else judges: receipts and pipe are the variables $(8)_NEEDS and
#   $(8)_PIPE, to be called with the round
define REINFORCE
$(foreach r,$(shell seq 1 $(3)),$(eval $(call ROUND,$(1),$(r),$(if $(filter 1,$(r)),$(2),$(1)/policy),$(if \
  $(filter 1,$(r)),$(2:policy=done),$(1)/round-$(call one-less,$(r))/done),$(call $(4),$(r)),$(5),$(6),$(7),$(if \
  $(8),$(call $(8)_NEEDS,$(r))),$(if $(8),$(call $(8)_PIPE,$(r))))))
$(eval $(1)/done: $(1)/round-$(3)/done ; touch $$@)
endef
one-less = $(shell expr $(1) - 1)

# Completions of the held-out tasks, judged.
#   1 name  2 policy  3 its receipt  4 flags of r1-rollout
define EVALUATE
$(EVAL)/$(1).jsonl: $(EVAL)/tasks.jsonl $(3)
	$(BIN)/r1-rollout $(2) $$< --samples $(EVAL_SAMPLES) $(4) --max-tokens $(MAX_TOKENS) --seed 1000 $(ENGINE) \
	  | $(BIN)/r1-reward --reward accuracy=1 --reward format=0.1 --reward language=0.2 $(JUDGE) > $$@.part
	mv $$@.part $$@
endef
