"""A model folder and the data of a task → models fine-tuned by transformers' Trainer, and the records of their runs."""

from __future__ import annotations

import functools
import math
import os
import tempfile
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import logging

from stages.command.progress import Progress
from stages.command.refusal import Refusal, Retryable
from stages.devices import choose_device, in_bfloat16
from stages.estimates import rounded
from stages.finetune.examples import TaskData
from stages.finetune.inputs import IGNORED, Input
from stages.finetune.options import Options
from stages.finetune.runs import WARMUP, Run, best_run, remove_models, write_model, write_record
from stages.finetune.tagging import AlbertTagger
from stages.finetune.tasks import Kind, Task
from stages.formats.model_folder import ModelFolder
from stages.words.model_folder import read_tokenizer_class, write_tokenizer

HEADS = {
    "regression": transformers.AlbertForSequenceClassification,
    "classification": transformers.AlbertForSequenceClassification,
    "choice": transformers.AlbertForMultipleChoice,
    "span": transformers.AlbertForQuestionAnswering,
    "tagging": AlbertTagger,
}
EVALUATION_BATCH = 64


class FineTuning:
    """What all runs share: the options, the model folder, and the rows of both sets."""

    def __init__(self, options: Options, folder: ModelFolder, data: TaskData[Any]) -> None:
        logging.disable_progress_bar()
        self.options, self.folder, self.data = options, folder, data
        self.device = choose_device(options.device)
        self.bfloat16 = in_bfloat16(self.device, options.precision)  # Of the matrix products; weights are float32.
        self.tokenizer = read_tokenizer_class(folder.address)
        self.train, self.dev = data.encode(self.tokenizer, options.row_length(folder.settings))
        self.epoch_steps = math.ceil(len(self.train) / options.batch_size)  # The last one may have fewer examples.

    def make(self, runs: list[Run], records: dict[Run, dict[str, Any]]) -> None:
        """Make the runs and add them to `records`; the model of the best pretrained one is kept."""
        out, batch = self.options.out, self.options.batch_size
        progress = Progress("finetune", "examples", sum(run.epochs for run in runs) * self.epoch_steps * batch)
        try:
            for run in runs:
                model, figures = self._fine_tune(run, progress)
                records[run] = rounded(figures)
                # The first of equal runs is the best, and runs are made in order.
                is_best = run.pretrained and best_run(self.data.task, records) == run
                if is_best:
                    self._write_model(run, model)
                # The record comes after the model: the best of the recorded runs always has its model.
                write_record(out, run, records[run])
                if is_best:
                    remove_models(out, run)
        except torch.OutOfMemoryError:
            raise Retryable("the device has not enough memory; with a smaller --micro-batch the same command resumes")
        progress.close()

    def _write_model(self, run: Run, model: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="finetune-") as local:
            model.save_pretrained(local)
            vocabulary, tokenizer = os.path.join(self.folder.path, "vocab.txt"), self.tokenizer
            write_tokenizer(local, vocabulary, tokenizer.subword_tokenizer_type, tokenizer.model_max_length)
            write_model(self.options.out, run, local)

    def _fine_tune(self, run: Run, progress: Progress) -> tuple[Any, dict[str, Any]]:
        """One run: the model after the last step, and its record.

        The record: `TaskData.figures`, and `training_loss`, the mean of all steps.

        AdamW without decay, the rate rising in the first WARMUP of the steps and falling to 0, gradients clipped at
        norm 1: the Trainer's defaults, as in the published experiments.
        """
        # For the weights of the new layer. The Trainer sets it again, for the order of the examples.
        transformers.set_seed(run.seed)
        # PyTorch's fused attention is slow in bfloat16 on processors (stages/train/model.py has the times).
        eager = self.bfloat16 and self.device == "cpu"
        task, options = self.data.task, self.options
        model = load_model(self.folder, task, run.pretrained, "eager" if eager else "sdpa")
        # ALBERT's forward passes accept `num_items_in_batch` and ignore it. The Trainer would then sum the mean losses
        # of a batch's passes, which multiplies the gradient that it clips.
        model.accepts_loss_kwargs = False
        with tempfile.TemporaryDirectory(prefix="finetune-") as empty:
            arguments = transformers.TrainingArguments(
                output_dir=empty,
                learning_rate=run.learning_rate,
                num_train_epochs=run.epochs,
                warmup_steps=WARMUP,  # Below 1: a share of the steps.
                per_device_train_batch_size=options.pass_size,
                gradient_accumulation_steps=options.batch_size // options.pass_size,
                per_device_eval_batch_size=EVALUATION_BATCH,
                seed=run.seed,
                use_cpu=self.device == "cpu",
                bf16=self.bfloat16,
                # On a GPU some operations have no deterministic implementation.
                full_determinism=self.device == "cpu",
                logging_steps=max(1, run.epochs * self.epoch_steps // 100),
                # Checkpoints of the Trainer hold pickles.
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=self.device == "cuda",
            )
            trainer = _LengthGroupedTrainer(
                model,
                arguments,
                data_collator=functools.partial(_collate, task.kind),
                train_dataset=self.train,
                callbacks=[_ProgressLine(progress, options.batch_size, run.name)],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.remove_callback(transformers.ProgressCallback)
            loss = trainer.train().training_loss
            outputs = trainer.predict([example._replace(label=None) for example in self.dev]).predictions
        return model, {**self.data.figures(outputs, model), "training_loss": loss}


def load_model(folder: ModelFolder, task: Task, pretrained: bool, attention: str) -> Any:
    """The model with a new layer for the task. Refuses weights that are damaged or incomplete.

    `pretrained`: False for random values. `attention`: the name of an implementation in transformers.
    """
    head = HEADS[task.kind]
    options: dict[str, Any] = {"local_files_only": True}
    if task.kind == "regression":
        options |= {"num_labels": 1, "problem_type": "regression"}
    elif task.kind in ("classification", "tagging"):
        numbers = {label: number for number, label in enumerate(task.labels)}
        options |= {"id2label": dict(enumerate(task.labels)), "label2id": numbers}
    if not pretrained:
        return head._from_config(
            transformers.AlbertConfig.from_pretrained(folder.path, **options), attn_implementation=attention
        )
    try:
        model, report = head.from_pretrained(
            folder.path,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
            **options,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise Refusal(f"cannot read the model of {folder.address}: {str(error).splitlines()[0]}")
    missing = sorted(name for name in report["missing_keys"] if name.startswith("albert."))
    if missing:
        raise Refusal(f"{folder.address} has no weights for {missing[0]}; make convert writes them all")
    return model


def _collate(kind: Kind, examples: list[Input]) -> dict[str, Tensor]:
    """A batch, padded to its longest row: (B, L), or (B, 5, L) with five rows an example."""
    rows = [row for example in examples for row in example.rows]
    batch = {
        "input_ids": _padded([row.ids for row in rows]),
        "attention_mask": _padded([np.ones_like(row.ids) for row in rows]),
        "token_type_ids": _padded([row.segments for row in rows]),
    }
    if kind == "choice":
        batch = {name: tensor.unflatten(0, (len(examples), -1)) for name, tensor in batch.items()}
    labels = [example.label for example in examples]
    if labels[0] is not None:
        if kind == "span":
            batch["start_positions"], batch["end_positions"] = torch.from_numpy(np.stack(labels)).unbind(1)
        elif kind == "tagging":
            batch["labels"] = _padded(labels, IGNORED)
        else:
            batch["labels"] = torch.from_numpy(np.stack(labels))
    return batch


def _padded(rows: list[NDArray[Any]], value: int = 0) -> Tensor:
    return pad_sequence([torch.from_numpy(row).long() for row in rows], batch_first=True, padding_value=value)


class _LengthGroupedTrainer(transformers.Trainer):
    """The Trainer with batches of similar lengths in random order, which need less padding."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        examples: Any = self.train_dataset
        lengths = [max(len(row.ids) for row in example.rows) for example in examples]
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(batch, lengths=lengths)


class _ProgressLine(transformers.TrainerCallback):
    """This project's progress line in place of the Trainer's: examples, rate, time left, loss."""

    def __init__(self, progress: Progress, batch: int, name: str) -> None:
        self.progress, self.batch, self.name, self.loss = progress, batch, name, ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            self.loss = f", loss {float(logs['loss']):.4f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.add(self.batch, f"{self.name}{self.loss}")
