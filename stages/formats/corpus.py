"""A corpus folder → its shards, checked against the manifest, and the articles in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from stages.command.refusal import Refusal
from stages.handover import storage
from stages.handover.manifests import MANIFEST, is_count, read_manifest

# What the manifest says of a shard beside its size.
_COUNTED = ("articles", "sentences", "characters")


def read_shards(corpus: str) -> list[tuple[str, dict[str, Any]]]:
    """The files of a corpus in order, each with what the manifest says of it. All are there, in their full length."""
    manifest = read_manifest(corpus, "corpus")
    present = storage.files_below(corpus)
    shards = sorted(manifest["files"].items())
    if not shards:
        raise Refusal("%s lists no files; make the corpus again" % storage.join(corpus, MANIFEST))
    for name, described in shards:
        path = storage.join(corpus, name)
        if name not in present:
            raise Refusal("%s is missing; make the corpus again" % path)
        if present[name] != described["bytes"]:
            raise Refusal(
                "%s is not what make corpus wrote (%d bytes, not %d); make the corpus again"
                % (path, present[name], described["bytes"])
            )
        # A sentence has a character and a line end at least.
        if not all(is_count(described.get(what)) and described[what] <= present[name] for what in _COUNTED):
            raise Refusal(
                "%s does not say how much is in %s; make the corpus again" % (storage.join(corpus, MANIFEST), name)
            )
    return shards


def documents(corpus: str, name: str, described: dict[str, Any]) -> Iterator[list[str]]:
    """The articles of one corpus shard, each a list of sentences, in order.

    ``described`` is what the corpus manifest says of the file. A file of other bytes is refused at its
    end, when they are known: do not finish anything before the iterator is exhausted.
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
        raise Refusal("cannot read %s: %s" % (path, error.strerror))
    if digest.hexdigest() != described["sha256"]:
        raise Refusal("%s is not what make corpus wrote (its SHA-256 differs); make the corpus again" % path)
    if article:
        yield article
