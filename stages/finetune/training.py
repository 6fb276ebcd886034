"""A model folder and rows → one fine-tuned model by transformers' Trainer, and its figures on the dev set."""

from __future__ import annotations

import tempfile
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import (
    AlbertForMultipleChoice,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from stages.evaluate.files import ModelFolder
from stages.finetune.grid import WARMUP, Run
from stages.finetune.inputs import Rows, SpanRows
from stages.finetune.metrics import accuracy, answer_scores, correlations
from stages.finetune.spans import best_span
from stages.finetune.tasks import Task
from stages.handover import Progress, Refusal

HEADS = {
    "regression": AlbertForSequenceClassification,
    "classification": AlbertForSequenceClassification,
    "choice": AlbertForMultipleChoice,
    "span": AlbertForQuestionAnswering,
}
# Tokens of an answer at most, as in the published experiments; more where the training set has longer ones.
LONGEST_ANSWER = 30
EVALUATION_BATCH = 64


class Settings(NamedTuple):
    """What all runs share. `micro_batch`: examples of a batch that go through the model together."""

    task: Task
    batch: int
    micro_batch: int
    device: str


class Data(NamedTuple):
    """Rows to learn from and to measure on; of JSQuAD, also what leads back to the text."""

    train: Rows
    dev: Rows
    dev_spans: SpanRows | None = None
    longest_answer: int = LONGEST_ANSWER


def load(folder: ModelFolder, task: Task) -> Any:
    """The pretrained model with a new layer for the task. Refuses damaged weights, and those of no whole ALBERT."""
    labels = task.labels if task.kind == "classification" else ()
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
    options: dict[str, Any] = {"regression": {"num_labels": 1, "problem_type": "regression"}}.get(task.kind, {})
    try:
        model, report = HEADS[task.kind].from_pretrained(
            folder.path,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **(named if labels else options),
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise Refusal(f"cannot read the model of {folder.path}: {str(error).splitlines()[0]}")
    missing = sorted(name for name in report["missing_keys"] if name.startswith("albert."))
    if missing:
        raise Refusal(f"{folder.path} has no weights for {missing[0]}; make convert writes them all")
    return model


class _Dataset(torch.utils.data.Dataset[Any]):
    """Examples as the Trainer asks for them."""

    def __init__(self, rows: Rows, labelled: bool) -> None:
        self.rows, self.labelled = rows, labelled

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[list[tuple[NDArray[np.int32], int]], Any]:
        first = number * self.rows.per_example
        rows = [self.rows.row(first + place) for place in range(self.rows.per_example)]
        return rows, self.rows.labels[number] if self.labelled else None


def _collated(examples: list[tuple[list[tuple[NDArray[np.int32], int]], Any]]) -> dict[str, torch.Tensor]:
    """A batch, padded to its longest row: (B, L), of several rows an example (B, 5, L)."""
    rows = [row for of_example, _ in examples for row in of_example]
    length = max(len(ids) for ids, _ in rows)
    batch = {
        name: np.zeros((len(rows), length), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for place, (ids, second) in enumerate(rows):
        batch["input_ids"][place, : len(ids)] = ids
        batch["attention_mask"][place, : len(ids)] = 1
        batch["token_type_ids"][place, len(ids) - second : len(ids)] = 1
    per_example = len(examples[0][0])
    shape = (len(examples), per_example, length) if per_example > 1 else (len(rows), length)
    tensors = {name: torch.from_numpy(array.reshape(shape)) for name, array in batch.items()}
    labels = [label for _, label in examples]
    if labels[0] is not None:
        stacked = torch.from_numpy(np.stack(labels))
        if stacked.ndim == 2:
            tensors["start_positions"], tensors["end_positions"] = stacked.unbind(1)
        else:
            tensors["labels"] = stacked
    return tensors


class _Told(TrainerCallback):
    """Progress in the words of this project: examples, rate, time left, the loss."""

    def __init__(self, progress: Progress, batch: int, name: str) -> None:
        self.progress, self.batch, self.name, self.note = progress, batch, name, ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            self.note = f", loss {float(logs['loss']):.4f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.add(self.batch, f"{self.name}{self.note}")


def steps_of(examples: int, batch: int) -> int:
    """Steps of one epoch; the last one may have fewer examples."""
    return -(-examples // batch)


def fine_tune(
    folder: ModelFolder, settings: Settings, run: Run, data: Data, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    """One run: the model at its end, and its record: figures on the dev set, and the mean loss of all its steps.

    AdamW without decay, the rate rising over a tenth of the steps and falling to 0, gradients clipped at norm 1: the
    Trainer's defaults, which the published experiments kept.
    """
    set_seed(run.seed)  # Of the new layer's weights; the Trainer sets it again, for the order of the examples.
    model = load(folder, settings.task)
    # Their forward passes take `num_items_in_batch` and pass over it: the Trainer would add up the means of a batch's
    # passes, and clip a gradient that is as many times as long.
    model.accepts_loss_kwargs = False
    with tempfile.TemporaryDirectory(prefix="finetune-") as nothing:
        arguments = TrainingArguments(
            output_dir=nothing,
            learning_rate=run.learning_rate,
            num_train_epochs=run.epochs,
            warmup_steps=WARMUP,  # Under 1: a share of the steps.
            per_device_train_batch_size=settings.micro_batch,
            gradient_accumulation_steps=settings.batch // settings.micro_batch,
            per_device_eval_batch_size=EVALUATION_BATCH,
            seed=run.seed,
            use_cpu=settings.device == "cpu",
            # On a GPU some of the operations have no such form.
            full_determinism=settings.device == "cpu",
            logging_steps=max(1, run.epochs * steps_of(len(data.train), settings.batch) // 100),
            # Checkpoints of the Trainer hold pickles.
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=settings.device == "cuda",
        )
        trainer = Trainer(
            model,
            arguments,
            data_collator=_collated,
            train_dataset=_Dataset(data.train, labelled=True),
            callbacks=[_Told(progress, settings.batch, run.name)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        loss = trainer.train().training_loss
        said = trainer.predict(_Dataset(data.dev, labelled=False)).predictions
    return model, {"dev": _figures(settings.task, data, said), "training_loss": loss}


def _figures(task: Task, data: Data, said: Any) -> dict[str, Any]:
    """JGLUE's figures of what the model said: logits (n, labels), one value each (n, 1), or starts and ends (n, L)."""
    if task.kind == "span":
        assert data.dev_spans is not None
        answers = predicted_answers(data.dev_spans, said[0], said[1], data.longest_answer)
        return answer_scores(answers, [question.answers for question in data.dev_spans.questions.questions])
    if task.kind == "regression":
        return correlations(said[:, 0], data.dev.labels)
    return accuracy(said.argmax(-1), data.dev.labels)


def predicted_answers(spans: SpanRows, starts: NDArray[Any], ends: NDArray[Any], most: int) -> list[str]:
    """The answer to each question: the best span of its windows' contexts. starts, ends: logits (rows, L)."""
    answers = [""] * len(spans.questions.questions)
    scores = [-np.inf] * len(answers)
    for row, question in enumerate(spans.question):
        inside = slice(spans.offsets[row], spans.offsets[row] + spans.sizes[row])
        if spans.sizes[row]:
            score, first, last = best_span(starts[row, inside], ends[row, inside], most)
            if score > scores[question]:
                scores[question], answers[question] = score, spans.answer(row, first, last)
    return answers
