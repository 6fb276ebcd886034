"""A batch of documents, or a whole file of them → its articles, those of a file in a spool beside the output.

Whole files are for what is slow to unpack: bzip2 gives some 17 MB/s a core, the rest of a worker takes in 200. Several
are read at once, and who deals out the articles still meets them in the order of the input.
"""

import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from stages.corpus.articles import Made, Rules, make_articles
from stages.corpus.documents import Batch
from stages.corpus.files import InputFile


class WholeFile(NamedTuple):
    """A file to read, its number in the input, and the path of its spool."""

    number: int
    file: InputFile
    spool: str


class Spooled(NamedTuple):
    """A file that was read: its number, its SHA-256, and the spool.

    Of each batch a spool holds a line of JSON (bytes of text, sizes, counts, what was dropped) and the text behind it.
    """

    number: int
    sha256: str
    spool: str


def work(item: Batch | WholeFile, rules: Rules) -> Made | Spooled:
    """The articles of a batch; or those of a whole file in its spool, in memory that does not depend on its size."""
    if isinstance(item, Batch):
        return make_articles(item, rules)
    with open(item.spool, "wb") as spool:
        for batch in item.file.batches():
            made = make_articles(batch, rules)
            dropped = [[*key, number] for key, number in made.dropped.items()]
            spool.write(json.dumps([len(made.text), made.sizes.tolist(), made.counts, dropped]).encode() + b"\n")
            spool.write(made.text)
    return Spooled(item.number, item.file.sha256, item.spool)


def spooled(path: str) -> Iterator[Made]:
    """What a spool holds. It is removed at its end."""
    with open(path, "rb") as spool:
        while line := spool.readline():
            size, sizes, counts, dropped = json.loads(line)
            by_reason = Counter({(what, reason): number for what, reason, number in dropped})
            yield Made(spool.read(size), array("q", sizes), Counter(counts), by_reason)
    os.remove(path)
