"""A script for the training stage's Python: a model, several commands in one process, the saved models' predictions.

Arguments: a folder, the characters of the model's vocabulary, and the commands, as JSON: name → arguments. The command
`killed` is first run as a process of its own, and killed once its first run is recorded. What a command prints goes to
<folder>/<name>.txt and .err; the tasks' models are in <folder>/out. Prints JSON: exit codes, what the killed process
had recorded, and the predictions of the saved models: each example alone, by transformers' own tokenizer call and model
class.
"""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AlbertForMultipleChoice,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
)

from stages.command.running import run
from stages.finetune.__main__ import main as finetune
from stages.finetune.entities import best_tags
from stages.finetune.inputs import IGNORED
from stages.finetune.metrics import correlations
from stages.finetune.tagging import AlbertTagger, sequence_loss
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer
from tests.finetune.make_model import main as make_model
from tests.finetune.samples import JCOMMONSENSEQA, JNLI, JSICK, JSTS, MARC_JA, NER, jsquad


def predict(folder: Path) -> dict[str, Any]:
    """The predictions of the saved models, example by example."""

    def load(kind: Any, task: str) -> tuple[Any, Any]:
        path = folder / "out" / task / "model"
        return kind.from_pretrained(path).eval(), BertJapaneseTinySegmenterTokenizer.from_pretrained(path)

    predictions: dict[str, Any] = {"sequence_losses": sequence_losses()}
    model, tokenizer = load(AlbertForSequenceClassification, "jnli")
    pairs = [tokenizer(each["sentence1"], each["sentence2"], return_tensors="pt") for each in JNLI]
    predictions["jnli"] = [model.config.id2label[int(model(**pair).logits.argmax())] for pair in pairs]
    model, tokenizer = load(AlbertForSequenceClassification, "jsick")
    pairs = [tokenizer(each["sentence_A_Ja"], each["sentence_B_Ja"], return_tensors="pt") for each in JSICK]
    predictions["jsick"] = [model.config.id2label[int(model(**pair).logits.argmax())] for pair in pairs]
    model, tokenizer = load(AlbertTagger, "ner")
    predictions["ner"] = []
    for each in NER:
        (logits,) = model(**tokenizer(each["text"], return_tensors="pt")).logits.numpy()
        predictions["ner"].append([model.config.id2label[label] for label in best_tags(logits[1:-1], *model.scores())])
    model, tokenizer = load(AlbertForSequenceClassification, "marc-ja")
    texts = [tokenizer(each["sentence"], return_tensors="pt") for each in MARC_JA]
    predictions["marc-ja"] = [model.config.id2label[int(model(**text).logits.argmax())] for text in texts]
    model, tokenizer = load(AlbertForSequenceClassification, "jsts")
    pairs = [tokenizer(each["sentence1"], each["sentence2"], return_tensors="pt") for each in JSTS]
    similar = [float(model(**pair).logits) for pair in pairs]
    predictions["pearson"] = float(np.corrcoef(similar, [each["label"] for each in JSTS])[0, 1])
    model, tokenizer = load(AlbertForMultipleChoice, "jcommonsenseqa")
    predictions["jcommonsenseqa"] = []
    for each in JCOMMONSENSEQA:
        rows = tokenizer(
            [each["question"]] * 5, [each[f"choice{n}"] for n in range(5)], padding=True, return_tensors="pt"
        )
        predictions["jcommonsenseqa"].append(
            int(model(**{name: value[None] for name, value in rows.items()}).logits.argmax())
        )
    # The second context is short enough for one window.
    model, tokenizer = load(AlbertForQuestionAnswering, "jsquad")
    paragraph, predictions["jsquad"] = jsquad()["data"][1]["paragraphs"][0], []
    for question in paragraph["qas"]:
        row = tokenizer(question["question"], paragraph["context"], return_offsets_mapping=True, return_tensors="pt")
        (offsets,) = row.pop("offset_mapping").tolist()
        assert len(offsets) <= 64, "the context is too long for this check"
        logits, second = model(**row), row["token_type_ids"][0].bool()
        first, last = (
            int(part[0].masked_fill(~second, -1e9).argmax()) for part in (logits.start_logits, logits.end_logits)
        )
        predictions["jsquad"].append(paragraph["context"][offsets[first][0] : offsets[last][1]])
    return predictions


def sequence_losses() -> list[float]:
    """The loss of two sequences of labels, one shorter, and the same by the sum over all sequences."""
    torch.manual_seed(1)
    logits, first, transitions = torch.randn(2, 4, 3), torch.randn(3), torch.randn(3, 3)
    labels = torch.tensor([[0, 2, 1, 1], [2, 0, IGNORED, IGNORED]])

    def score(row: int, tags: Sequence[int]) -> torch.Tensor:
        moves = sum(transitions[pair] for pair in itertools.pairwise(tags))
        return first[tags[0]] + moves + sum(logits[row, place, tag] for place, tag in enumerate(tags))

    sequences = [[tag for tag in row if tag != IGNORED] for row in labels.tolist()]
    loss = 0.0
    for row, tags in enumerate(sequences):
        scores = torch.stack([score(row, other) for other in itertools.product(range(3), repeat=len(tags))])
        loss += float(scores.logsumexp(0) - score(row, tags))
    return [float(sequence_loss(logits, labels, first, transitions)), loss / sum(map(len, sequences))]


def killed(folder: Path, arguments: list[str]) -> dict[str, int]:
    """Run the stage's command, and kill it once its first run is recorded: record → when it was written, in ns."""
    records = folder / "out" / "killed" / "runs"
    with subprocess.Popen([sys.executable, "-m", "stages.finetune", *arguments]) as process:
        while process.poll() is None and not list(records.glob("*.json")):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "out" / "killed" / "manifest.json").exists()
    return {record.name: record.stat().st_mtime_ns for record in records.glob("*.json")}


def main(folder: Path, characters: str, commands: dict[str, list[str]]) -> None:
    make_model(str(folder / "model"), characters)
    recorded = killed(folder, commands["killed"])
    codes = {}
    for name, arguments in commands.items():
        with (
            open(folder / f"{name}.txt", "w", encoding="utf-8") as stdout,
            open(folder / f"{name}.err", "w", encoding="utf-8") as stderr,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            codes[name] = run("finetune", finetune, arguments)
    with torch.no_grad():
        predictions = predict(folder)
    predictions["correlations"] = correlations(np.array([0, 1, 2, 4]), np.array([1, 2, 3, 10]))
    predictions["of constants"] = correlations(np.array([1.5, 1.5]), np.array([1.0, 2.0]))
    json.dump({"codes": codes, "killed": recorded, "predictions": predictions}, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
