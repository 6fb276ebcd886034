"""A script for the training stage's Python: the same numbers in the slowest way that there is, as JSON.

Arguments: model folder, held-out TFRecords, training TFRecords, examples, training examples, sentences as JSON. The
records are read by the generic protobuf classes that tensorboard brings, each position goes through transformers' own
forward pass, and logits become losses in numpy.
"""

import gzip
import json
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from transformers import AlbertForPreTraining

from stages.formats.shards import find_shards
from stages.formats.windows import held_out_evaluation
from stages.words.tokenization import BertJapaneseTinySegmenterTokenizer


def example_class() -> Any:
    """tf.train.Example, as its .proto file defines it."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, fields: list[tuple[str, int, int, bool, str]]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, kind, repeated, of in fields:
            made.field.add(name=field, number=number, type=kind, label=3 if repeated else 1, type_name=of or None)
        return made

    message("Floats", [("value", 1, 2, True, "")])
    message("Integers", [("value", 1, 3, True, "")])
    message("Feature", [("floats", 2, 11, False, ".t.Floats"), ("integers", 3, 11, False, ".t.Integers")])
    features = message("Features", [("feature", 1, 11, True, ".t.Features.Entry")])
    entry = features.nested_type.add(name="Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=".t.Feature")
    message("Example", [("features", 1, 11, False, ".t.Features")])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def examples(path: str, most: int) -> Iterator[dict[str, Any]]:
    kind = example_class()
    with gzip.open(path) as stream:
        for _ in range(most):
            header = stream.read(12)
            if not header:
                return
            features = kind.FromString(stream.read(struct.unpack("<Q", header[:8])[0])).features.feature
            stream.read(4)
            yield {name: np.array(f.floats.value or f.integers.value) for name, f in features.items()}


def logarithms(logits: Any) -> Any:
    wide = logits.double().numpy()
    return (
        wide - np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1, keepdims=True)) - wide.max(-1, keepdims=True)
    )


class Neighbours:
    """P(token | left, right) from dictionaries of counts, one token of the text after another."""

    def __init__(self, examples: list[list[int]], unigram: Any) -> None:
        self.unigram = np.exp(unigram)
        self.seen: dict[tuple[int | None, int | None], Counter[int]] = {}
        for ids in examples:
            for place in range(1, len(ids) - 1):
                if ids[place] not in (0, 2, 3, 4):
                    left, right = self.known(ids[place - 1]), self.known(ids[place + 1])
                    for context in {(left, right), (left, None), (None, right)}:
                        self.seen.setdefault(context, Counter())[ids[place]] += 1

    @staticmethod
    def known(token: int) -> int | None:
        return None if token in (0, 2, 4) else token

    def smoothed(self, context: tuple[int | None, int | None], lower: Any) -> Any:
        counts = self.seen.get(context)
        if context == (None, None) or counts is None:
            return lower
        shares = len(counts) * lower
        for token, count in counts.items():
            shares[token] += count
        return shares / (counts.total() + len(counts))

    def distribution(self, before: int, after: int) -> Any:
        left, right = self.known(before), self.known(after)
        lower = self.smoothed((left, None), self.unigram) * self.smoothed((None, right), self.unigram) / self.unigram
        lower /= lower.sum()
        return lower if left is None or right is None else self.smoothed((left, right), lower)

    def measured(self, before: int, after: int, label: int) -> list[float]:
        shares = self.distribution(before, after)
        best = np.argsort(-shares, kind="stable")[:5].tolist()
        return [float(-np.log(shares[label])), float(best[0] == label), float(label in best)]


def in_windows(model: Any, neighbours: Neighbours, folder: str) -> list[list[float]]:
    """The masked tokens of the efficient recipe's evaluation, one window after another."""
    rows = []
    for batch in held_out_evaluation(find_shards(folder, None), len(neighbours.unigram), 64):
        for number, ids in enumerate(batch.ids):
            with torch.no_grad():
                logs = logarithms(model(torch.tensor(ids)[None]).prediction_logits[0])
            used = batch.weights[number] > 0
            for place, label in zip(batch.positions[number][used], batch.labels[number][used], strict=True):
                best = np.argsort(-logs[place])[:5].tolist()
                after = int(ids[place + 1]) if place + 1 < len(ids) else 0
                of_model = [float(-logs[place][label]), float(best[0] == label), float(label in best)]
                rows.append(of_model + neighbours.measured(int(ids[place - 1]), after, int(label)))
    return rows


def main(folder: str, held_out: str, training: str, most: int, most_training: int, texts: str) -> None:
    sentences: list[str] = json.loads(texts)
    model = AlbertForPreTraining.from_pretrained(folder)
    model.train(False)
    tokenizer = BertJapaneseTinySegmenterTokenizer.from_pretrained(folder)
    counts = np.zeros(len(tokenizer.vocab))
    texts_of_training = []
    for example in examples(training, most_training):
        ids = example["input_ids"].copy()
        for place, label, weight in zip(
            example["masked_lm_positions"], example["masked_lm_ids"], example["masked_lm_weights"], strict=True
        ):
            ids[place] = label if weight else ids[place]
        texts_of_training.append(ids[example["input_mask"] > 0].tolist())
        for token, present in zip(ids, example["input_mask"], strict=True):
            if present and token not in (0, 2, 3, 4):
                counts[token] += 1
    unigram = np.log((counts + 1) / (counts.sum() + len(counts)))
    neighbours = Neighbours(texts_of_training, unigram)
    guesses = sorted(range(len(counts)), key=lambda token: (-counts[token], token))[:5]

    rows, order = [], []
    for example in examples(held_out, most):
        with torch.no_grad():
            out = model(
                torch.tensor(example["input_ids"])[None],
                attention_mask=torch.tensor(example["input_mask"])[None],
                token_type_ids=torch.tensor(example["segment_ids"])[None],
            )
        logs, swapped = logarithms(out.prediction_logits[0]), int(example["next_sentence_labels"][0])
        decided = logarithms(out.sop_logits[0])
        order.append([-decided[swapped], float(decided[swapped] > decided[1 - swapped])])
        for place, label, weight in zip(
            example["masked_lm_positions"], example["masked_lm_ids"], example["masked_lm_weights"], strict=True
        ):
            if weight:
                best = np.argsort(-logs[place])[:5].tolist()
                seen = example["input_ids"][place]
                treatment = "[MASK]" if seen == 4 else "kept" if seen == label else "random"
                of_model = [-logs[place][label], best[0] == label, label in best]
                of_unigram = [-unigram[label], guesses[0] == label, label in guesses]
                before, after = example["input_ids"][[place - 1, place + 1]].tolist()
                of_neighbours = neighbours.measured(before, after, label)
                measured = [*of_model, *of_unigram, *of_neighbours]
                rows.append([treatment, tokenizer.ids_to_tokens[label], *map(float, measured)])

    tokens = losses = unigram_losses = neighbours_losses = 0.0
    for text in sentences:
        ids = tokenizer(text)["input_ids"]
        for place in range(1, len(ids) - 1):
            masked = torch.tensor([[*ids[:place], 4, *ids[place + 1 :]]])
            with torch.no_grad():
                losses -= logarithms(model(masked).prediction_logits[0, place])[ids[place]]
            unigram_losses -= unigram[ids[place]]
            neighbours_losses += neighbours.measured(ids[place - 1], ids[place + 1], ids[place])[0]
            tokens += 1
    pseudo = {"tokens": tokens, "losses": losses, "unigram": unigram_losses, "neighbours": neighbours_losses}
    windows = in_windows(model, neighbours, os.path.dirname(held_out))
    json.dump({"rows": rows, "order": order, "pseudo": pseudo, "windows": windows}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
