"""A model folder and rows → one fine-tuned model by transformers' Trainer, and its figures on the dev set."""

from __future__ import annotations

import functools
import tempfile
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import (
    AlbertConfig,
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
from transformers.trainer_pt_utils import LengthGroupedSampler

from stages.command.progress import Progress
from stages.command.refusal import Refusal
from stages.estimates import wilson
from stages.finetune.entities import best_tags, entities_of
from stages.finetune.examples import Entity
from stages.finetune.grid import WARMUP, Run
from stages.finetune.inputs import IGNORED, Rows, SpanRows, TagRows
from stages.finetune.metrics import (
    accuracy,
    answer_scores,
    correlation_interval,
    correlations,
    entity_counts,
    entity_scores,
    exact_matches,
    ratio_interval,
    scores_by_type,
)
from stages.finetune.spans import best_span
from stages.finetune.tagging import AlbertTagger
from stages.finetune.tasks import Kind, Task
from stages.formats.model_folder import ModelFolder

HEADS = {
    "regression": AlbertForSequenceClassification,
    "classification": AlbertForSequenceClassification,
    "choice": AlbertForMultipleChoice,
    "span": AlbertForQuestionAnswering,
    "tagging": AlbertTagger,
}
# Tokens of an answer at most, as in the published experiments; more where the training set has longer ones.
LONGEST_ANSWER = 30
EVALUATION_BATCH = 64


class Settings(NamedTuple):
    """What all runs share. `micro_batch`: examples of a batch that go through the model together.

    bfloat16: the products are computed in it; weights and their updates are float32.
    """

    task: Task
    batch: int
    micro_batch: int
    device: str
    bfloat16: bool


class Data(NamedTuple):
    """Rows to learn from and to measure on; of JSQuAD and NER, also the way back to the text."""

    train: Rows
    dev: Rows
    dev_spans: SpanRows | None = None
    longest_answer: int = LONGEST_ANSWER
    dev_tags: TagRows | None = None


def load(folder: ModelFolder, task: Task, pretrained: bool = True, attention: str = "sdpa") -> Any:
    """The model with a new layer for the task. Refuses damaged weights, and those of no whole ALBERT.

    `pretrained`: False gives the same architecture with random values. `attention`: transformers' name of a way.
    """
    labels = task.labels if task.kind in ("classification", "tagging") else ()
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
    options: dict[str, Any] = {"regression": {"num_labels": 1, "problem_type": "regression"}}.get(task.kind, {})
    options = named if labels else options
    if not pretrained:
        config = AlbertConfig.from_pretrained(folder.path, local_files_only=True, **options)
        return HEADS[task.kind]._from_config(config, attn_implementation=attention)
    try:
        model, report = HEADS[task.kind].from_pretrained(
            folder.path,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
            **options,
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


def _collated(kind: Kind, examples: list[tuple[list[tuple[NDArray[np.int32], int]], Any]]) -> dict[str, torch.Tensor]:
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
        if kind == "tagging":
            labels = [np.pad(tags, (0, length - len(tags)), constant_values=IGNORED) for tags in labels]
        stacked = torch.from_numpy(np.stack(labels))
        if kind == "span":
            tensors["start_positions"], tensors["end_positions"] = stacked.unbind(1)
        else:
            tensors["labels"] = stacked
    return tensors


class _ByLength(Trainer):
    """The Trainer with batches of about equal lengths, in random order: short texts are not padded to the longest."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        rows: Rows = self.train_dataset.rows  # type: ignore[union-attr]
        lengths = np.diff(rows.ends, prepend=0).reshape(-1, rows.per_example).max(1)
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(batch, lengths=lengths.tolist())


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
    """One run: the model at its end, and its record.

    The record has `dev`, figures on the dev set; `interval`, the 95 % interval of the first of them, [low, high] or
    None; `training_loss`, the mean of all steps; of NER also `types`, figures by type.

    AdamW without decay, the rate rising over a tenth of the steps and falling to 0, gradients clipped at norm 1: the
    Trainer's defaults, which the published experiments kept.
    """
    set_seed(run.seed)  # Of the new layer's weights; the Trainer sets it again, for the order of the examples.
    # PyTorch's fused attention is slow in bfloat16 on processors (stages/train/model.py has the times).
    plain = settings.bfloat16 and settings.device == "cpu"
    model = load(folder, settings.task, run.pretrained, "eager" if plain else "sdpa")
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
            bf16=settings.bfloat16,
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
        trainer = _ByLength(
            model,
            arguments,
            data_collator=functools.partial(_collated, settings.task.kind),
            train_dataset=_Dataset(data.train, labelled=True),
            callbacks=[_Told(progress, settings.batch, run.name)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        loss = trainer.train().training_loss
        said = trainer.predict(_Dataset(data.dev, labelled=False)).predictions
    return model, {**_measured(settings.task, data, said, model), "training_loss": loss}


def _measured(task: Task, data: Data, said: Any, model: Any) -> dict[str, Any]:
    """The record's figures of the model's predictions.

    said: logits (n, labels), of NER (n, L, labels); one value each (n, 1); or logits of starts and ends, both (n, L).
    """
    if task.kind == "span":
        assert data.dev_spans is not None
        answers = predicted_answers(data.dev_spans, said[0], said[1], data.longest_answer)
        right = [question.answers for question in data.dev_spans.questions.questions]
        interval = ratio_interval(exact_matches(answers, right), [1.0] * len(right))
        return {"dev": answer_scores(answers, right), "interval": interval}
    if task.kind == "tagging":
        assert data.dev_tags is not None
        truth = [sentence.entities for sentence in data.dev_tags.sentences]
        predicted = predicted_entities(data.dev_tags, said, task.labels, *model.scores())
        counts = entity_counts(predicted, truth)
        interval = ratio_interval([2 * right for right, *_ in counts], [given + real for _, given, real in counts])
        types = scores_by_type(predicted, truth)
        return {"dev": entity_scores(predicted, truth), "interval": interval, "types": types}
    labels = np.asarray(data.dev.labels)
    if task.kind == "regression":
        figures = correlations(said[:, 0], labels)
        return {"dev": figures, "interval": correlation_interval(figures["pearson"], len(labels))}
    chosen = said.argmax(-1)
    interval = list(wilson(int((chosen == labels).sum()), len(labels)))
    return {"dev": accuracy(chosen, labels), "interval": interval}


def predicted_entities(
    tags: TagRows, said: NDArray[Any], labels: tuple[str, ...], first: NDArray[Any], following: NDArray[Any]
) -> list[list[Entity]]:
    """The entities of each sentence. said: logits (sentences, L, labels), [CLS] first; the scores as of best_tags."""
    return [
        entities_of(best_tags(row[1 : 1 + len(places.starts)], first, following), places, labels)
        for row, places in zip(said, tags.places, strict=True)
    ]


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
