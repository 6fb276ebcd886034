"""A corpus folder → the WordPiece and the character vocabulary."""

import argparse
import dataclasses
import sys
from collections import Counter
from importlib.metadata import version

from stages import engine, storage
from stages.handover import (
    MANIFEST,
    HelpFormatter,
    Progress,
    Refusal,
    claim,
    cores,
    read_shards,
    run,
    sha256,
    write_manifest,
)
from stages.vocab.files import Sampled, count_words, write_vocabulary
from stages.vocab.sampling import draw
from stages.vocab.training import TooSmall, train

# Tasks for each process, so that all end at about the same time; and for a cluster, of which no more is known.
TASKS = 8
CLUSTER_TASKS = 128


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides the vocabularies; the defaults are the published recipe."""

    vocab_size: int = 32768
    alphabet_size: int = 6129
    unused: int = 10
    sample: int = 3_000_000
    seed: int = 12345


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    recipe = Options()
    parser = argparse.ArgumentParser("vocab", description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--corpus", required=True, metavar="DIR", help="folder that corpus wrote")
    add("--out", required=True, metavar="DIR", help="folder for <model>/vocab.txt of both models")
    add("--vocab-size", type=int, default=recipe.vocab_size, metavar="N", help="entries of the WordPiece vocabulary")
    add("--alphabet-size", type=int, default=recipe.alphabet_size, metavar="N", help="characters in both vocabularies")
    add("--unused", type=int, default=recipe.unused, metavar="N", help="entries <unused0>… kept free for later use")
    add("--sample", type=int, default=recipe.sample, metavar="N", help="sentences drawn from the corpus")
    add("--seed", type=int, default=recipe.seed, metavar="S", help="seed of the draw")
    engine.add_flags(parser, cores())
    given = parser.parse_args(arguments)
    for name, least in (("alphabet_size", 1), ("unused", 0), ("sample", 1), ("seed", 0), ("jobs", 1)):
        if getattr(given, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    return given


def main(arguments: list[str]) -> None:
    """Sample sentences, count their words, train, write."""
    given = parse(arguments)
    options = Options(given.vocab_size, given.alphabet_size, given.unused, given.sample, given.seed)
    shards = read_shards(given.corpus)
    inputs = {"corpus": sha256(storage.join(given.corpus, MANIFEST))}
    if claim("vocab", given.out, dataclasses.asdict(options), inputs):
        print(f"vocab: {given.out} is finished already", file=sys.stderr)
        return

    takes = draw([described["sentences"] for _, described in shards], options.sample, options.seed)
    sampled = [
        Sampled(given.corpus, number, name, described, take, options.seed)
        for number, ((name, described), take) in enumerate(zip(shards, takes, strict=True))
    ]
    # Several shards are counted together: adding up what each of 640 has takes longer than the counting itself.
    together = max(1, len(sampled) // (CLUSTER_TASKS if given.engine == "ray" else TASKS * given.jobs))
    tasks = [sampled[first : first + together] for first in range(0, len(sampled), together)]
    words: Counter[str] = Counter()
    progress = Progress("vocab", "sentences", sum(takes))
    results = engine.in_order(count_words, tasks, given.jobs, given.engine, lambda task: task[0].name)
    for task, counted in zip(tasks, results, strict=True):
        words.update(counted)
        progress.add(sum(shard.take for shard in task))
    progress.close(f"{len(words):,} different words")

    print(f"vocab: training {options.vocab_size:,} entries on them", file=sys.stderr)
    try:
        made = train(words, options.vocab_size, options.alphabet_size, options.unused)
    except TooSmall as error:
        raise Refusal(f"--vocab-size is too small: {error}; raise it or lower --alphabet-size")
    if len(made.wordpiece) < options.vocab_size:
        print(
            f"vocab: the corpus gives {len(made.wordpiece):,} entries, not {options.vocab_size:,}; "
            "the later stages take the size from the manifest",
            file=sys.stderr,
        )
    alphabet = len(made.character) - options.unused - 5
    if alphabet < options.alphabet_size:
        print(f"vocab: it has {alphabet:,} characters, not {options.alphabet_size:,}", file=sys.stderr)
    files = {
        f"{model}/vocab.txt": write_vocabulary(given.out, model, entries)
        for model, entries in (("wordpiece_tinysegmenter", made.wordpiece), ("character", made.character))
    }
    write_manifest(
        "vocab",
        given.out,
        dataclasses.asdict(options),
        inputs,
        files,
        counts={"sentences": sum(takes), "words": words.total(), "different_words": len(words), "alphabet": alphabet},
        versions={name: version(name) for name in ("tokenizers", "tinysegmenter3", "numpy")},
    )
    print(
        f"vocab: wrote {len(made.wordpiece):,} WordPiece and {len(made.character):,} character entries to {given.out}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(run("vocab", main))
