"""Sentences with masks → batches per second through onnxruntime, beside PyTorch with the same weights."""

import math
import statistics
from collections.abc import Iterator
from typing import Any

from scripts.bench.rows import Bar, Figure, Row
from scripts.bench.running import run, take_turns
from scripts.bench.serve.material import NAMES, Material, on_core


def masks(material: Material) -> Iterator[Row]:
    """The character model, on one core."""
    folder = material.models / NAMES["character"]
    texts, rows = material.write("masked.json", material.masked_sentences), material.work / "rows.json"
    run("tokenizer", "scripts.bench.measured", "masks", "rows", folder, texts, rows)
    sides = {"onnxruntime": "tokenizer", "pytorch": "convert"}
    with on_core(0):
        rounds = take_turns(material.size.rounds, "masks", sides, folder, rows, material.size.batches)
    pairs = list(zip(*rounds, strict=True))
    ours, pytorch = (Figure(1 / statistics.median(each.wall for each in side)) for side in rounds)
    same = all(_same(*(side.report["answers"] for side in pair)) for pair in pairs)
    note = (
        f"{len(material.masked_sentences)} sentences with a mask each in a batch, five entries for a mask; medians of "
        f"{material.size.batches} batches, then of {len(pairs)} rounds; entries compared, and their scores to 1e-3"
    )
    facts, name = {"seconds": [[side.wall for side in pair] for pair in pairs]}, "masks filled, character tiny"
    yield Row("fill-mask", name, "batches per second", ours, pytorch, "PyTorch", Bar("≥", 1.5), same, note, facts)


def _same(ours: list[Any], yardstick: list[Any]) -> bool:
    """Whether all masks have the same entries in the same order, and scores that differ only by rounding."""
    return all(
        own[0] == other[0] and math.isclose(own[1], other[1], rel_tol=1e-3)
        for mine, others in zip(ours, yardstick, strict=True)
        for own, other in zip(mine, others, strict=True)
    )
