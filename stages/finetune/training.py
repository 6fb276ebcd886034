"""A model folder and rows → a model fine-tuned by transformers' Trainer, and its figures on the dev set."""

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
from stages.finetune.entities import best_tags, decode_tags
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
# The longest answer in tokens, as in the published experiments; more where the training set has longer answers.
LONGEST_ANSWER = 30
EVALUATION_BATCH = 64


class Settings(NamedTuple):
    """Settings of all runs. `micro_batch`: examples of a batch in one pass.

    bfloat16: of the matrix products; weights and their updates are float32.
    """

    task: Task
    batch: int
    micro_batch: int
    device: str
    bfloat16: bool


class Data(NamedTuple):
    """Rows of the training set and of the dev set; the dev set of JSQuAD and NER also with its texts."""

    train: Rows
    dev: Rows
    dev_spans: SpanRows | None = None
    longest_answer: int = LONGEST_ANSWER
    dev_tags: TagRows | None = None


def load_model(folder: ModelFolder, task: Task, pretrained: bool = True, attention: str = "sdpa") -> Any:
    """The model with a new layer for the task. Refuses weights that are damaged or incomplete.

    `pretrained`: False for random values. `attention`: the name of an implementation in transformers.
    """
    options: dict[str, Any] = {}
    if task.kind == "regression":
        options = {"num_labels": 1, "problem_type": "regression"}
    elif task.kind in ("classification", "tagging"):
        numbers = {label: number for number, label in enumerate(task.labels)}
        options = {"id2label": dict(enumerate(task.labels)), "label2id": numbers}
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
    """Examples for the Trainer: the rows of each, and its label."""

    def __init__(self, rows: Rows, with_labels: bool) -> None:
        self.rows, self.with_labels = rows, with_labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[list[tuple[NDArray[np.int32], int]], Any]:
        first = number * self.rows.per_example
        rows = [self.rows.row(first + index) for index in range(self.rows.per_example)]
        return rows, self.rows.labels[number] if self.with_labels else None


def _collate(kind: Kind, examples: list[tuple[list[tuple[NDArray[np.int32], int]], Any]]) -> dict[str, torch.Tensor]:
    """A batch, padded to its longest row: (B, L), or (B, 5, L) with five rows an example."""
    rows = [row for example_rows, _ in examples for row in example_rows]
    length = max(len(ids) for ids, _ in rows)
    batch = {
        name: np.zeros((len(rows), length), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for number, (ids, second) in enumerate(rows):
        batch["input_ids"][number, : len(ids)] = ids
        batch["attention_mask"][number, : len(ids)] = 1
        batch["token_type_ids"][number, len(ids) - second : len(ids)] = 1
    per_example = len(examples[0][0])
    shape = (len(examples), per_example, length) if per_example > 1 else (len(rows), length)
    tensors = {name: torch.from_numpy(array.reshape(shape)) for name, array in batch.items()}
    labels = [label for _, label in examples]
    if labels[0] is not None:
        if kind == "tagging":
            labels = [np.pad(tags, (0, length - len(tags)), constant_values=IGNORED) for tags in labels]
        stack = torch.from_numpy(np.stack(labels))
        if kind == "span":
            tensors["start_positions"], tensors["end_positions"] = stack.unbind(1)
        else:
            tensors["labels"] = stack
    return tensors


class _LengthGroupedTrainer(Trainer):
    """The Trainer with batches of similar lengths in random order, which need less padding."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        rows: Rows = self.train_dataset.rows  # type: ignore[union-attr]
        lengths = np.diff(rows.ends, prepend=0).reshape(-1, rows.per_example).max(1)
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(batch, lengths=lengths.tolist())


class _ProgressLine(TrainerCallback):
    """This project's progress line in place of the Trainer's: examples, rate, time left, loss."""

    def __init__(self, progress: Progress, batch: int, name: str) -> None:
        self.progress, self.batch, self.name, self.loss = progress, batch, name, ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            self.loss = f", loss {float(logs['loss']):.4f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.add(self.batch, f"{self.name}{self.loss}")


def epoch_steps(examples: int, batch: int) -> int:
    """Steps of one epoch; the last one may have fewer examples."""
    return -(-examples // batch)


def fine_tune(
    folder: ModelFolder, settings: Settings, run: Run, data: Data, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    """One run: the model after the last step, and its record.

    The record: `dev`, figures on the dev set; `interval`, the 95 % interval of the first of them, [low, high] or None;
    `training_loss`, the mean of all steps; for NER also `types`, figures by type.

    AdamW without decay, the rate rising in the first WARMUP of the steps and falling to 0, gradients clipped at norm 1:
    the Trainer's defaults, as in the published experiments.
    """
    set_seed(run.seed)  # For the weights of the new layer. The Trainer sets it again, for the order of the examples.
    # PyTorch's fused attention is slow in bfloat16 on processors (stages/train/model.py has the times).
    eager = settings.bfloat16 and settings.device == "cpu"
    model = load_model(folder, settings.task, run.pretrained, "eager" if eager else "sdpa")
    # ALBERT's forward passes accept `num_items_in_batch` and ignore it. The Trainer would then sum the mean losses of a
    # batch's passes, which multiplies the gradient that it clips.
    model.accepts_loss_kwargs = False
    with tempfile.TemporaryDirectory(prefix="finetune-") as empty:
        arguments = TrainingArguments(
            output_dir=empty,
            learning_rate=run.learning_rate,
            num_train_epochs=run.epochs,
            warmup_steps=WARMUP,  # Below 1: a share of the steps.
            per_device_train_batch_size=settings.micro_batch,
            gradient_accumulation_steps=settings.batch // settings.micro_batch,
            per_device_eval_batch_size=EVALUATION_BATCH,
            seed=run.seed,
            use_cpu=settings.device == "cpu",
            bf16=settings.bfloat16,
            # On a GPU some operations have no deterministic implementation.
            full_determinism=settings.device == "cpu",
            logging_steps=max(1, run.epochs * epoch_steps(len(data.train), settings.batch) // 100),
            # Checkpoints of the Trainer hold pickles.
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=settings.device == "cuda",
        )
        trainer = _LengthGroupedTrainer(
            model,
            arguments,
            data_collator=functools.partial(_collate, settings.task.kind),
            train_dataset=_Dataset(data.train, with_labels=True),
            callbacks=[_ProgressLine(progress, settings.batch, run.name)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        loss = trainer.train().training_loss
        outputs = trainer.predict(_Dataset(data.dev, with_labels=False)).predictions
    return model, {**_evaluate(settings.task, data, outputs, model), "training_loss": loss}


def _evaluate(task: Task, data: Data, outputs: Any, model: Any) -> dict[str, Any]:
    """The record's figures.

    outputs: logits (n, labels), for NER (n, L, labels); values (n, 1); or logits of starts and ends, both (n, L).
    """
    if task.kind == "span":
        assert data.dev_spans is not None
        answers = predict_answers(data.dev_spans, outputs[0], outputs[1], data.longest_answer)
        references = [question.answers for question in data.dev_spans.questions.questions]
        interval = ratio_interval(exact_matches(answers, references), [1.0] * len(references))
        return {"dev": answer_scores(answers, references), "interval": interval}
    if task.kind == "tagging":
        assert data.dev_tags is not None
        truth = [sentence.entities for sentence in data.dev_tags.sentences]
        entities = predict_entities(data.dev_tags, outputs, task.labels, *model.scores())
        counts = entity_counts(entities, truth)
        interval = ratio_interval([2 * correct for correct, *_ in counts], [a + b for _, a, b in counts])
        types = scores_by_type(entities, truth)
        return {"dev": entity_scores(entities, truth), "interval": interval, "types": types}
    labels = np.asarray(data.dev.labels)
    if task.kind == "regression":
        figures = correlations(outputs[:, 0], labels)
        return {"dev": figures, "interval": correlation_interval(figures["pearson"], len(labels))}
    predictions = outputs.argmax(-1)
    interval = list(wilson(int((predictions == labels).sum()), len(labels)))
    return {"dev": accuracy(predictions, labels), "interval": interval}


def predict_entities(
    tags: TagRows, logits: NDArray[Any], labels: tuple[str, ...], first: NDArray[Any], transitions: NDArray[Any]
) -> list[list[Entity]]:
    """The entities of each sentence. logits: (sentences, L, labels), [CLS] first; the scores as in `best_tags`."""
    return [
        decode_tags(best_tags(row[1 : 1 + len(offsets.starts)], first, transitions), offsets, labels)
        for row, offsets in zip(logits, tags.offsets, strict=True)
    ]


def predict_answers(spans: SpanRows, starts: NDArray[Any], ends: NDArray[Any], limit: int) -> list[str]:
    """The answer to each question: the best span of its windows, of at most `limit` tokens. starts, ends: (rows, L)."""
    answers = [""] * len(spans.questions)
    scores = [-np.inf] * len(answers)
    for row, question in enumerate(spans.question):
        window = slice(spans.positions[row], spans.positions[row] + spans.sizes[row])
        if spans.sizes[row]:
            score, first, last = best_span(starts[row, window], ends[row, window], limit)
            if score > scores[question]:
                scores[question], answers[question] = score, spans.answer(row, first, last)
    return answers
