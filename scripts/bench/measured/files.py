"""A file of a stage → the time to read or compress it by either of two libraries, and a hash of the result."""

import gzip
import hashlib
import itertools
import json
import zlib
from typing import Any

from scripts.bench.measured.stopwatch import Stopwatch

BLOCK = 1 << 20


def json_lines(side: str, path: str, most: str) -> None:
    """The first lines of a gzip dump, parsed by `orjson` or `json`. The hash is of the titles and texts in them."""
    import orjson

    parse = orjson.loads if side == "orjson" else json.loads
    with gzip.open(path) as stream:
        lines = list(itertools.islice(stream, int(most)))
    watch, digest = Stopwatch(), hashlib.sha256()
    for line in lines:
        with watch:
            value = parse(line)
        digest.update(repr((value.get("title"), value.get("text"))).encode())
    watch.report(sum(map(len, lines)), sha256=digest.hexdigest())


def gzip_records(side: str, path: str, megabytes: str) -> None:
    """The records of a TFRecord file, compressed again: by `zlib-ng` as `tfrecords` does it, or `zlib` at gzip's level.

    The hash is of the decompressed result.
    """
    from zlib_ng import zlib_ng

    from stages.tfrecords.files import GZIP_LEVEL

    with gzip.open(path) as stream:
        records = stream.read(int(megabytes) << 20)
    # wbits 31: with gzip's header.
    compressor: Any = zlib_ng.compressobj(GZIP_LEVEL, wbits=31) if side == "zlib-ng" else zlib.compressobj(6, wbits=31)
    watch = Stopwatch()
    with watch:
        parts = [compressor.compress(records[begin : begin + BLOCK]) for begin in range(0, len(records), BLOCK)]
        parts.append(compressor.flush())
    packed = b"".join(parts)
    watch.report(len(records), sha256=hashlib.sha256(gzip.decompress(packed)).hexdigest(), bytes=len(packed))
