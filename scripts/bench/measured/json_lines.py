"""A gzip dump → the time to parse its lines, and a hash of the titles and texts in them."""

import gzip
import hashlib
import itertools
import json

import orjson

from scripts.bench.measured.stopwatch import Stopwatch


def main(side: str, path: str, most: str) -> None:
    with gzip.open(path) as stream:
        lines = list(itertools.islice(stream, int(most)))
    parse = orjson.loads if side == "orjson" else json.loads
    watch = Stopwatch()
    digest = hashlib.sha256()
    for line in lines:
        with watch:
            value = parse(line)
        digest.update(repr((value.get("title"), value.get("text"))).encode())
    watch.report(sum(map(len, lines)), sha256=digest.hexdigest())
