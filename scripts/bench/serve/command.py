"""Text → the command line on one core, beside the published tokenizer; masks filled, beside PyTorch."""

import math
import statistics
from collections.abc import Iterator
from itertools import accumulate

from scripts.bench.material import NAMES, Material
from scripts.bench.rows import Bar, Row, short
from scripts.bench.running import Figure, best, measure, on_core, run, take_turns

# The published tokenizer takes 1.8 times as long as tinysegmenter3 needs for its words alone.
PUBLISHED = 0.55
PACKAGE = "tinysegmenter3"
UNIT = "characters per CPU second"
# Of the lines to encode: their ids as JSON take a hundred bytes a character.
SLICE_CHARACTERS = 2_000_000


def command(material: Material) -> Iterator[Row]:
    """`tokenize` of all of the text by both models; `encode` and `decode` of a part of it."""
    sentences, words, models = material.sentences, material.spread_sentences, material.models
    ends = list(accumulate(map(len, sentences)))
    fewer = sum(end <= SLICE_CHARACTERS for end in ends)
    characters, size = ends[-1], ends[fewer - 1]
    lines = material.write("lines.txt", "\n".join(sentences) + "\n")
    fewer_lines = material.write("fewer.txt", "\n".join(sentences[:fewer]) + "\n")
    with on_core(0):
        for kind, name in NAMES.items():
            ours, package, complete = [], [], True
            for _ in range(min(3, material.size.rounds)):
                process = run("tokenizer", "stages.tokenizer", "tokenize", "--model", models / name, lines)
                package.append(measure("tokenizer", "text.words", "package", words))
                ours.append(process.cpu)
                complete = complete and process.output.count("\n") == len(sentences)
            segmented = best(package).value
            note = (
                f"{characters:,} characters in {len(sentences):,} lines, the whole command, best of {len(ours)} "
                f"rounds; yardstick: {PUBLISHED} of the {short(segmented)} that {PACKAGE} does, of "
                f"{package[0].amount:,}"
            )
            figures = Figure(characters / min(ours)), Figure(PUBLISHED * segmented)
            # A line each; the tests compare the tokens.
            same, yardstick = None if complete else False, "the published tokenizer"
            facts = {"cpu_seconds": ours, "peak_memory": process.peak}
            yield Row("command", f"tokenize, {kind}", UNIT, *figures, yardstick, Bar("≥", 40), same, note, facts)
        for kind, name in NAMES.items():
            encode = ("tokenizer", "stages.tokenizer", "encode", "--model", models / name, fewer_lines, "--to")
            ids = material.write("ids.txt", run(*encode, "text").output)
            decode = ("tokenizer", "stages.tokenizer", "decode", "--model", models / name, ids)
            for task, process in (("encode to JSON lines", run(*encode, "jsonl")), ("decode of ids", run(*decode))):
                rate, note = Figure(size / process.cpu), f"{size:,} characters, the whole command"
                facts = {"cpu_seconds": process.cpu, "peak_memory": process.peak}
                yield Row("command", f"{task}, {kind}", UNIT, rate, note=note, facts=facts)


def masks(material: Material) -> Iterator[Row]:
    """Sentences with masks → batches per second of the character model, on one core."""
    folder, texts = material.models / NAMES["character"], material.write("masked.json", material.masked_sentences)
    sides = {"onnxruntime": "tokenizer", "pytorch": "convert"}
    with on_core(0):
        rounds = take_turns(material.size.rounds, "served.masks", sides, folder, texts, material.size.batches)
    pairs = list(zip(*rounds, strict=True))
    ours, pytorch = (Figure(1 / statistics.median(each.wall for each in side)) for side in rounds)
    # The same entries in the same order, and scores that differ only by rounding.
    same = all(
        own[0] == other[0] and math.isclose(own[1], other[1], rel_tol=1e-3)
        for pair in pairs
        for answers in zip(*(side.report["answers"] for side in pair), strict=True)
        for own, other in zip(*answers, strict=True)
    )
    note = (
        f"{len(material.masked_sentences)} sentences with a mask each in a batch, five entries for a mask; medians of "
        f"{material.size.batches} batches, then of {len(pairs)} rounds; entries compared, and their scores to 1e-3"
    )
    facts, name = {"seconds": [[side.wall for side in pair] for pair in pairs]}, "masks filled, character tiny"
    yield Row("fill-mask", name, "batches per second", ours, pytorch, "PyTorch", Bar("≥", 1.5), same, note, facts)
