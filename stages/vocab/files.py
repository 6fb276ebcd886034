"""The corpus folder in, the two vocabulary files out."""

import os
from collections import Counter
from typing import Any

from stages.handover import Refusal, describe, documents, whole_file
from stages.vocab.sampling import chosen
from stages.vocab.words import count_words


def count_shard(task: tuple[str, int, str, dict[str, Any], int, int]) -> Counter[str]:
    """The words of the sampled sentences of one shard.

    The task: corpus folder, number of the shard, its file name, what the manifest says of it, how many
    sentences to take, seed.
    """
    corpus, number, name, described, take, seed = task
    sentences = [sentence for article in documents(corpus, name, described) for sentence in article]
    if len(sentences) != described["sentences"]:
        raise Refusal(f"{os.path.join(corpus, name)} has {len(sentences)} sentences, its manifest says otherwise")
    mask = chosen(len(sentences), take, seed, number)
    return count_words(sentence for sentence, taken in zip(sentences, mask, strict=True) if taken)


def write_vocabulary(out: str, model: str, entries: list[str]) -> dict[str, Any]:
    """Write `<out>/<model>/vocab.txt`, one entry a line, and give what the manifest says of it."""
    os.makedirs(os.path.join(out, model), exist_ok=True)
    path = os.path.join(out, model, "vocab.txt")
    with whole_file(path, "w") as stream:
        stream.writelines(entry + "\n" for entry in entries)
    return {**describe(path), "entries": len(entries)}
