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
from stages.tfrecords.files import Shard, open_vocabulary, write_shard
from stages.tfrecords.options import Options

EPILOG = """
20 predictions at length 512 mask 3.9 % of the tokens, not 15 %: the budget of an example is
min(max-predictions, 15 % of its length). That is the published recipe; --max-predictions 77 masks 15 %.
"""


def main(arguments: list[str]) -> None:
    """Write one file for each shard and model, then the manifests."""
    options = parse(Options, "tfrecords", __doc__, arguments, EPILOG)
    corpus = read_shards(options.corpus)
    folders = {model: storage.join(options.out, model) for model in options.models}
    vocabularies = {model: open_vocabulary(options.vocab, model) for model in folders}
    digest = storage.sha256(storage.join(options.corpus, MANIFEST))
    inputs = {
        model: {"corpus": digest, "vocabulary": storage.sha256(path)} for model, (path, _) in vocabularies.items()
    }
    settings = {model: {"model": model, **options.decisive()} for model in folders}
    pending = [model for model in folders if not claim("tfrecords", folders[model], settings[model], inputs[model])]
    if not pending:
        print(f"tfrecords: {options.out} is finished already ({', '.join(folders)})", file=sys.stderr)
        return

    paths = {model: vocabularies[model][0] for model in pending}
    shards = [Shard(options.corpus, number, *described, paths, options) for number, described in enumerate(corpus)]
    files: dict[str, dict[str, Any]] = {model: {} for model in pending}
    progress = Progress("tfrecords", "characters", sum(shard.description["characters"] for shard in shards))
    examples, note = 0, ""
    results = in_order(write_shard, shards, options.jobs, options.engine, lambda shard: shard.name)
    for shard, descriptions in zip(shards, results, strict=True):
        for model, description in descriptions.items():
            files[model][shard.file] = description
            examples += description["examples"]
        rate = examples / max(time.monotonic() - progress.start, 1e-9)
        note = f"{examples:,} examples, {rate:,.0f} a second"
        progress.add(shard.description["characters"], note)
    progress.close(note)

    for model in pending:
        described = files[model].values()
        counts = {key: sum(file[key] for file in described) for key in COUNTS}
        lengths = [str(n) for n in range(1, options.ngram + 1)]
        write_manifest(
            "tfrecords",
            folders[model],
            settings[model],
            inputs[model],
            files[model],
            vocabulary={"size": len(vocabularies[model][1]), "sha256": inputs[model]["vocabulary"]},
            counts={**counts, "ngrams": {n: sum(file["ngrams"][n] for file in described) for n in lengths}},
            versions={name: version(name) for name in ("numpy", "tinysegmenter3", "zlib-ng")},
        )
        storage.remove_all(folders[model], [shard.record for shard in shards])
        print(
            f"tfrecords: {model}: {counts['examples']:,} examples in {len(shards)} files, "
            f"{counts['masked_tokens'] / max(counts['tokens'], 1):.1%} of the tokens masked, "
            f"{counts['unknown_tokens'] / max(counts['tokens'], 1):.2%} unknown",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run("tfrecords", main))
