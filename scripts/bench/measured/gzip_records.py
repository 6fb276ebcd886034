"""A gzip TFRecord file → the time to compress its records again, the size, and a hash of the decompressed result.

`zlib-ng` as `tfrecords` writes them, `zlib` at level 6, which is gzip's own default.
"""

import gzip
import hashlib
import zlib
from typing import Any

from zlib_ng import zlib_ng

from scripts.bench.measured.stopwatch import Stopwatch
from stages.tfrecords.files import GZIP_LEVEL

BLOCK = 1 << 20


def main(side: str, path: str, megabytes: str) -> None:
    with gzip.open(path) as stream:
        records = stream.read(int(megabytes) << 20)
    # wbits 31: with gzip's header.
    compressor: Any = zlib_ng.compressobj(GZIP_LEVEL, wbits=31) if side == "zlib-ng" else zlib.compressobj(6, wbits=31)
    watch = Stopwatch()
    with watch:
        parts = [compressor.compress(records[begin : begin + BLOCK]) for begin in range(0, len(records), BLOCK)]
        parts.append(compressor.flush())
    packed = b"".join(parts)
    digest = hashlib.sha256(gzip.decompress(packed)).hexdigest()
    watch.report(len(records), sha256=digest, bytes=len(packed))
