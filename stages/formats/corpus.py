"""A corpus folder → its shards, checked against the manifest, and the articles in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import MANIFEST, is_count, read_manifest


def read_shards(corpus: str) -> list[tuple[str, dict[str, Any]]]:
    """The files of a corpus in order, each with its entry in the manifest. Refuses a file of another length."""
    manifest = storage.join(corpus, MANIFEST)
    shards = sorted(read_manifest(corpus, "corpus")["files"].items())
    present = storage.files_below(corpus)
    if not shards:
        raise Refusal(f"{manifest} lists no files; make the corpus again")
    for name, described in shards:
        path, size = storage.join(corpus, name), described["bytes"]
        if name not in present:
            raise Refusal(f"{path} is missing; make the corpus again")
        if present[name] != size:
            raise Refusal(
                f"{path} is not what make corpus wrote ({present[name]} bytes, not {size}); make the corpus again"
            )
        # A sentence has a character and a line end at least.
        counts = [described.get(key) for key in ("articles", "sentences", "characters")]
        if not all(is_count(count) and count <= size for count in counts):
            raise Refusal(f"{manifest} does not say how much is in {name}; make the corpus again")
    return shards


def documents(corpus: str, name: str, described: dict[str, Any]) -> Iterator[list[str]]:
    """The articles of one corpus shard, each a list of sentences, in order.

    `described`: the file's entry in the manifest. A file of other bytes is refused at its end, when they are known: do
    not finish anything before the iterator is exhausted.
    """
    path = storage.join(corpus, name)
    digest = hashlib.sha256()
    article: list[str] = []
    try:
        with storage.reading(path) as stream:
            for line in stream:
                digest.update(line)
                if line != b"\n":
                    article.append(line.decode("utf-8", "replace").rstrip("\n"))
                elif article:
                    yield article
                    article = []
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror}")
    if digest.hexdigest() != described["sha256"]:
        raise Refusal(f"{path} is not what make corpus wrote (its SHA-256 differs); make the corpus again")
    if article:
        yield article
