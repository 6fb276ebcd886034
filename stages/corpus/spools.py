"""A batch of documents, or a whole file of them → its articles; those of a whole file go to a spool beside the output.

A worker reads a whole file if unpacking is slow (bzip2: 17 MB/s a core; the rest of a worker processes 200), or on a
cluster, to send no bytes of input to the workers. Several files are read concurrently; their articles are written in
the order of the input. Spools are kept until the corpus is complete, so that the next run resumes from them.

For each batch a spool holds a line of JSON (bytes of text, sizes, counts, dropped) and then the text. Its last line is
the file's SHA-256.
"""

import json
from array import array
from collections import Counter
from collections.abc import Generator
from typing import NamedTuple

from stages.corpus.articles import Articles, make_articles
from stages.corpus.documents import Batch
from stages.corpus.files import SPOOL, InputFile
from stages.corpus.options import Options
from stages.handover import storage


class WholeFile(NamedTuple):
    """A file that a worker reads, its number in the input, and the path of its spool."""

    number: int
    file: InputFile
    spool: str


def whole_files(files: list[InputFile], options: Options) -> dict[int, WholeFile]:
    """The files that workers read whole, by number. A single slow file is unpacked by the main process."""
    cluster = options.engine == "ray"
    slow = {
        number: WholeFile(number, file, storage.join(options.out, f".input_{number:05d}{SPOOL}"))
        for number, file in enumerate(files)
        if cluster or file.compression == "bzip2"
    }
    return slow if len(slow) > 1 and (options.jobs > 1 or cluster) else {}


def work(item: Batch | WholeFile, options: Options, skip_ids: frozenset[str]) -> Articles | WholeFile:
    """The articles of a batch; or a whole file whose spool is there, in memory that does not depend on its size."""
    if isinstance(item, Batch):
        return make_articles(item, options, skip_ids)
    if not storage.exists(item.spool):
        with storage.whole_file(item.spool) as stream:
            for batch in item.file.batches():
                articles = make_articles(batch, options, skip_ids)
                dropped = [[*key, number] for key, number in articles.dropped.items()]
                header = [len(articles.text), articles.sizes.tolist(), articles.counts, dropped]
                stream.write(json.dumps(header).encode() + b"\n")
                stream.write(articles.text)
            stream.write(json.dumps(item.file.sha256).encode() + b"\n")
    return item


def read(path: str) -> Generator[Articles, None, str]:
    """The batches in a spool. Returns the SHA-256 of the input file."""
    with storage.reading(path) as stream:
        while isinstance(header := json.loads(stream.readline()), list):
            size, sizes, counts, drops = header
            dropped = Counter({(kind, reason): number for kind, reason, number in drops})
            yield Articles(stream.read(size), array("q", sizes), Counter(counts), dropped)
    return str(header)
