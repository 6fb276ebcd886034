"""A corpus folder and its vocabularies → gzip TFRecords to train on, for both models."""

import argparse
import dataclasses
import sys
import time
from importlib.metadata import version
from typing import Any

from stages import engine, storage
from stages.formats.examples import COUNTS, LONGEST
from stages.handover import (
    MANIFEST,
    HelpFormatter,
    Progress,
    claim,
    cores,
    read_shards,
    run,
    sha256,
    write_manifest,
)
from stages.tfrecords.files import (
    MODELS,
    Options,
    Shard,
    file_name,
    finished_models,
    forget_records,
    open_vocabulary,
    write_shard,
)

EPILOG = """
20 predictions at length 512 mask 3.9 % of the tokens, not 15 %: the budget of an example is
min(max-predictions, 15 % of its length). That is the published recipe; --max-predictions 77 masks 15 %.
"""


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Options]:
    """The command line."""
    recipe = Options()
    parser = argparse.ArgumentParser("tfrecords", description=__doc__, epilog=EPILOG, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--corpus", required=True, metavar="DIR", help="folder that corpus wrote")
    add("--vocab", required=True, metavar="DIR", help="folder with <model>/vocab.txt")
    add("--out", required=True, metavar="DIR", help="folder for <model>/pretrain_*.tfrecord.gz")
    add("--model", choices=["wordpiece", *MODELS], help="only this one (default: both)")
    add("--seq-length", type=int, default=recipe.seq_length, metavar="L", help="tokens in an example")
    add("--dupe-factor", type=int, default=recipe.dupe_factor, metavar="K", help="copies of the corpus, masked anew")
    add("--max-predictions", type=int, default=recipe.max_predictions, metavar="P", help="most masked tokens in one")
    add("--masked-lm-prob", type=float, default=recipe.masked_lm_prob, metavar="R", help="share of tokens masked")
    add("--ngram", type=int, default=recipe.ngram, metavar="N", help="most words masked in a row")
    add("--short-seq-prob", type=float, default=recipe.short_seq_prob, metavar="R", help="share of shorter sequences")
    add("--unmasked", action="store_true", help="mask nothing: for train --dynamic-masking, with --dupe-factor 1")
    add("--seed", type=int, default=recipe.seed, metavar="S", help="seed of all draws")
    engine.add_flags(parser, cores())
    given = parser.parse_args(arguments)
    options = Options(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Options)})
    limits = {
        "seq_length": (8, LONGEST),
        "dupe_factor": (1, 10**6),
        "max_predictions": (1, options.seq_length - 3),
        "masked_lm_prob": (0.0001, 1),
        "ngram": (1, 100),
        "short_seq_prob": (0, 1),
        "seed": (0, 2**63),
        "jobs": (1, 10**4),
    }
    for name, (least, most) in limits.items():
        if not least <= getattr(given, name) <= most:
            parser.error(f"--{name.replace('_', '-')} must be from {least} to {most}")
    return given, options


def main(arguments: list[str]) -> None:
    """Write one file a shard and model, then the manifests."""
    given, options = parse(arguments)
    corpus = read_shards(given.corpus)
    models = [m for m in MODELS if given.model is None or m.startswith(given.model)]
    opened = {model: open_vocabulary(given.vocab, model) for model in models}
    inputs = {
        model: {"corpus": sha256(storage.join(given.corpus, MANIFEST)), "vocabulary": sha256(path)}
        for model, (path, _) in opened.items()
    }
    settings = {model: {"model": model, **options.decisive()} for model in models}
    finished = [claim("tfrecords", storage.join(given.out, m), settings[m], inputs[m]) for m in models]
    if all(finished):
        print(f"tfrecords: {given.out} is finished already ({', '.join(models)})", file=sys.stderr)
        return
    models = [model for model, done in zip(models, finished, strict=True) if not done]

    paths = {model: opened[model][0] for model in models}
    present = {model: frozenset(storage.names(storage.join(given.out, model))) for model in models}
    shards = [
        Shard(given.corpus, number, name, described, paths, given.out, options, finished_models(number, present))
        for number, (name, described) in enumerate(corpus)
    ]
    files: dict[str, dict[str, Any]] = {model: {} for model in models}
    progress = Progress("tfrecords", "characters", sum(shard.described["characters"] for shard in shards))
    examples, note = 0, ""
    results = engine.in_order(write_shard, shards, given.jobs, given.engine, lambda shard: shard.name)
    for shard, made in zip(shards, results, strict=True):
        for model, described in made.items():
            files[model][file_name(shard.number)] = described
            examples += described["examples"]
        rate = examples / max(time.monotonic() - progress.start, 1e-9)
        note = f"{examples:,} examples, {rate:,.0f} a second"
        progress.add(shard.described["characters"], note)
    progress.close(note)

    for model in models:
        counts = {key: sum(file[key] for file in files[model].values()) for key in COUNTS}
        lengths = [str(n) for n in range(1, options.ngram + 1)]
        write_manifest(
            "tfrecords",
            storage.join(given.out, model),
            settings[model],
            inputs[model],
            files[model],
            vocabulary={"size": len(opened[model][1]), "sha256": inputs[model]["vocabulary"]},
            counts={**counts, "ngrams": {n: sum(f["ngrams"][n] for f in files[model].values()) for n in lengths}},
            versions={name: version(name) for name in ("numpy", "tinysegmenter3", "zlib-ng")},
        )
        forget_records(storage.join(given.out, model), list(files[model]))
        print(
            f"tfrecords: {model}: {counts['examples']:,} examples in {len(files[model])} files, "
            f"{counts['masked_tokens'] / max(counts['tokens'], 1):.1%} of the tokens masked, "
            f"{counts['unknown_tokens'] / max(counts['tokens'], 1):.2%} unknown",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run("tfrecords", main))
