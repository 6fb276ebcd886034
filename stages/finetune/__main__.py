"""A model folder and one task → the model fine-tuned for it, and its figures on the dev set.

Fine-tunes with every combination of the learning rates, epochs and seeds by transformers' Trainer, or with the grid of
the published experiments. Writes a table of all runs, of baselines that need no model, and the model of the best run.
Finished runs are kept: the same command resumes with the others.

The data is not part of this project. JSTS, JNLI, JCommonsenseQA and JSQuAD are at github.com/yahoojapan/JGLUE, under
datasets (CC BY-SA 4.0). MARC-ja needs your own copy: Amazon has withdrawn the reviews. A folder has train-v….json and
valid-v….json of one task and version.

JSICK is at github.com/verypluming/JSICK, under jsick (train*.tsv, valid*.tsv). ner is in the form of
github.com/stockmarkteam/ner-wikipedia-dataset (train*.json, valid*.json). Both may be one file. JSICK's
column data then names the rows to learn from (train), to measure on (trial) and to leave out (test). Without trial,
one group in ten is measured on, by its SHA-256: the sentences of one page (ner), the pairs with one first sentence
(jsick). An entity is right with its exact characters and type. A sentence is cut off at --max-length; entities behind
that are missed.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from importlib.metadata import version
from typing import Any, NamedTuple, cast

from stages.command.options import parse
from stages.command.progress import Progress
from stages.command.refusal import Refusal, Retryable, unwritable
from stages.command.running import run
from stages.estimates import rounded
from stages.finetune.baselines import baselines
from stages.finetune.entities import tag_labels
from stages.finetune.examples import Example, Questions, Sentence
from stages.finetune.files import (
    MODEL,
    RESULTS,
    TABLE,
    DataFiles,
    find_data,
    publish_model,
    read_records,
    remove_models,
    write_record,
    write_results,
)
from stages.finetune.grid import Run, runs
from stages.finetune.options import Options
from stages.finetune.parts import Parts, read_parts
from stages.finetune.results import best_run, is_better, table
from stages.finetune.tasks import TASKS, Task
from stages.formats.model_folder import ModelFolder, opened_model
from stages.handover import storage
from stages.handover.manifests import claim, write_manifest
from stages.handover.storage import describe

STAGE = "finetune"


class _Job(NamedTuple):
    """The inputs of all runs. `max_length`: tokens of a row."""

    options: Options
    task: Task
    model: ModelFolder
    data: DataFiles
    parts: Parts
    max_length: int


def main(arguments: list[str]) -> None:
    """Check everything that needs no large library, then make the runs that are not finished."""
    options = parse(Options, STAGE, __doc__, arguments)
    task = TASKS[options.task]
    data = find_data(options.dataset, task)
    parts = read_parts(data, task)
    if task.kind == "tagging":
        task = dataclasses.replace(task, labels=tag_labels(cast(list[Sentence], parts.train)))
    with opened_model(options.model) as model:
        max_length = options.max_tokens(task, model.settings["max_position_embeddings"])
        decisive = {**options.runs._asdict(), "task": task.name, "seeds": options.seed, "batch": options.batch_size}
        decisive.update(max_length=max_length, scratch=options.scratch, precision=options.precision)
        inputs = {"model": model.identity, "dataset": data.identity}
        if claim(STAGE, options.out, decisive, inputs):
            print(f"{STAGE}: {options.out} is finished already", file=sys.stderr)
            return
        try:
            best = _make_runs(_Job(options, task, model, data, parts, max_length))
            _finish(options.out, decisive, inputs, best)
        except OSError as error:
            raise unwritable(options.out, error)


def _make_runs(job: _Job) -> dict[str, Any]:
    """Make and record all runs, publish the best model, write the results; returns the best run's record."""
    options, task, parts = job.options, job.task, job.parts
    records = _records(job, runs(options.runs, options.seed))
    best = best_run(task, records)
    assert best is not None
    untrained = None
    if options.scratch:
        run = best._replace(pretrained=False)
        untrained = _records(job, [run])[run]
    remove_models(options.out, best)
    publish_model(options.out, best)
    sizes = {"train": len(parts.train), "dev": len(parts.dev)}
    name = storage.name_of(job.data.dev)
    source = f"{job.model.name} on {name}, {sizes['dev']:,} examples; learned from {sizes['train']:,}. {parts.rule}"
    figures = rounded(baselines(task, parts.train, parts.dev))
    text = table(task, records, best, source.rstrip(), figures, untrained)
    entries = [{**run._asdict(), "name": run.name, **record} for run, record in records.items()]
    results = {
        "task": task.name,
        "model": job.model.name,
        "examples": sizes,
        "split": parts.rule or None,
        "chosen_by": task.metrics[0],
        "best": best.name,
        "runs": entries,
        "without_pretraining": untrained,
        "baselines": figures,
    }
    write_results(options.out, results, text)
    print(text, end="")
    return next(entry for entry in entries if entry["name"] == best.name)


def _records(job: _Job, requested: list[Run]) -> dict[Run, dict[str, Any]]:
    """The records of the requested runs, in their order. Makes the runs that are not finished."""
    records = read_records(job.options.out, requested)
    missing = [run for run in requested if run not in records]
    if missing:
        _train(job, records, missing)
    return {run: records[run] for run in requested}


def _train(job: _Job, records: dict[Run, dict[str, Any]], missing: list[Run]) -> None:
    """Make the missing runs and add them to `records`; the model of the best pretrained one is kept."""
    # The libraries fetch nothing, and their messages are of no use here.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
    # As in stages.train: beside other work, PyTorch's threads must not wait for each other awake.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # One GPU is enough. The Trainer would use all of them, and multiply the batch by their number.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    import torch  # 2 s, with transformers 4 s
    from transformers.utils import logging

    from stages.devices import choose_device, in_bfloat16
    from stages.finetune.training import Settings, epoch_steps, fine_tune
    from stages.words.model_folder import write_tokenizer
    from stages.words.tokenizer_class import read_tokenizer_class

    logging.disable_progress_bar()
    options, task = job.options, job.task
    device = choose_device(options.device)
    bfloat16 = in_bfloat16(device, options.precision)
    settings = Settings(task, options.batch_size, options.pass_size, device, bfloat16)
    tokenizer = read_tokenizer_class(job.model.path)
    data = _data(job, tokenizer)
    steps = sum(run.epochs for run in missing) * epoch_steps(len(data.train), options.batch_size)
    progress = Progress(STAGE, "examples", steps * options.batch_size)
    try:
        for run in missing:
            model, figures = fine_tune(job.model, settings, run, data, progress)
            best = best_run(task, records)
            record = rounded(figures)
            # The first of equal runs is the best, and runs are made in order.
            is_best = run.pretrained and is_better(task, record["dev"], records[best]["dev"] if best else None)
            with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
                if is_best:
                    model.save_pretrained(folder)
                    vocabulary = os.path.join(job.model.path, "vocab.txt")
                    write_tokenizer(folder, vocabulary, tokenizer.subword_tokenizer_type, tokenizer.model_max_length)
                write_record(options.out, run, record, folder if is_best else None)
            records[run] = record
            if is_best:
                remove_models(options.out, run)
    except torch.OutOfMemoryError:
        raise Retryable("the device has not enough memory; with a smaller --micro-batch the same command resumes")
    progress.close()


def _data(job: _Job, tokenizer: Any) -> Any:
    """Both sets as rows."""
    from stages.finetune.inputs import span_rows, tag_rows, text_rows
    from stages.finetune.training import LONGEST_ANSWER, Data

    task, max_length, (train, dev, _) = job.task, job.max_length, job.parts
    if isinstance(train, Questions) and isinstance(dev, Questions):
        usable = [question for question in train.questions if question.start is not None]
        dropped = len(train.questions) - len(usable)
        if not usable:
            raise Refusal("no answer of the training set is in its context at answer_start; give an unchanged file")
        if dropped:
            print(f"{STAGE}: {dropped:,} training questions left out: no answer at answer_start", file=sys.stderr)
        train_spans = span_rows(tokenizer, Questions(train.contexts, usable), max_length)
        dev_spans = span_rows(tokenizer, dev, max_length)
        return Data(train_spans.rows, dev_spans.rows, dev_spans, max(LONGEST_ANSWER, train_spans.longest))
    if task.kind == "tagging":
        tags = [tag_rows(tokenizer, cast(list[Sentence], part), task.labels, max_length) for part in (train, dev)]
        return Data(tags[0].rows, tags[1].rows, dev_tags=tags[1])
    texts = [text_rows(tokenizer, cast(list[Example], part), task, max_length) for part in (train, dev)]
    return Data(texts[0], texts[1])


def _finish(out: str, decisive: dict[str, Any], inputs: dict[str, Any], best: dict[str, Any]) -> None:
    models = [f"{MODEL}/{name}" for name in storage.names(storage.join(out, MODEL))]
    files = {name: describe(storage.join(out, name)) for name in (RESULTS, TABLE, *models)}
    libraries = ("torch", "transformers", "accelerate", "safetensors", "tinysegmenter3")
    versions = {name: version(name) for name in libraries}
    write_manifest(STAGE, out, decisive, inputs, files, best=best, versions=versions)
    print(f"{STAGE}: wrote {storage.join(out, MODEL)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
