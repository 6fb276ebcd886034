"""A corpus folder → the WordPiece and the character vocabulary."""

import sys
from collections import Counter
from importlib.metadata import version

from stages.command.options import decisive, parse
from stages.command.progress import Progress
from stages.command.running import run
from stages.engine.ordered import in_order
from stages.formats.corpus import read_shards
from stages.handover import storage
from stages.handover.manifests import MANIFEST, claim, write_manifest
from stages.vocab.options import Options
from stages.vocab.sampling import ShardSample, count_words, draw
from stages.vocab.training import train

# Tasks for each process, so that all end at about the same time; tasks for a cluster, whose size is not known.
TASKS = 8
CLUSTER_TASKS = 128


def main(arguments: list[str]) -> None:
    """Sample sentences, count their words, train, write."""
    options = parse(Options, "vocab", __doc__, arguments)
    shards = read_shards(options.corpus)
    inputs = {"corpus": storage.sha256(storage.join(options.corpus, MANIFEST))}
    if claim("vocab", options.out, decisive(options), inputs):
        print(f"vocab: {options.out} is finished already", file=sys.stderr)
        return

    sizes = draw([description["sentences"] for _, description in shards], options.sample, options.seed)
    samples = [
        ShardSample(options.corpus, number, *shard, size, options.seed)
        for number, (shard, size) in enumerate(zip(shards, sizes, strict=True))
    ]
    # A task has several shards: to add up the words of 640 tasks takes longer than to count them.
    task_size = max(1, len(samples) // (CLUSTER_TASKS if options.engine == "ray" else TASKS * options.jobs))
    tasks = [samples[first : first + task_size] for first in range(0, len(samples), task_size)]
    words: Counter[str] = Counter()
    progress = Progress("vocab", "sentences", sum(sizes))
    results = in_order(count_words, tasks, options.jobs, options.engine, lambda task: task[0].name)
    for task, counts in zip(tasks, results, strict=True):
        words.update(counts)
        progress.add(sum(sample.size for sample in task))
    progress.close(f"{len(words):,} different words")

    print(f"vocab: training {options.vocab_size:,} entries on them", file=sys.stderr)
    wordpiece, character = train(words, options.vocab_size, options.alphabet_size, options.unused)
    if len(wordpiece) < options.vocab_size:
        print(
            f"vocab: the corpus gives {len(wordpiece):,} entries, not {options.vocab_size:,}; "
            "the later stages take the size from the manifest",
            file=sys.stderr,
        )
    alphabet = len(character) - options.unused - 5
    if alphabet < options.alphabet_size:
        print(f"vocab: the corpus has {alphabet:,} characters, not {options.alphabet_size:,}", file=sys.stderr)
    files = {}
    for model, entries in (("wordpiece_tinysegmenter", wordpiece), ("character", character)):
        storage.make_folder(storage.join(options.out, model))
        path = storage.join(options.out, model, "vocab.txt")
        with storage.whole_file(path, "w") as stream:
            stream.writelines(entry + "\n" for entry in entries)
        files[f"{model}/vocab.txt"] = {**storage.describe(path), "entries": len(entries)}
    write_manifest(
        "vocab",
        options.out,
        decisive(options),
        inputs,
        files,
        counts={"sentences": sum(sizes), "words": words.total(), "different_words": len(words), "alphabet": alphabet},
        versions={name: version(name) for name in ("tokenizers", "tinysegmenter3", "numpy")},
    )
    sizes_text = f"{len(wordpiece):,} WordPiece and {len(character):,} character entries"
    print(f"vocab: wrote {sizes_text} to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("vocab", main))
