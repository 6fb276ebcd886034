"""A corpus folder and its vocabularies → gzip TFRecords to train on, for both models."""

import sys
import time
from importlib.metadata import version
from typing import Any

from stages.command.options import parse
from stages.command.progress import Progress
from stages.command.running import run
from stages.engine.ordered import in_order
from stages.formats.corpus import read_shards
from stages.formats.examples import COUNTS
from stages.handover import storage
from stages.handover.manifests import MANIFEST, claim, write_manifest
from stages.handover.storage import sha256
from stages.tfrecords.files import (
    Shard,
    file_name,
    finished_models,
    forget_records,
    open_vocabulary,
    write_shard,
)
from stages.tfrecords.options import Options

EPILOG = """
20 predictions at length 512 mask 3.9 % of the tokens, not 15 %: the budget of an example is
min(max-predictions, 15 % of its length). That is the published recipe; --max-predictions 77 masks 15 %.
"""


def main(arguments: list[str]) -> None:
    """Write one file a shard and model, then the manifests."""
    options = parse(Options, "tfrecords", __doc__, arguments, EPILOG)
    corpus = read_shards(options.corpus)
    models = list(options.models)
    opened = {model: open_vocabulary(options.vocab, model) for model in models}
    inputs = {
        model: {"corpus": sha256(storage.join(options.corpus, MANIFEST)), "vocabulary": sha256(path)}
        for model, (path, _) in opened.items()
    }
    settings = {model: {"model": model, **options.decisive()} for model in models}
    finished = [claim("tfrecords", storage.join(options.out, m), settings[m], inputs[m]) for m in models]
    if all(finished):
        print(f"tfrecords: {options.out} is finished already ({', '.join(models)})", file=sys.stderr)
        return
    models = [model for model, done in zip(models, finished, strict=True) if not done]

    paths = {model: opened[model][0] for model in models}
    present = {model: frozenset(storage.names(storage.join(options.out, model))) for model in models}
    shards = [
        Shard(options.corpus, number, name, described, paths, options.out, options, finished_models(number, present))
        for number, (name, described) in enumerate(corpus)
    ]
    files: dict[str, dict[str, Any]] = {model: {} for model in models}
    progress = Progress("tfrecords", "characters", sum(shard.described["characters"] for shard in shards))
    examples, note = 0, ""
    results = in_order(write_shard, shards, options.jobs, options.engine, lambda shard: shard.name)
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
            storage.join(options.out, model),
            settings[model],
            inputs[model],
            files[model],
            vocabulary={"size": len(opened[model][1]), "sha256": inputs[model]["vocabulary"]},
            counts={**counts, "ngrams": {n: sum(f["ngrams"][n] for f in files[model].values()) for n in lengths}},
            versions={name: version(name) for name in ("numpy", "tinysegmenter3", "zlib-ng")},
        )
        forget_records(storage.join(options.out, model), list(files[model]))
        print(
            f"tfrecords: {model}: {counts['examples']:,} examples in {len(files[model])} files, "
            f"{counts['masked_tokens'] / max(counts['tokens'], 1):.1%} of the tokens masked, "
            f"{counts['unknown_tokens'] / max(counts['tokens'], 1):.2%} unknown",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run("tfrecords", main))
