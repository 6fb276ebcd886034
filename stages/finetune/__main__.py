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

import os
import sys
from importlib.metadata import version
from typing import Any

from stages.command.options import parse
from stages.command.refusal import unwritable
from stages.command.running import run
from stages.estimates import rounded
from stages.finetune.data import find_files, read_data
from stages.finetune.examples import TaskData
from stages.finetune.options import Options
from stages.finetune.results import table
from stages.finetune.runs import MODEL, Run, best_run, publish_model, read_records, remove_models
from stages.finetune.tasks import TASKS
from stages.formats.model_folder import ModelFolder, opened_model
from stages.handover import storage
from stages.handover.manifests import claim, write_json, write_manifest
from stages.handover.storage import describe, whole_file

RESULTS, TABLE = "results.json", "results.md"


def main(arguments: list[str]) -> None:
    """Check everything that needs no large library, then make the runs that are not finished."""
    options = parse(Options, "finetune", __doc__, arguments)
    files = find_files(options.dataset, TASKS[options.task])
    data = read_data(*files, TASKS[options.task])
    with opened_model(options.model) as model:
        rates, epochs = options.rates_and_epochs
        decisive = {
            "task": options.task,
            "learning_rates": rates,
            "epochs": epochs,
            "seeds": options.seed,
            "batch": options.batch_size,
            "max_length": options.row_length(model.settings),
            "scratch": options.scratch,
            "precision": options.precision,
        }
        dataset = {storage.name_of(path): storage.sha256(path) for path in files}
        inputs = {"model": model.identity, "dataset": dataset}
        if claim("finetune", options.out, decisive, inputs):
            print(f"finetune: {options.out} is finished already", file=sys.stderr)
            return
        try:
            best = _make_runs(options, model, data, storage.name_of(files[1]))
            models = [f"{MODEL}/{name}" for name in storage.names(storage.join(options.out, MODEL))]
            outputs = {name: describe(storage.join(options.out, name)) for name in (RESULTS, TABLE, *models)}
            libraries = ("torch", "transformers", "accelerate", "safetensors", "tinysegmenter3")
            versions = {name: version(name) for name in libraries}
            write_manifest("finetune", options.out, decisive, inputs, outputs, best=best, versions=versions)
        except OSError as error:
            raise unwritable(options.out, error)
    print(f"finetune: wrote {storage.join(options.out, MODEL)}", file=sys.stderr)


def _make_runs(options: Options, model: ModelFolder, data: TaskData[Any], dev_file: str) -> dict[str, Any]:
    """Make and record all runs, publish the best model, write the results; returns the best run's entry in them."""
    task, out = data.task, options.out
    records = _records(options, model, data, options.runs)
    best = best_run(task, records)
    untrained = None
    if options.scratch:
        run = best._replace(pretrained=False)
        untrained = _records(options, model, data, [run])[run]
    remove_models(out, best)
    publish_model(out, best)
    sizes = {"train": len(data.train), "dev": len(data.dev)}
    source = f"{model.name} on {dev_file}, {sizes['dev']:,} examples; learned from {sizes['train']:,}. {data.rule}"
    baselines = rounded(data.baselines())
    text = table(task, records, best, source.rstrip(), baselines, untrained)
    entries = {run: {**run._asdict(), "name": run.name, **record} for run, record in records.items()}
    results = {
        "task": task.name,
        "model": model.name,
        "examples": sizes,
        "split": data.rule or None,
        "chosen_by": task.metrics[0],
        "best": best.name,
        "runs": list(entries.values()),
        "without_pretraining": untrained,
        "baselines": baselines,
    }
    write_json(storage.join(out, RESULTS), results)
    with whole_file(storage.join(out, TABLE), "w") as stream:
        stream.write(text)
    print(text, end="")
    return entries[best]


def _records(options: Options, model: ModelFolder, data: TaskData[Any], runs: list[Run]) -> dict[Run, dict[str, Any]]:
    """The records of the runs, in their order. Makes the runs that are not finished."""
    records = read_records(options.out, runs)
    missing = [run for run in runs if run not in records]
    if missing:
        # The libraries fetch nothing, and their messages are of no use here.
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
        # As in stages.train: beside other work, PyTorch's threads must not wait for each other awake.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # One GPU is enough. The Trainer would use all of them, and multiply the batch by their number.
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        from stages.finetune.training import FineTuning  # 4 s

        FineTuning(options, model, data).make(missing, records)
    return {run: records[run] for run in runs}


if __name__ == "__main__":
    sys.exit(run("finetune", main))
