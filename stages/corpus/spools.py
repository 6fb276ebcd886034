"""A batch of documents, or a whole file of them → its articles, those of a file in a spool beside the output.

Whole files are for what is slow to unpack: bzip2 gives some 17 MB/s a core, the rest of a worker takes in 200. And for
a cluster, where the bytes would have a long way to its workers. Several are read concurrently, and who deals out the
articles still meets them in the order of the input. A spool stays until the corpus is done: the next run takes what
this one has.
"""

import json
from array import array
from collections import Counter
from collections.abc import Generator
from typing import NamedTuple

from stages.corpus.articles import Made, Rules, make_articles
from stages.corpus.documents import Batch
from stages.corpus.files import SPOOL, InputFile
from stages.handover import storage


class WholeFile(NamedTuple):
    """A file to read, its number in the input, and the path of its spool."""

    number: int
    file: InputFile
    spool: str


class Spooled(NamedTuple):
    """A file that was read: its number and its spool.

    Of each batch a spool holds a line of JSON (bytes of text, sizes, counts, what was dropped) and the text behind it;
    its last line is the file's SHA-256.
    """

    number: int
    spool: str


def name(number: int) -> str:
    """What the spool of the file of this number is called."""
    return f".input_{number:05d}{SPOOL}"


def whole(files: list[InputFile], jobs: int, engine: str) -> list[int]:
    """The numbers of the files that workers read whole; one alone is unpacked by who deals out its batches."""
    slow = [number for number, file in enumerate(files) if engine == "ray" or file.compression == "bzip2"]
    return slow if len(slow) > 1 and (jobs > 1 or engine == "ray") else []


def work(item: Batch | WholeFile, rules: Rules) -> Made | Spooled:
    """The articles of a batch; or those of a whole file in its spool, in memory that does not depend on its size."""
    if isinstance(item, Batch):
        return make_articles(item, rules)
    if not storage.exists(item.spool):
        with storage.whole_file(item.spool) as spool:
            for batch in item.file.batches():
                made = make_articles(batch, rules)
                dropped = [[*key, number] for key, number in made.dropped.items()]
                spool.write(json.dumps([len(made.text), made.sizes.tolist(), made.counts, dropped]).encode() + b"\n")
                spool.write(made.text)
            spool.write(json.dumps(item.file.sha256).encode() + b"\n")
    return Spooled(item.number, item.spool)


def spooled(path: str) -> Generator[Made, None, str]:
    """What a spool holds; returns the SHA-256 of the file that was read."""
    with storage.reading(path) as spool:
        while isinstance(batch := json.loads(spool.readline()), list):
            size, sizes, counts, dropped = batch
            by_reason = Counter({(what, reason): number for what, reason, number in dropped})
            yield Made(spool.read(size), array("q", sizes), Counter(counts), by_reason)
    return str(batch)
