# Japanese ALBERT, from a Wikipedia dump to a tokenizer. `make` lists what can be made.
# Each target is one line here and a script of the same name; no number of the recipe is in this file.

SHELL := bash
PYTHON ?= python3
STAGES := corpus vocab tfrecords tpu-train convert tokenizer

# Everything that may be said on the command line or in the environment; what is not said is left to the stage.
export DUMP SHARDS JOBS VOCAB_SIZE ALPHABET_SIZE SAMPLE SEED SEQ_LENGTH DUPE_FACTOR
export MODEL SIZE BATCH STEPS WARMUP LEARNING_RATE DEVICE TPU_NAME WORK_DIR TEXT FLAGS
export DATA MODELS RUNNER

.PHONY: help doctor demo test check fix bench images venv clean clean-all tokenize \
        $(STAGES) $(STAGES:%=image/%) $(STAGES:%=venv/%) venv/tests

help:
	@cat scripts/help.txt

doctor:
	@$(PYTHON) scripts/doctor.py
demo:
	@$(PYTHON) scripts/demo.py

corpus vocab tfrecords tpu-train convert tokenizer:
	@$(PYTHON) scripts/stage.py $@
tokenize: tokenizer
# In a row they run one after the other, in the order of the flow, with -j as well.
vocab: $(filter corpus,$(MAKECMDGOALS))
tfrecords: $(filter corpus vocab,$(MAKECMDGOALS))
tpu-train: $(filter tfrecords,$(MAKECMDGOALS))
convert: $(filter tpu-train,$(MAKECMDGOALS))
tokenizer: $(filter convert,$(MAKECMDGOALS))

images:
	docker compose --profile tokenizer build
$(STAGES:%=image/%): image/%:
	docker compose build $*

venv:
	@scripts/venv $(STAGES)
$(STAGES:%=venv/%) venv/tests: venv/%:
	@scripts/venv $*

test:
	@scripts/test
check fix:
	@scripts/$@
bench:
	@scripts/venv bench corpus vocab tfrecords tokenizer
	@.venv/bench/bin/python -m scripts.bench $(FLAGS)

clean:
	@scripts/clean
clean-all:
	@scripts/clean --all
