"""Material → the rows of each stage: what it does beside its yardstick, round by round in turn."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.bench.material import EQUAL, MODELS, SHARDS, Material, count
from scripts.bench.rows import Bar, Figure, Row, best_rate, best_wall_rate, rate
from scripts.bench.running import ROOT, Measured, Ran, measure, run
from scripts.bench.table import short
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
    sides = ("compiled", "package")
    parts = [[measure("tokenizer", "words", side, part) for side in sides] for part in material.word_parts]
    strings = [measure("tokenizer", "words", side, material.random_strings) for side in sides]
    ours, package = (rate([part[side] for part in parts]) for side in (0, 1))
    yield Row(
        "words",
        "words of sentences",
        "characters per CPU second",
        ours,
        package,
        PACKAGE,
        ours.value / package.value,
        Bar("≥", 120),
        all(same(*pair) for pair in [*parts, strings]),
        f"{len(material.sentences):,} sentences, 1,000 at a time; compared in all of them, and in "
        f"{material.size.random_strings:,} random strings (not timed)",
    )


def tokenizer(material: Material) -> Iterator[Row]:
    """Sentences → ids, by the tokenizer class with and without its compiled words."""
    for model in MODELS:
        vocabulary = material.vocab / model / "vocab.txt"
        rounds = [
            # The class needs transformers, which the tokenizer's own environment lives without.
            [measure("convert", "tokenizer", side, model, vocabulary, material.spread_sentences) for side in sides]
            for sides in [("compiled", "slow")] * material.size.rounds
        ]
        equal = all(same(*pair) for pair in rounds)
        short = model.partition("_")[0]
        for what, name, least in (
            ("batch", "sentences to ids, 1,000 at a time", 25),
            ("single", "sentences to ids, one by one", 1),
        ):
            ours, slow = (best_rate([part(pair[side], what) for pair in rounds]) for side in (0, 1))
            yield Row(
                "tokenizer",
                f"{name}, {short}",
                "sentences per CPU second",
                ours,
                slow,
                "the slow path",
                ours.value / slow.value,
                Bar("≥", least),
                equal,
            )
        ours, slow = (least_seconds([part(pair[side], "first") for pair in rounds]) for side in (0, 1))
        yield Row(
            "tokenizer",
            f"made and called first, {short}",
            "seconds, without imports",
            ours,
            slow,
            "the slow path",
            slow.value / ours.value,
            Bar("≤", 0.5, of_value=True),
            equal,
            "in a fresh process, reading the vocabulary included",
        )


def tfrecords(material: Material) -> Iterator[Row]:
    """Corpus shards → TFRecords of both models, at the published defaults."""
    corpus, vocab, out = material.equal_shards, material.vocab, material.work / "tfrecords"
    workers = [1, 2] if cores() > 1 else [1]
    runs: dict[int, list[Ran]] = {jobs: [] for jobs in workers}
    package: list[Measured] = []
    made: list[dict[str, Any]] = []
    records = material.work / "records.tfrecord.gz"
    for _ in range(2 * material.size.rounds - 1):
        for jobs in workers:
            arguments = ("--corpus", corpus, "--vocab", vocab, "--out", out, "--jobs", jobs)
            runs[jobs].append(run("tfrecords", "stages.tfrecords", *arguments))
            made.append({model: read_manifest(str(out / model), "tfrecords") for model in MODELS})
            (out / MODELS[0] / "pretrain_00000.tfrecord.gz").replace(records)
            shutil.rmtree(out)
        package.append(measure("tfrecords", "words", "package", material.spread_sentences))

    examples = sum(manifest["counts"]["examples"] for manifest in made[0].values())
    size = sum(file["bytes"] for manifest in made[0].values() for file in manifest["files"].values())
    characters = count(corpus, "characters_kept")
    one = min(runs[1], key=lambda ran: ran.cpu)
    ours = figure(one, examples / one.cpu)
    segmented = best_rate(package)
    published = Figure(
        PUBLISHED_EXAMPLES_PER_CHARACTER * segmented.value,
        segmented.cpu_seconds,
        segmented.wall_seconds,
        segmented.peak_memory,
    )
    yield Row(
        "tfrecords",
        "examples written",
        "examples per CPU second",
        ours,
        published,
        "the published script",
        ours.value / published.value,
        Bar("≥", 200),
        None,
        f"both models, 40 copies, length 512, gzip included: {examples:,} examples, {examples / characters:.4f} a "
        f"character, {size / examples:.0f} bytes each; the whole command, one worker. Yardstick: 9e-4 examples in the "
        f"time in which {PACKAGE} segments a character (here {short(segmented.value)} characters per CPU second)",
        {"examples_per_character": examples / characters, "bytes_per_example": size / examples},
    )
    peak = max(ran.peak for ran in runs[1])
    yield Row(
        "tfrecords",
        "memory of a worker",
        "bytes at the peak",
        figure(one, peak),
        bar=Bar("≤", 400e6, of_value=True),
        note=f"shards of {characters // EQUAL:,} characters, 40 copies",
    )
    if len(workers) > 1:
        differing = [
            f"{name} of {model} in run {number}"
            for number, manifests in enumerate(made)
            for model in MODELS
            for name, file in manifests[model]["files"].items()
            if file != made[0][model]["files"][name]
        ]
        # Not the best: a worker alone finds a quiet core by chance, two seldom find two.
        alone, together = (sorted(runs[jobs], key=lambda ran: ran.wall)[len(runs[jobs]) // 2] for jobs in workers)
        yield Row(
            "tfrecords",
            "two workers",
            "seconds, wall time",
            figure(together, together.wall),
            figure(alone, alone.wall),
            "one worker",
            alone.wall / together.wall,
            Bar("≥", 1.8),
            not differing,
            f"{EQUAL} equal shards; the median of {len(runs[1])} rounds each; the bytes of all runs compared"
            + "".join(f"; DIFFERENT: {which}" for which in differing),
        )
    sides = ("zlib-ng", "zlib")
    packed = [
        [measure("tfrecords", "gzip_records", side, records, material.size.gzip_megabytes) for side in sides]
        for _ in range(material.size.rounds)
    ]
    ours, zlib = (best_rate([pair[side] for pair in packed]) for side in (0, 1))
    ours_size, zlib_size = (pair.said["bytes"] for pair in packed[0])
    yield Row(
        "tfrecords",
        "gzip of records",
        "bytes per CPU second",
        ours,
        zlib,
        "zlib level 6",
        ours.value / zlib.value,
        None,
        same(*packed[0]),
        f"as the stage compresses them; {ours_size / zlib_size:.2f} times the size of zlib's",
    )


def records(material: Material) -> Iterator[Row]:
    """Gzip TFRecords → batches to train on."""
    folder = material.records
    options, counts = (read_manifest(str(folder), "tfrecords")[what] for what in ("options", "counts"))
    lengths = (options["seq_length"], options["max_predictions"], counts["examples"])
    for cores_used, name in ((1, "one core"), (2, "two cores"))[: min(2, cores())]:
        rounds = [
            [
                measure(stage, "records", side, folder, *lengths, cores_used)
                for stage, side in (("train", "ours"), ("tpu-train", "tensorflow"))
            ]
            for _ in range(material.size.rounds)
        ]
        ours, tensorflow = (best_wall_rate([pair[side] for pair in rounds]) for side in (0, 1))
        yield Row(
            "records",
            f"examples read, {name}",
            "examples per second, wall time",
            ours,
            tensorflow,
            "TensorFlow 1.15",
            ours.value / tensorflow.value,
            Bar("≥", 1),
            all(same(*pair) for pair in rounds),
            f"{counts['examples']:,} examples of length {options['seq_length']} from {EQUAL} gzip files, shuffled, in "
            "batches of 64; the input function of ALBERT's run_pretraining beside it; a pass in order compared",
        )


def training(material: Material) -> Iterator[Row]:
    """A batch → training steps."""
    folder = material.records
    options = read_manifest(str(folder), "tfrecords")["options"]
    lengths = (options["seq_length"], options["max_predictions"])
    full = material.size.rounds > 1
    # A base model takes TensorFlow half a minute to begin with.
    for size, examples in (("tiny", 8), ("base", 4)) if full else (("tiny", 8),):
        config = ROOT / "stages" / "tpu_train" / "configs" / f"character_{size}.json"
        batch, variables = (material.work / f"{what}.npz" for what in ("batch", "variables"))
        program = "scripts.bench.measured.training_step"
        told = json.loads(run("train", program, "batch", folder, *lengths, examples if full else 1, batch).output)
        count = 3 if full else 1
        given = (config, batch, variables, count)
        rounds: dict[str, list[tuple[Measured, Measured]]] = {}
        for _ in range(min(2, material.size.rounds)):
            theirs = measure("tpu-train", "tensorflow_step", *given, one_core=False)
            ours = measure("train", "training_step", "steps", *given, "auto", one_core=False)
            rounds.setdefault(ours.said["precision"], []).append((ours, theirs))
            if ours.said["precision"] != FLOAT32:
                ours = measure("train", "training_step", "steps", *given, FLOAT32, one_core=False)
                rounds.setdefault(FLOAT32, []).append((ours, theirs))
        for precision, pairs in rounds.items():
            torch, tensorflow = (best_wall_rate([pair[side] for pair in pairs]) for side in (0, 1))
            losses = [zip(*(side.said["losses"] for side in pair), strict=True) for pair in pairs]
            # bfloat16 keeps 8 bits of a number.
            by_itself, tolerance = precision == next(iter(rounds)), 1e-4 if precision == FLOAT32 else 1e-2
            yield Row(
                "training",
                f"a step, character {size}" + ", in float32" * (not by_itself),
                "tokens per second, wall time",
                torch,
                tensorflow,
                "TensorFlow 1.15",
                torch.value / tensorflow.value,
                Bar("≥", 2) if by_itself else None,
                all(math.isclose(*pair, rel_tol=tolerance) for one in losses for pair in one),
                f"batch of {examples if full else 1} examples of length {lengths[0]}, {told['tokens']:.0%} of "
                f"it tokens, of all examples {told['of_all']:.0%} (all positions count); {precision}"
                f"{', as train takes by itself here' * by_itself} (TensorFlow: float32), "
                f"{cores()} cores; losses of {count + 1} steps compared, to {tolerance:g}",
            )


def corpus(material: Material) -> Iterator[Row]:
    """A dump → corpus shards."""
    ours_out, plain_out = material.work / "ours", material.work / "plain"
    ours: list[Ran] = []
    plain: list[Ran] = []
    # Ours takes half a second, to which a busy neighbour once added 15 % in all of six rounds.
    for _ in range(5 * material.size.rounds):
        for out in (ours_out, plain_out):
            shutil.rmtree(out, ignore_errors=True)
        arguments = ("--dump", material.dump, "--out", ours_out, "--shards", SHARDS, "--jobs", 1)
        ours.append(run("corpus", "stages.corpus", *arguments))
        plain.append(run("corpus", "scripts.bench.measured.plain_corpus", material.dump, plain_out, SHARDS))
    kept = count(ours_out, "characters_kept")
    ours_figure, plain_figure = (
        figure(least, kept / least.cpu) for least in (min(ran, key=lambda one: one.cpu) for ran in (ours, plain))
    )
    yield Row(
        "corpus",
        "clean sentences of a dump",
        "characters kept per CPU second",
        ours_figure,
        plain_figure,
        "gzip, json and re, one process",
        ours_figure.value / plain_figure.value,
        Bar("≥", 6),
        int(plain[-1].output) == kept and shards_of(ours_out) == shards_of(plain_out),
        f"{kept:,} characters kept; the whole command, one job; bytes compared",
        {"bytes_per_character": sum(len(sentence.encode()) for sentence in material.sentences) / kept},
    )
    sides = ("orjson", "json")
    parsed = [
        [measure("corpus", "json_lines", side, material.dump, 4000) for side in sides]
        for _ in range(material.size.rounds)
    ]
    orjson, json = (best_rate([pair[side] for pair in parsed]) for side in (0, 1))
    yield Row(
        "corpus",
        "lines of a dump parsed",
        "bytes per CPU second",
        orjson,
        json,
        "json",
        orjson.value / json.value,
        None,
        same(*parsed[0]),
        "orjson",
    )


def vocab(material: Material) -> Iterator[Row]:
    """A million lines → the vocabularies."""
    lines = count(material.many_lines, "sentences_kept")
    out = material.work / "vocab-timed"
    command = ("--corpus", material.many_lines, "--out", out, "--sample", max(lines, 3_000_000))
    runs = []
    for _ in range(material.size.rounds):
        runs.append(run("vocab", "stages.vocab", *command, one_core=False))
        shutil.rmtree(out)
    ours = min(runs, key=lambda ran: ran.wall)
    plain = measure("vocab", "plain_vocab", material.plain_vocabulary_lines)
    times = lines / plain.amount
    scaled = times * plain.said["segmented"] + plain.wall - plain.said["segmented"]
    scaled_cpu = times * plain.said["segmented_cpu"] + plain.cpu - plain.said["segmented_cpu"]
    yield Row(
        "vocab",
        f"vocabularies of {lines:,} lines",
        "seconds, wall time",
        figure(ours, ours.wall),
        Figure(scaled, scaled_cpu, scaled, plain.peak),
        "a Python pre-tokenizer",
        scaled / ours.wall,
        Bar("≥", 10),
        None,
        f"default jobs ({cores()}); the yardstick ran {plain.amount:,} lines in {duration(plain.wall)}: its "
        f"{duration(plain.said['segmented'])} of segmentation are scaled by lines, its training is not scaled at all",
        {"lines": lines},
    )


GROUPS: dict[str, Callable[[Material], Iterator[Row]]] = {
    "words": words,
    "tokenizer": tokenizer,
    "tfrecords": tfrecords,
    "records": records,
    "training": training,
    "corpus": corpus,
    "vocab": vocab,
}


def same(ours: Measured, yardstick: Measured) -> bool:
    """Whether both sides made the same."""
    return bool(ours.said["sha256"] == yardstick.said["sha256"])


def part(measured: Measured, name: str) -> Measured:
    """One of several measurements that a program reports together."""
    said = measured.said[name]
    return Measured(said["amount"], said["cpu"], said["wall"], measured.peak, said)


def least_seconds(measured: list[Measured]) -> Figure:
    """The wall time of the best round."""
    least = min(measured, key=lambda one: one.wall)
    return Figure(least.wall, least.cpu, least.wall, least.peak)


def figure(ran: Ran, value: float) -> Figure:
    """A value with what the whole process took."""
    return Figure(value, ran.cpu, ran.wall, ran.peak)


def shards_of(folder: Path) -> list[tuple[str, str]]:
    """Name and hash of each corpus file."""
    return [(path.name, sha256(str(path))) for path in sorted(folder.glob("corpus_*.txt"))]
