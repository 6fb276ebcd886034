# `make` lists targets, `make help` variables. No option is in this file: a stage reads them from the environment.
SHELL := bash
PYTHON ?= python3
# A stage is a folder with a command; one with a lock has an environment and an image of its own.
COMMANDS := $(subst _,-,$(patsubst stages/%/__main__.py,%,$(wildcard stages/*/__main__.py))) push
STAGES := $(filter $(COMMANDS),$(subst _,-,$(patsubst stages/%/requirements.lock,%,$(wildcard stages/*/requirements.lock))))

# A variable of the command line is data: $ in it is a character, nothing is expanded or executed.
$(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$(eval override export $v := $$(value $v))))

.PHONY: first help doctor demo test test-all check fix bench bench-recipe bench-serve torture images venv upload download mount \
        unmount cluster cluster-stop clean clean-all tokenize $(COMMANDS)

first: ; @cat scripts/help.txt
help doctor demo:
	@$(PYTHON) -m scripts.$@
.DEFAULT:
	@$(PYTHON) -m scripts.help $@

# Several run one after the other, in the order of the flow, with -j as well.
$(COMMANDS):
	@$(PYTHON) -m scripts.run $@
tokenize: tokenizer
vocab: $(filter corpus,$(MAKECMDGOALS))
tfrecords: $(filter corpus vocab,$(MAKECMDGOALS))
tpu-train train: $(filter tfrecords,$(MAKECMDGOALS))
convert: $(filter tpu-train train,$(MAKECMDGOALS))
tokenizer serve evaluate finetune: $(filter train convert,$(MAKECMDGOALS))
push: $(filter train convert evaluate,$(MAKECMDGOALS))

upload download: module := transfer
mount unmount cluster cluster-stop: module := services
upload download mount unmount cluster cluster-stop:
	@$(PYTHON) -m scripts.$(module) $@

images:
	docker compose build $(STAGES) mount ray-head
image/%:
	docker compose build $*
venv:
	@scripts/venv all
venv/%:
	@scripts/venv $*

check fix test:
	@scripts/$@
test-all:
	@scripts/test --all
bench: uses := scripts.bench corpus vocab tfrecords tokenizer convert
bench-recipe: uses := scripts.bench.recipes train
bench-serve: uses := scripts.bench.serve corpus vocab tokenizer serve convert
bench bench-recipe bench-serve:
	@scripts/venv bench $(wordlist 2,9,$(uses))
	@.venv/bench/bin/python -m $(firstword $(uses)) $$FLAGS
torture:
	@scripts/venv --if-possible corpus vocab tfrecords tpu-train convert
	@.venv/corpus/bin/python -m tests.torture $$FLAGS

clean clean-all:
	@scripts/clean $@
