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
from stages.tfrecords.files import Shard, file_name, finished_models, forget_records, open_vocabulary, write_shard
from stages.tfrecords.options import Options

EPILOG = """
20 predictions at length 512 mask 3.9 % of the tokens, not 15 %: the budget of an example is
min(max-predictions, 15 % of its length). That is the published recipe; --max-predictions 77 masks 15 %.
"""


def main(arguments: list[str]) -> None:
    """Write one file for each shard and model, then the manifests."""
    options = parse(Options, "tfrecords", __doc__, arguments, EPILOG)
    corpus = read_shards(options.corpus)
    models = list(options.models)
    vocabularies = {model: open_vocabulary(options.vocab, model) for model in models}
    inputs = {
        model: {"corpus": sha256(storage.join(options.corpus, MANIFEST)), "vocabulary": sha256(path)}
        for model, (path, _) in vocabularies.items()
    }
    settings = {model: {"model": model, **options.decisive()} for model in models}
    pending = [m for m in models if not claim("tfrecords", storage.join(options.out, m), settings[m], inputs[m])]
    if not pending:
        print(f"tfrecords: {options.out} is finished already ({', '.join(models)})", file=sys.stderr)
        return

    paths = {model: vocabularies[model][0] for model in pending}
    present = {model: frozenset(storage.names(storage.join(options.out, model))) for model in pending}
    shards = [
        Shard(options.corpus, number, name, description, paths, options.out, options, finished_models(number, present))
        for number, (name, description) in enumerate(corpus)
    ]
    files: dict[str, dict[str, Any]] = {model: {} for model in pending}
    progress = Progress("tfrecords", "characters", sum(shard.description["characters"] for shard in shards))
    examples, note = 0, ""
    results = in_order(write_shard, shards, options.jobs, options.engine, lambda shard: shard.name)
    for shard, descriptions in zip(shards, results, strict=True):
        for model, description in descriptions.items():
            files[model][file_name(shard.number)] = description
            examples += description["examples"]
        rate = examples / max(time.monotonic() - progress.start, 1e-9)
        note = f"{examples:,} examples, {rate:,.0f} a second"
        progress.add(shard.description["characters"], note)
    progress.close(note)

    for model in pending:
        folder = storage.join(options.out, model)
        counts = {key: sum(file[key] for file in files[model].values()) for key in COUNTS}
        lengths = [str(n) for n in range(1, options.ngram + 1)]
        write_manifest(
            "tfrecords",
            folder,
            settings[model],
            inputs[model],
            files[model],
            vocabulary={"size": len(vocabularies[model][1]), "sha256": inputs[model]["vocabulary"]},
            counts={**counts, "ngrams": {n: sum(f["ngrams"][n] for f in files[model].values()) for n in lengths}},
            versions={name: version(name) for name in ("numpy", "tinysegmenter3", "zlib-ng")},
        )
        forget_records(folder, list(files[model]))
        print(
            f"tfrecords: {model}: {counts['examples']:,} examples in {len(files[model])} files, "
            f"{counts['masked_tokens'] / max(counts['tokens'], 1):.1%} of the tokens masked, "
            f"{counts['unknown_tokens'] / max(counts['tokens'], 1):.2%} unknown",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run("tfrecords", main))
