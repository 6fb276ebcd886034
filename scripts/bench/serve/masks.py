"""Sentences with masks → batches a second that onnxruntime fills, beside PyTorch with the same weights."""

import math
import statistics
from collections.abc import Iterator
from typing import Any

from scripts.bench.rows import Bar
from scripts.bench.running import Measured, measure, run
from scripts.bench.serve.material import NAMES, Material, on_core
from scripts.bench.serve.rows import Row


def masks(material: Material) -> Iterator[Row]:
    """The character model, on one core."""
    folder = material.models / NAMES["character"]
    texts, rows = material.write("masked.json", material.masked_sentences), material.work / "rows.json"
    run("tokenizer", "scripts.bench.measured.masks", "rows", folder, texts, rows)
    rounds: list[list[Measured]] = []
    for _ in range(material.size.rounds):
        with on_core(0):
            sides = (("tokenizer", "onnxruntime"), ("convert", "pytorch"))
            rounds.append([measure(stage, "masks", side, folder, rows, material.size.batches) for stage, side in sides])
    ours, pytorch = (statistics.median(pair[side].wall for pair in rounds) for side in (0, 1))
    yield Row(
        "fill-mask",
        "masks filled, character tiny",
        "batches per second",
        1 / ours,
        1 / pytorch,
        "PyTorch",
        Bar("≥", 1.5),
        all(_same(*(side.said["answers"] for side in pair)) for pair in rounds),
        f"{len(material.masked_sentences)} sentences with a mask each in a batch, five entries for a mask; medians of "
        f"{material.size.batches} batches, then of {len(rounds)} rounds; entries compared, and their scores to 1e-3",
        {"seconds": [[side.wall for side in pair] for pair in rounds]},
    )


def _same(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether the same entries are at all masks, in order, with scores that are equal but for rounding."""
    return all(
        own[0] == other[0] and math.isclose(own[1], other[1], rel_tol=1e-3)
        for mine, others in zip(ours, theirs, strict=True)
        for own, other in zip(mine, others, strict=True)
    )
