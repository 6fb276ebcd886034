"""A batch of documents, or a whole file of them → its articles; those of a whole file go to a spool beside the output.

A worker reads a whole file if unpacking is slow (bzip2: 17 MB/s a core; the rest of a worker processes 200), or on a
cluster, to send no bytes of input to the workers. Several files are read concurrently; their articles are written in
the order of the input. Spools are kept until the corpus is complete, so that the next run resumes from them.
"""

import json
from array import array
from collections import Counter
from collections.abc import Generator
from typing import NamedTuple

from stages.corpus.articles import Articles, Rules, make_articles
from stages.corpus.documents import Batch
from stages.corpus.files import SPOOL, InputFile
from stages.handover import storage


class WholeFile(NamedTuple):
    """A file to read, its number in the input, and the path of its spool."""

    number: int
    file: InputFile
    spool: str


class Spool(NamedTuple):
    """The spool of a file that was read, and the file's number.

    For each batch a spool holds a line of JSON (bytes of text, sizes, counts, dropped) and then the text. Its last
    line is the file's SHA-256.
    """

    number: int
    path: str


def name(number: int) -> str:
    """The name of the spool of file `number`."""
    return f".input_{number:05d}{SPOOL}"


def whole_files(files: list[InputFile], jobs: int, engine: str) -> list[int]:
    """The numbers of the files that workers read whole. A single slow file is unpacked by the main process."""
    slow = [number for number, file in enumerate(files) if engine == "ray" or file.compression == "bzip2"]
    return slow if len(slow) > 1 and (jobs > 1 or engine == "ray") else []


def work(item: Batch | WholeFile, rules: Rules) -> Articles | Spool:
    """The articles of a batch, or the spool of a whole file, in memory that does not depend on the file's size."""
    if isinstance(item, Batch):
        return make_articles(item, rules)
    if not storage.exists(item.spool):
        with storage.whole_file(item.spool) as stream:
            for batch in item.file.batches():
                articles = make_articles(batch, rules)
                dropped = [[*key, number] for key, number in articles.dropped.items()]
                header = [len(articles.text), articles.sizes.tolist(), articles.counts, dropped]
                stream.write(json.dumps(header).encode() + b"\n")
                stream.write(articles.text)
            stream.write(json.dumps(item.file.sha256).encode() + b"\n")
    return Spool(item.number, item.spool)


def read(path: str) -> Generator[Articles, None, str]:
    """The batches in a spool. Returns the SHA-256 of the input file."""
    with storage.reading(path) as stream:
        while isinstance(header := json.loads(stream.readline()), list):
            size, sizes, counts, drops = header
            dropped = Counter({(kind, reason): number for kind, reason, number in drops})
            yield Articles(stream.read(size), array("q", sizes), Counter(counts), dropped)
    return str(header)
