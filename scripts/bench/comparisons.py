"""Material → the rows of each stage: the stage beside its yardstick, round by round in turn."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from scripts.bench.material import EQUAL, MODELS, SHARDS, Material, count
from scripts.bench.rows import Bar, Row, short
from scripts.bench.running import ROOT, Figure, Process, best, equal, measure, quickest, run, take_turns
from stages.command.progress import duration
from stages.engine.options import cores
from stages.handover.manifests import read_manifest
from stages.handover.storage import sha256

# The published script makes 224 to 257 examples in the CPU time in which tinysegmenter3 segments 260,000 characters.
PUBLISHED_EXAMPLES_PER_CHARACTER = 9e-4
PACKAGE = "tinysegmenter3"
FLOAT32 = "float32"
CONFIGS = ROOT / "stages" / "tpu_train" / "configs"


def words(material: Material) -> Iterator[Row]:
    """Sentences → where their words begin."""
    sides = {"compiled": "tokenizer", "package": "tokenizer"}
    number = material.size.word_parts
    files = [material.write(f"part-{part}.json", material.sentences[part::number]) for part in range(number)]
    parts = [take_turns(1, "text.words", sides, file) for file in files]
    strings = take_turns(1, "text.words", sides, material.random_strings)
    figures = []
    for side in (0, 1):
        # All parts count together.
        wall, cpu, peaks, _, amounts, _ = zip(*(part[side][0] for part in parts), strict=True)
        figures.append(Figure(sum(amounts) / sum(cpu), sum(cpu), sum(wall), max(peaks)))
    ours, package = figures
    same = all(equal(*each) for each in [*parts, strings])
    note = (
        f"{len(material.sentences):,} sentences, 1,000 at a time; compared in all of them, and in "
        f"{material.size.random_strings:,} random strings (not timed)"
    )
    unit = "characters per CPU second"
    yield Row("words", "words of sentences", unit, ours, package, PACKAGE, Bar("≥", 120), same, note)


def tokenizer(material: Material) -> Iterator[Row]:
    """Sentences → ids, by the tokenizer class with and without its compiled words."""
    # The class needs transformers, which the tokenizer's own environment lacks.
    sides = {"compiled": "convert", "slow": "convert"}
    for model in MODELS:
        files = model, material.vocab / model / "vocab.txt", material.spread_sentences
        rounds = take_turns(material.size.rounds, "text.tokenizer", sides, *files)
        same, kind = equal(*rounds), model.partition("_")[0]
        for part, name, least in (
            ("batch", "sentences to ids, 1,000 at a time", 25),
            ("single", "sentences to ids, one by one", 1),
        ):
            ours, slow = (best([each.part(part) for each in side]) for side in rounds)
            name, unit = f"{name}, {kind}", "sentences per CPU second"
            yield Row("tokenizer", name, unit, ours, slow, "the slow path", Bar("≥", least), same)
        ours, slow = (quickest([each.part("first") for each in side]) for side in rounds)
        name, unit, bar = f"made and called first, {kind}", "seconds, without imports", Bar("≤", 0.5, of_value=True)
        note = "in a fresh process, reading the vocabulary included"
        yield Row("tokenizer", name, unit, ours, slow, "the slow path", bar, same, note, inverse=True)


def tfrecords(material: Material) -> Iterator[Row]:
    """Corpus shards → TFRecords of both models, at the published defaults."""
    corpus, vocab, out = material.equal_shards, material.vocab, material.work / "tfrecords"
    records = material.work / "records.tfrecord.gz"
    workers = (1, 2)[: cores()]
    runs: dict[int, list[Process]] = {jobs: [] for jobs in workers}
    package: list[Process] = []
    files: list[dict[str, Any]] = []
    for _ in range(2 * material.size.rounds - 1):
        for jobs in workers:
            arguments = ("--corpus", corpus, "--vocab", vocab, "--out", out, "--jobs", jobs)
            runs[jobs].append(run("tfrecords", "stages.tfrecords", *arguments))
            made = {model: read_manifest(str(out / model), "tfrecords") for model in MODELS}
            files.append(
                {f"{name} of {model}": each for model in MODELS for name, each in made[model]["files"].items()}
            )
            (out / MODELS[0] / "pretrain_00000.tfrecord.gz").replace(records)
            shutil.rmtree(out)
        package.append(measure("tfrecords", "text.words", "package", material.spread_sentences))

    examples = sum(manifest["counts"]["examples"] for manifest in made.values())
    size = sum(file["bytes"] for file in files[0].values())
    characters = count(corpus, "characters_kept")
    facts = {"examples_per_character": examples / characters, "bytes_per_example": size / examples}
    segmented = best(package)
    published = dataclasses.replace(segmented, value=PUBLISHED_EXAMPLES_PER_CHARACTER * segmented.value)
    note = (
        f"both models, 40 copies, length 512, gzip included: {examples:,} examples, {examples / characters:.4f} a "
        f"character, {size / examples:.0f} bytes each; the whole command, one worker. Yardstick: 9e-4 examples in the "
        f"time in which {PACKAGE} segments a character (here {short(segmented.value)} characters per CPU second)"
    )
    name, unit, script = "examples written", "examples per CPU second", "the published script"
    ours = best(runs[1], amount=examples)
    yield Row("tfrecords", name, unit, ours, published, script, Bar("≥", 200), None, note, facts)
    peak = dataclasses.replace(ours, value=max(process.peak for process in runs[1]))
    note = f"shards of {characters // EQUAL:,} characters, 40 copies"
    bar = Bar("≤", 400e6, of_value=True)
    yield Row("tfrecords", "memory of a worker", "bytes at the peak", peak, bar=bar, note=note)
    if len(workers) > 1:
        different = [
            f"{name} in run {number}"
            for number, each in enumerate(files)
            for name, file in each.items()
            if file != files[0][name]
        ]
        # Not the best: a worker alone finds a quiet core by chance, two seldom find two.
        medians = (sorted(runs[jobs], key=attrgetter("wall"))[len(runs[jobs]) // 2] for jobs in workers)
        alone, together = (median.figure(median.wall) for median in medians)
        note = f"{EQUAL} equal shards; the median of {len(runs[1])} rounds each; the bytes of all runs compared"
        note += "".join(f"; DIFFERENT: {file}" for file in different)
        name, unit, bar = "two workers", "seconds, wall time", Bar("≥", 1.8)
        yield Row("tfrecords", name, unit, together, alone, "one worker", bar, not different, note, inverse=True)
    sides = {"zlib-ng": "tfrecords", "zlib": "tfrecords"}
    packed = take_turns(material.size.rounds, "files.gzip_records", sides, records, material.size.gzip_megabytes)
    ours_size, zlib_size = (side[0].report["bytes"] for side in packed)
    note = f"as the stage compresses them; {ours_size / zlib_size:.2f} times the size of zlib's"
    (ours, zlib), same, unit = map(best, packed), equal(*packed), "bytes per CPU second"
    yield Row("tfrecords", "gzip of records", unit, ours, zlib, "zlib level 6", None, same, note)


def records(material: Material) -> Iterator[Row]:
    """Gzip TFRecords → batches to train on."""
    lengths, examples = material.record_lengths, count(material.records, "examples", "tfrecords")
    sides = {"ours": "train", "tensorflow": "tpu-train"}
    note = (
        f"{examples:,} examples of length {lengths[0]} from {EQUAL} gzip files, shuffled, in "
        "batches of 64; the input function of ALBERT's run_pretraining beside it; a pass in order compared"
    )
    for number, name in ((1, "one core"), (2, "two cores"))[: cores()]:
        rounds = take_turns(material.size.rounds, "training.read", sides, material.records, *lengths, examples, number)
        ours, tensorflow = (best(side, "wall") for side in rounds)
        name, unit, same = f"examples read, {name}", "examples per second, wall time", equal(*rounds)
        yield Row("records", name, unit, ours, tensorflow, "TensorFlow 1.15", Bar("≥", 1), same, note)


def training(material: Material) -> Iterator[Row]:
    """A batch → training steps."""
    lengths, full = material.record_lengths, material.size.rounds > 1
    steps = 3 if full else 1
    batch, variables = material.work / "batch.npz", material.work / "variables.npz"
    # TensorFlow needs half a minute to start a base model.
    for size, examples in (("tiny", 8), ("base", 4)) if full else (("tiny", 1),):
        command = ("train", "scripts.bench.measured", "training.choose", material.records)
        fill = json.loads(run(*command, *lengths, examples, batch).output)
        arguments = (CONFIGS / f"character_{size}.json", batch, variables, steps)
        rounds: dict[str, list[tuple[Process, Process]]] = {}
        for _ in range(min(2, material.size.rounds)):
            yardstick = measure("tpu-train", "training.tensorflow_steps", *arguments, one_core=False)
            ours = measure("train", "training.torch_steps", *arguments, "auto", one_core=False)
            rounds.setdefault(ours.report["precision"], []).append((ours, yardstick))
            if ours.report["precision"] != FLOAT32:
                ours = measure("train", "training.torch_steps", *arguments, FLOAT32, one_core=False)
                rounds.setdefault(FLOAT32, []).append((ours, yardstick))
        for precision, pairs in rounds.items():
            torch, tensorflow = (best([pair[side] for pair in pairs], "wall") for side in (0, 1))
            losses = [zip(*(side.report["losses"] for side in pair), strict=True) for pair in pairs]
            # bfloat16 keeps 8 bits of a number.
            default, tolerance = precision == next(iter(rounds)), 1e-4 if precision == FLOAT32 else 1e-2
            same = all(math.isclose(*pair, rel_tol=tolerance) for each in losses for pair in each)
            note = (
                f"batch of {examples} examples of length {lengths[0]}, {fill['tokens']:.0%} of "
                f"it tokens, of all examples {fill['of_all']:.0%} (all positions count); {precision}"
                f"{', as train takes by itself here' * default} (TensorFlow: float32), "
                f"{cores()} cores; losses of {steps + 1} steps compared, to {tolerance:g}"
            )
            name, unit = f"a step, character {size}" + ", in float32" * (not default), "tokens per second, wall time"
            bar = Bar("≥", 2) if default else None
            yield Row("training", name, unit, torch, tensorflow, "TensorFlow 1.15", bar, same, note)


def corpus(material: Material) -> Iterator[Row]:
    """A dump → corpus shards."""
    ours_out, plain_out = material.work / "ours", material.work / "plain"
    ours: list[Process] = []
    plain: list[Process] = []
    # Ours takes half a second, to which a busy neighbour once added 15 % in all of six rounds.
    for _ in range(5 * material.size.rounds):
        for out in (ours_out, plain_out):
            shutil.rmtree(out, ignore_errors=True)
        arguments = ("--dump", material.dump, "--out", ours_out, "--shards", SHARDS, "--jobs", 1)
        ours.append(run("corpus", "stages.corpus", *arguments))
        plain.append(run("corpus", "scripts.bench.measured", "plain_corpus", material.dump, plain_out, SHARDS))
    characters = count(ours_out, "characters_kept")
    shards = [{path.name: sha256(str(path)) for path in out.glob("corpus_*.txt")} for out in (ours_out, plain_out)]
    same = int(plain[-1].output) == characters and shards[0] == shards[1]
    fast, slow = (best(processes, amount=characters) for processes in (ours, plain))
    note = f"{characters:,} characters kept; the whole command, one job; bytes compared"
    facts = {"bytes_per_character": sum(len(sentence.encode()) for sentence in material.sentences) / characters}
    name, unit, bar = "clean sentences of a dump", "characters kept per CPU second", Bar("≥", 6)
    yield Row("corpus", name, unit, fast, slow, "gzip, json and re, one process", bar, same, note, facts)
    sides = {"orjson": "corpus", "json": "corpus"}
    parsed = take_turns(material.size.rounds, "files.json_lines", sides, material.dump, 4000)
    (fast, slow), same, unit = map(best, parsed), equal(*parsed), "bytes per CPU second"
    yield Row("corpus", "lines of a dump parsed", unit, fast, slow, "json", None, same, "orjson")


def vocab(material: Material) -> Iterator[Row]:
    """A million lines → the vocabularies."""
    lines = count(material.many_lines, "sentences_kept")
    out = material.work / "vocab-timed"
    arguments = ("--corpus", material.many_lines, "--out", out, "--sample", max(lines, 3_000_000))
    runs = []
    for _ in range(material.size.rounds):
        runs.append(run("vocab", "stages.vocab", *arguments, one_core=False))
        shutil.rmtree(out)
    plain = measure("vocab", "plain_vocab", material.spread("lines.json", material.size.plain_vocabulary_lines))
    more = lines / plain.amount - 1
    segmented = plain.report["segmented"]
    wall, cpu = plain.wall + more * segmented, plain.cpu + more * plain.report["segmented_cpu"]
    note = (
        f"default jobs ({cores()}); the yardstick ran {plain.amount:,} lines in {duration(plain.wall)}: its "
        f"{duration(segmented)} of segmentation are scaled by lines, its training is not scaled at all"
    )
    name, unit, slow = f"vocabularies of {lines:,} lines", "seconds, wall time", "a Python pre-tokenizer"
    yardstick, facts = Figure(wall, cpu, wall, plain.peak), {"lines": lines}
    yield Row("vocab", name, unit, quickest(runs), yardstick, slow, Bar("≥", 10), None, note, facts, inverse=True)


GROUPS: dict[str, Callable[[Material], Iterator[Row]]] = {
    group.__name__: group for group in (words, tokenizer, tfrecords, records, training, corpus, vocab)
}
