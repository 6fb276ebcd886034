# Japanese ALBERT, from a Wikipedia dump to a tokenizer. `make` lists what can be made.
# Each target is one line here and a script of the same name; no number of the recipe is in this file.

SHELL := bash
PYTHON ?= python3
STAGES := corpus vocab tfrecords tpu-train train convert tokenizer

# Everything that may be said on the command line or in the environment; what is not said is left to the stage.
export DUMP SHARDS JOBS VOCAB_SIZE ALPHABET_SIZE SAMPLE SEED SEQ_LENGTH DUPE_FACTOR
export MODEL SIZE RECIPE BATCH STEPS HOURS WARMUP LEARNING_RATE DEVICE TORCH TRAINER PROCESSES TPU_NAME WORK_DIR TEXT FLAGS
export UNMASKED DYNAMIC_MASKING COMPARE TASK DATASET GRID EPOCHS REPO PUBLIC LICENSE CONFIRM
export ENGINE RAY_ADDRESS WORKERS
export DATA MODELS RUNNER MEMORY BUCKET MOUNT STAGE PORT ADDRESS
export TPU_ZONE PROJECT DRY_RUN

.PHONY: help doctor demo test check fix bench bench-recipe bench-serve torture images venv upload download mount unmount cluster cluster-stop clean clean-all tokenize serve \
        evaluate finetune push \
        $(STAGES) $(STAGES:%=image/%) image/train-cuda $(STAGES:%=venv/%) venv/tests

help:
	@cat scripts/help.txt

doctor:
	@$(PYTHON) scripts/doctor.py
demo:
	@$(PYTHON) scripts/demo.py

corpus vocab tfrecords tpu-train train convert tokenizer serve evaluate finetune push:
	@$(PYTHON) scripts/stage.py $@
tokenize: tokenizer
# In a row they run one after the other, in the order of the flow, with -j as well.
vocab: $(filter corpus,$(MAKECMDGOALS))
tfrecords: $(filter corpus vocab,$(MAKECMDGOALS))
tpu-train train: $(filter tfrecords,$(MAKECMDGOALS))
convert: $(filter tpu-train train,$(MAKECMDGOALS))
tokenizer serve evaluate finetune: $(filter train convert,$(MAKECMDGOALS))
push: $(filter train convert evaluate,$(MAKECMDGOALS))

# A run's folders to WORK_DIR in a bucket, and back.
upload download:
	@$(PYTHON) scripts/transfer.py $@

# A bucket as a folder, for what cannot read gs:// itself.
mount unmount:
	@$(PYTHON) scripts/mount.py $@

# A head and WORKERS workers on this machine, for ENGINE=ray.
cluster cluster-stop:
	@$(PYTHON) scripts/cluster.py $@

images:
	docker compose --profile chain --profile train --profile tokenizer --profile serve --profile mount --profile cluster build
$(STAGES:%=image/%) image/train-cuda: image/%:
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
	@scripts/venv bench corpus vocab tfrecords tokenizer convert
	@.venv/bench/bin/python -m scripts.bench $(FLAGS)
bench-recipe:
	@scripts/venv bench train
	@.venv/bench/bin/python -m scripts.bench.recipes $(FLAGS)
bench-serve:
	@scripts/venv bench corpus vocab tokenizer convert
	@.venv/bench/bin/python -m scripts.bench.serve $(FLAGS)

torture:
	@scripts/venv --if-possible corpus vocab tfrecords tpu-train convert
	@.venv/corpus/bin/python -m scripts.torture $(FLAGS)

clean:
	@scripts/clean
clean-all:
	@scripts/clean --all
