"""Text → the command line on one core, beside the published tokenizer; masks filled, beside PyTorch."""

import math
import statistics
from collections.abc import Iterator
from typing import Any

from scripts.bench.material import NAMES, Material
from scripts.bench.rows import Bar, Figure, Row, short
from scripts.bench.running import measure, on_core, run, take_turns

# The published tokenizer takes 1.8 times as long as tinysegmenter3 needs for its words alone.
PUBLISHED = 0.55
PACKAGE = "tinysegmenter3"
UNIT = "characters per CPU second"


def command(material: Material) -> Iterator[Row]:
    """`tokenize` of all of the text by both models; `encode` and `decode` of a part of it."""
    lines, words = material.lines, material.spread_sentences
    sentences = len(material.sentences)
    characters = sum(map(len, material.sentences))
    for kind, name in NAMES.items():
        arguments = "tokenizer", "stages.tokenizer", "tokenize", "--model", material.models / name, lines
        ours, package, complete = [], [], True
        for _ in range(min(3, material.size.rounds)):
            with on_core(0):
                process = run(*arguments)
                package.append(measure("tokenizer", "words", "package", words))
            ours.append(process.cpu)
            complete = complete and process.output.count("\n") == sentences
        segmented = max(each.amount / each.cpu for each in package)
        note = (
            f"{characters:,} characters in {sentences:,} lines, the whole command, best of {len(ours)} rounds; "
            f"yardstick: {PUBLISHED} of the {short(segmented)} that {PACKAGE} does, of {package[0].amount:,}"
        )
        best, published = Figure(characters / min(ours)), Figure(PUBLISHED * segmented)
        # A line each; the tests compare the tokens.
        same, yardstick = None if complete else False, "the published tokenizer"
        facts = {"cpu_seconds": ours, "peak_memory": process.peak}
        yield Row("command", f"tokenize, {kind}", UNIT, best, published, yardstick, Bar("≥", 40), same, note, facts)
    fewer = material.fewer_lines
    size = len(fewer.read_text(encoding="utf-8").replace("\n", ""))
    for kind, name in NAMES.items():
        model, ids = ("--model", material.models / name), material.work / "ids.txt"
        with on_core(0):
            encoded = run("tokenizer", "stages.tokenizer", "encode", *model, "--to", "jsonl", fewer)
            text = run("tokenizer", "stages.tokenizer", "encode", *model, "--to", "text", fewer).output
            ids.write_text(text, encoding="utf-8")
            decoded = run("tokenizer", "stages.tokenizer", "decode", *model, ids)
        for task, process in (("encode to JSON lines", encoded), ("decode of ids", decoded)):
            note = f"{size:,} characters, the whole command"
            facts = {"cpu_seconds": process.cpu, "peak_memory": process.peak}
            yield Row("command", f"{task}, {kind}", UNIT, Figure(size / process.cpu), note=note, facts=facts)


def masks(material: Material) -> Iterator[Row]:
    """Sentences with masks → batches per second of the character model, on one core."""
    folder, texts = material.models / NAMES["character"], material.write("masked.json", material.masked_sentences)
    sides = {"onnxruntime": "tokenizer", "pytorch": "convert"}
    with on_core(0):
        rounds = take_turns(material.size.rounds, "masks", sides, folder, texts, material.size.batches)
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
