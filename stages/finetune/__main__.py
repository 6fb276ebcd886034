"""A model folder and one task → the model fine-tuned for it, and how good it is on the dev set.

Runs every combination of the given learning rates, epochs and seeds by transformers' Trainer, or the grid of the
published experiments. Writes a table of all runs, of baselines that need no model, and the model of the best run.
Finished runs are kept: the same command resumes with the others.

The data is not part of this project. JSTS, JNLI, JCommonsenseQA and JSQuAD are at github.com/yahoojapan/JGLUE, under
datasets (CC BY-SA 4.0); Amazon has withdrawn the reviews of MARC-ja, which is for those who have a copy. A folder has
train-v….json and valid-v….json of one task and version.

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
from typing import Any, cast

from stages.command.options import parse
from stages.command.progress import Progress
from stages.command.refusal import Refusal, Retryable, unwritable
from stages.command.running import run
from stages.estimates import rounded
from stages.finetune.baselines import baselines
from stages.finetune.entities import labels_of
from stages.finetune.examples import Example, Questions, Sentence
from stages.finetune.files import (
    MODEL,
    RESULTS,
    TABLE,
    DataFiles,
    drop_models,
    find_data,
    finished_runs,
    keep_run,
    publish_model,
    write_results,
)
from stages.finetune.grid import Run, runs
from stages.finetune.options import Options
from stages.finetune.parts import Parts, read_parts
from stages.finetune.results import best_run, better, table
from stages.finetune.tasks import TASKS, Task
from stages.formats.model_folder import ModelFolder, opened_model
from stages.handover import storage
from stages.handover.manifests import claim, write_manifest
from stages.handover.storage import describe

STAGE = "finetune"


def main(arguments: list[str]) -> None:
    """Check all that needs no large library, then make the runs that are not finished."""
    given = parse(Options, STAGE, __doc__, arguments)
    task = TASKS[given.task]
    data = find_data(given.dataset, task)
    parts = read_parts(data, task)
    if task.kind == "tagging":
        task = dataclasses.replace(task, labels=labels_of(cast(list[Sentence], parts.train)))
    with opened_model(given.model) as model:
        max_length = given.max_tokens(task, model.settings["max_position_embeddings"])
        options = {**given.runs._asdict(), "task": task.name, "seeds": given.seed, "batch": given.batch_size}
        options.update(max_length=max_length, scratch=given.scratch, precision=given.precision)
        inputs = {"model": model.identity, "dataset": data.identity}
        if claim(STAGE, given.out, options, inputs):
            print(f"{STAGE}: {given.out} is finished already", file=sys.stderr)
            return
        try:
            results = _make_runs(given, task, model, parts, max_length, data)
            _finish(given.out, options, inputs, results)
        except OSError as error:
            raise unwritable(given.out, error)


def _make_runs(
    given: Options,
    task: Task,
    model: ModelFolder,
    parts: Parts,
    max_length: int,
    data: DataFiles,
) -> dict[str, Any]:
    """Make and record all runs, publish the best, and write the results; gives them."""
    wanted = runs(given.runs, given.seed)
    recorded = finished_runs(given.out, wanted)
    missing = [each for each in wanted if each not in recorded]
    if missing:
        _train(given, task, model, parts, max_length, recorded, missing)
    in_order = {each: recorded[each] for each in wanted}
    best = best_run(task, in_order)
    assert best is not None
    untrained = _untrained(given, task, model, parts, max_length, best) if given.scratch else None
    drop_models(given.out, best)
    publish_model(given.out, best)
    sizes = {"train": len(parts.train), "dev": len(parts.dev)}
    source = f"{model.name} on {storage.name_of(data.dev)}, {sizes['dev']:,} examples; learned from {sizes['train']:,}."
    compared = rounded(baselines(task, parts.train, parts.dev))
    text = table(task, in_order, best, f"{source} {parts.rule}".rstrip(), compared, untrained)
    results = {
        "task": task.name,
        "model": model.name,
        "examples": sizes,
        "split": parts.rule or None,
        "chosen_by": task.metrics[0],
        "best": best.name,
        "runs": [{**each._asdict(), "name": each.name, **record} for each, record in in_order.items()],
        "without_pretraining": untrained,
        "baselines": compared,
    }
    write_results(given.out, results, text)
    print(text, end="")
    return results


def _untrained(
    given: Options, task: Task, model: ModelFolder, parts: Parts, max_length: int, best: Run
) -> dict[str, Any]:
    """The record of the best run's settings without pretraining, made where it is not there."""
    run = best._replace(pretrained=False)
    recorded = finished_runs(given.out, [run])
    if not recorded:
        _train(given, task, model, parts, max_length, recorded, [run])
    return recorded[run]


def _train(
    given: Options,
    task: Task,
    model: ModelFolder,
    parts: Parts,
    max_length: int,
    recorded: dict[Run, dict[str, Any]],
    missing: list[Run],
) -> None:
    """Make the missing runs and add them to `recorded`; the best pretrained one has its model beside its record."""
    # Nothing is fetched, and nothing that the libraries say while they load is of use here. One GPU is enough, and the
    # Trainer would take all there are, with as many times the batch.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
    # As in stages.train: beside other work, PyTorch's threads must not wait for each other awake.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    import torch  # 2 s, with transformers 4 s
    from transformers.utils import logging

    from stages.devices import choose_device, in_bfloat16
    from stages.finetune.training import Settings, fine_tune, steps_of
    from stages.words.model_folder import write_tokenizer
    from stages.words.tokenizer_class import read_tokenizer_class

    logging.disable_progress_bar()
    device = choose_device(given.device)
    settings = Settings(task, given.batch_size, given.pass_size, device, in_bfloat16(device, given.precision))
    tokenizer = read_tokenizer_class(model.path)
    rows = _data(task, tokenizer, parts, max_length)
    total = sum(each.epochs for each in missing) * steps_of(len(rows.train), given.batch_size) * given.batch_size
    progress = Progress(STAGE, "examples", total)
    try:
        for each in missing:
            trained, found = fine_tune(model, settings, each, rows, progress)
            best = best_run(task, recorded)
            record = rounded(found)
            # Under equals the first in the order of the runs is the best, and that is the one made first.
            is_best = each.pretrained and better(task, record["dev"], recorded[best]["dev"] if best else None)
            with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
                if is_best:
                    trained.save_pretrained(scratch)
                    kind = tokenizer.subword_tokenizer_type
                    vocabulary = os.path.join(model.path, "vocab.txt")
                    write_tokenizer(scratch, vocabulary, kind, tokenizer.model_max_length)
                keep_run(given.out, each, record, scratch if is_best else None)
            recorded[each] = record
            if is_best:
                drop_models(given.out, each)
    except torch.OutOfMemoryError:
        raise Retryable("the device has not enough memory; with a smaller --micro-batch the same command resumes")
    progress.close()


def _data(task: Task, tokenizer: Any, parts: Parts, max_length: int) -> Any:
    """Both parts of the data as rows."""
    from stages.finetune.inputs import span_rows, tag_rows, text_rows
    from stages.finetune.training import LONGEST_ANSWER, Data

    train, dev, _ = parts
    if isinstance(train, Questions) and isinstance(dev, Questions):
        usable = [question for question in train.questions if question.start is not None]
        dropped = len(train.questions) - len(usable)
        if not usable:
            raise Refusal("no answer of the training set is in its context at answer_start; is it another version's?")
        if dropped:
            print(f"{STAGE}: {dropped:,} training questions left out: no answer at answer_start", file=sys.stderr)
        learned = span_rows(tokenizer, Questions(train.contexts, usable), max_length)
        asked = span_rows(tokenizer, dev, max_length)
        return Data(learned.rows, asked.rows, asked, max(LONGEST_ANSWER, learned.longest))
    if task.kind == "tagging":
        tags = [tag_rows(tokenizer, cast(list[Sentence], part), task.labels, max_length) for part in (train, dev)]
        return Data(tags[0].rows, tags[1].rows, dev_tags=tags[1])
    texts = [text_rows(tokenizer, cast(list[Example], part), task, max_length) for part in (train, dev)]
    return Data(texts[0], texts[1])


def _finish(out: str, options: dict[str, Any], inputs: dict[str, Any], results: dict[str, Any]) -> None:
    models = [f"{MODEL}/{name}" for name in storage.names(storage.join(out, MODEL))]
    files = {name: describe(storage.join(out, name)) for name in (RESULTS, TABLE, *models)}
    best = next(each for each in results["runs"] if each["name"] == results["best"])
    libraries = ("torch", "transformers", "accelerate", "safetensors", "tinysegmenter3")
    write_manifest(STAGE, out, options, inputs, files, best=best, versions={name: version(name) for name in libraries})
    print(f"{STAGE}: wrote {storage.join(out, MODEL)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(STAGE, main))
