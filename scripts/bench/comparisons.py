"""Material → the rows of each stage: the stage beside its yardstick, round by round in turn."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.bench.material import EQUAL, MODELS, SHARDS, Material, count
from scripts.bench.rows import Bar, Figure, Row, best_rate, best_seconds, best_wall_rate, rate, short, whole
from scripts.bench.running import ROOT, Process, equal, measure, run, take_turns
from stages.command.progress import duration
from stages.engine.options import cores
from stages.handover.manifests import read_manifest
from stages.handover.storage import sha256

# The published script makes 224 to 257 examples in the CPU time in which tinysegmenter3 segments 260,000 characters.
PUBLISHED_EXAMPLES_PER_CHARACTER = 9e-4
PACKAGE = "tinysegmenter3"
FLOAT32 = "float32"


def words(material: Material) -> Iterator[Row]:
    """Sentences → where their words begin."""
    sides = {"compiled": "tokenizer", "package": "tokenizer"}
    parts = [take_turns(1, "words", sides, part) for part in material.word_parts]
    strings = take_turns(1, "words", sides, material.random_strings)
    note = (
        f"{len(material.sentences):,} sentences, 1,000 at a time; compared in all of them, and in "
        f"{material.size.random_strings:,} random strings (not timed)"
    )
    ours, package = (rate([one for part in parts for one in part[side]]) for side in (0, 1))
    same = all(equal(*pair) for pair in [*parts, strings])
    unit = "characters per CPU second"
    yield Row("words", "words of sentences", unit, ours, package, PACKAGE, Bar("≥", 120), same, note)


def tokenizer(material: Material) -> Iterator[Row]:
    """Sentences → ids, by the tokenizer class with and without its compiled words."""
    # The class needs transformers, which the tokenizer's own environment lacks.
    sides = {"compiled": "convert", "slow": "convert"}
    for model in MODELS:
        files = model, material.vocab / model / "vocab.txt", material.spread_sentences
        rounds = take_turns(material.size.rounds, "tokenizer", sides, *files)
        same, kind = equal(*rounds), model.partition("_")[0]
        for part, name, least in (
            ("batch", "sentences to ids, 1,000 at a time", 25),
            ("single", "sentences to ids, one by one", 1),
        ):
            ours, slow = (best_rate([each.part(each.report[part]) for each in side]) for side in rounds)
            name, unit = f"{name}, {kind}", "sentences per CPU second"
            yield Row("tokenizer", name, unit, ours, slow, "the slow path", Bar("≥", least), same)
        ours, slow = (best_seconds([each.part(each.report["first"]) for each in side]) for side in rounds)
        name, unit, bar = f"made and called first, {kind}", "seconds, without imports", Bar("≤", 0.5, of_value=True)
        note = "in a fresh process, reading the vocabulary included"
        yield Row("tokenizer", name, unit, ours, slow, "the slow path", bar, same, note, inverse=True)


def tfrecords(material: Material) -> Iterator[Row]:
    """Corpus shards → TFRecords of both models, at the published defaults."""
    corpus, vocab, out = material.equal_shards, material.vocab, material.work / "tfrecords"
    workers = [1, 2] if cores() > 1 else [1]
    runs: dict[int, list[Process]] = {jobs: [] for jobs in workers}
    package: list[Process] = []
    manifests: list[dict[str, Any]] = []
    records = material.work / "records.tfrecord.gz"
    for _ in range(2 * material.size.rounds - 1):
        for jobs in workers:
            arguments = ("--corpus", corpus, "--vocab", vocab, "--out", out, "--jobs", jobs)
            runs[jobs].append(run("tfrecords", "stages.tfrecords", *arguments))
            manifests.append({model: read_manifest(str(out / model), "tfrecords") for model in MODELS})
            (out / MODELS[0] / "pretrain_00000.tfrecord.gz").replace(records)
            shutil.rmtree(out)
        package.append(measure("tfrecords", "words", "package", material.spread_sentences))

    examples = sum(manifest["counts"]["examples"] for manifest in manifests[0].values())
    size = sum(file["bytes"] for manifest in manifests[0].values() for file in manifest["files"].values())
    characters = count(corpus, "characters_kept")
    one = min(runs[1], key=lambda process: process.cpu)
    ours = whole(one, examples / one.cpu)
    segmented = best_rate(package)
    costs = segmented.cpu_seconds, segmented.wall_seconds, segmented.peak_memory
    published = Figure(PUBLISHED_EXAMPLES_PER_CHARACTER * segmented.value, *costs)
    note = (
        f"both models, 40 copies, length 512, gzip included: {examples:,} examples, {examples / characters:.4f} a "
        f"character, {size / examples:.0f} bytes each; the whole command, one worker. Yardstick: 9e-4 examples in the "
        f"time in which {PACKAGE} segments a character (here {short(segmented.value)} characters per CPU second)"
    )
    facts = {"examples_per_character": examples / characters, "bytes_per_example": size / examples}
    name, unit, script = "examples written", "examples per CPU second", "the published script"
    yield Row("tfrecords", name, unit, ours, published, script, Bar("≥", 200), None, note, facts)
    peak = whole(one, max(process.peak for process in runs[1]))
    note = f"shards of {characters // EQUAL:,} characters, 40 copies"
    bar = Bar("≤", 400e6, of_value=True)
    yield Row("tfrecords", "memory of a worker", "bytes at the peak", peak, bar=bar, note=note)
    if len(workers) > 1:
        different = [
            f"{name} of {model} in run {number}"
            for number, each in enumerate(manifests)
            for model in MODELS
            for name, file in each[model]["files"].items()
            if file != manifests[0][model]["files"][name]
        ]
        # Not the best: a worker alone finds a quiet core by chance, two seldom find two.
        alone, together = (
            whole(median, median.wall)
            for median in (sorted(runs[jobs], key=lambda each: each.wall)[len(runs[jobs]) // 2] for jobs in workers)
        )
        note = f"{EQUAL} equal shards; the median of {len(runs[1])} rounds each; the bytes of all runs compared"
        note += "".join(f"; DIFFERENT: {file}" for file in different)
        name, unit, bar = "two workers", "seconds, wall time", Bar("≥", 1.8)
        yield Row("tfrecords", name, unit, together, alone, "one worker", bar, not different, note, inverse=True)
    sides = {"zlib-ng": "tfrecords", "zlib": "tfrecords"}
    packed = take_turns(material.size.rounds, "gzip_records", sides, records, material.size.gzip_megabytes)
    ours, zlib = map(best_rate, packed)
    ours_size, zlib_size = (side[0].report["bytes"] for side in packed)
    note = f"as the stage compresses them; {ours_size / zlib_size:.2f} times the size of zlib's"
    unit, same = "bytes per CPU second", equal(*packed)
    yield Row("tfrecords", "gzip of records", unit, ours, zlib, "zlib level 6", None, same, note)


def records(material: Material) -> Iterator[Row]:
    """Gzip TFRecords → batches to train on."""
    folder = material.records
    manifest = read_manifest(str(folder), "tfrecords")
    options, examples = manifest["options"], manifest["counts"]["examples"]
    lengths = (options["seq_length"], options["max_predictions"], examples)
    sides = {"ours": "train", "tensorflow": "tpu-train"}
    note = (
        f"{examples:,} examples of length {options['seq_length']} from {EQUAL} gzip files, shuffled, in "
        "batches of 64; the input function of ALBERT's run_pretraining beside it; a pass in order compared"
    )
    for number, name in ((1, "one core"), (2, "two cores"))[: min(2, cores())]:
        rounds = take_turns(material.size.rounds, "records", sides, folder, *lengths, number)
        ours, tensorflow = map(best_wall_rate, rounds)
        name, unit, same = f"examples read, {name}", "examples per second, wall time", equal(*rounds)
        yield Row("records", name, unit, ours, tensorflow, "TensorFlow 1.15", Bar("≥", 1), same, note)


def training(material: Material) -> Iterator[Row]:
    """A batch → training steps."""
    folder = material.records
    options = read_manifest(str(folder), "tfrecords")["options"]
    lengths = (options["seq_length"], options["max_predictions"])
    full = material.size.rounds > 1
    count = 3 if full else 1
    # TensorFlow needs half a minute to start a base model.
    for size, examples in (("tiny", 8), ("base", 4)) if full else (("tiny", 1),):
        config = ROOT / "stages" / "tpu_train" / "configs" / f"character_{size}.json"
        batch, variables = material.work / "batch.npz", material.work / "variables.npz"
        command = ("train", "scripts.bench.measured", "training_step", "batch", folder)
        fill = json.loads(run(*command, *lengths, examples, batch).output)
        arguments = (config, batch, variables, count)
        rounds: dict[str, list[tuple[Process, Process]]] = {}
        for _ in range(min(2, material.size.rounds)):
            yardstick = measure("tpu-train", "tensorflow_step", *arguments, one_core=False)
            ours = measure("train", "training_step", "steps", *arguments, "auto", one_core=False)
            rounds.setdefault(ours.report["precision"], []).append((ours, yardstick))
            if ours.report["precision"] != FLOAT32:
                ours = measure("train", "training_step", "steps", *arguments, FLOAT32, one_core=False)
                rounds.setdefault(FLOAT32, []).append((ours, yardstick))
        for precision, pairs in rounds.items():
            torch, tensorflow = (best_wall_rate([pair[side] for pair in pairs]) for side in (0, 1))
            losses = [zip(*(side.report["losses"] for side in pair), strict=True) for pair in pairs]
            # bfloat16 keeps 8 bits of a number.
            default, tolerance = precision == next(iter(rounds)), 1e-4 if precision == FLOAT32 else 1e-2
            same = all(math.isclose(*pair, rel_tol=tolerance) for each in losses for pair in each)
            note = (
                f"batch of {examples} examples of length {lengths[0]}, {fill['tokens']:.0%} of "
                f"it tokens, of all examples {fill['of_all']:.0%} (all positions count); {precision}"
                f"{', as train takes by itself here' * default} (TensorFlow: float32), "
                f"{cores()} cores; losses of {count + 1} steps compared, to {tolerance:g}"
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
    best = [min(processes, key=lambda process: process.cpu) for processes in (ours, plain)]
    fast, slow = (whole(process, characters / process.cpu) for process in best)
    same = int(plain[-1].output) == characters and _shards(ours_out) == _shards(plain_out)
    note = f"{characters:,} characters kept; the whole command, one job; bytes compared"
    facts = {"bytes_per_character": sum(len(sentence.encode()) for sentence in material.sentences) / characters}
    name, unit, bar = "clean sentences of a dump", "characters kept per CPU second", Bar("≥", 6)
    yield Row("corpus", name, unit, fast, slow, "gzip, json and re, one process", bar, same, note, facts)
    parsers = {"orjson": "corpus", "json": "corpus"}
    parsed = take_turns(material.size.rounds, "json_lines", parsers, material.dump, 4000)
    fast, slow = map(best_rate, parsed)
    name, unit, same = "lines of a dump parsed", "bytes per CPU second", equal(*parsed)
    yield Row("corpus", name, unit, fast, slow, "json", None, same, "orjson")


def vocab(material: Material) -> Iterator[Row]:
    """A million lines → the vocabularies."""
    lines = count(material.many_lines, "sentences_kept")
    out = material.work / "vocab-timed"
    arguments = ("--corpus", material.many_lines, "--out", out, "--sample", max(lines, 3_000_000))
    runs = []
    for _ in range(material.size.rounds):
        runs.append(run("vocab", "stages.vocab", *arguments, one_core=False))
        shutil.rmtree(out)
    best = min(runs, key=lambda process: process.wall)
    plain = measure("vocab", "plain_vocab", material.plain_vocabulary_lines)
    times = lines / plain.amount
    segmented, segmented_cpu = plain.report["segmented"], plain.report["segmented_cpu"]
    scaled = times * segmented + plain.wall - segmented
    yardstick = Figure(scaled, times * segmented_cpu + plain.cpu - segmented_cpu, scaled, plain.peak)
    note = (
        f"default jobs ({cores()}); the yardstick ran {plain.amount:,} lines in {duration(plain.wall)}: its "
        f"{duration(segmented)} of segmentation are scaled by lines, its training is not scaled at all"
    )
    name, unit, ours = f"vocabularies of {lines:,} lines", "seconds, wall time", whole(best, best.wall)
    slow, facts = "a Python pre-tokenizer", {"lines": lines}
    yield Row("vocab", name, unit, ours, yardstick, slow, Bar("≥", 10), None, note, facts, inverse=True)


GROUPS: dict[str, Callable[[Material], Iterator[Row]]] = {
    group.__name__: group for group in (words, tokenizer, tfrecords, records, training, corpus, vocab)
}


def _shards(folder: Path) -> list[tuple[str, str]]:
    """Name and hash of each corpus file."""
    return [(path.name, sha256(str(path))) for path in sorted(folder.glob("corpus_*.txt"))]
