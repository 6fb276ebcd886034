"""A dump cut, with a bit turned over, or with something behind it, at every offset: refused, or the same documents.

One cut cannot be told from the file itself: of several gzip members or bzip2 streams, at the end of one of them. The
legacy dump is one gzip member; the newer one says by `_SUCCESS` and numbers without a gap that it is complete; and a
download has the length that the server said.
"""

import bz2
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Refusal
from stages.corpus.files import InputFile
from tests.torture.faults import damage

DOCUMENTS = [json.dumps({"text": f"{number * 7919}番目の文書の文である。"}) for number in range(60)]
DUMP = "".join(f'{{"index":{{"_id":{number}}}}}\n{line}\n' for number, line in enumerate(DOCUMENTS)).encode()
HALF = DUMP.index(b'{"index":{"_id":30}}')
FIRST = {"gzip": gzip.compress(DUMP[:HALF], mtime=0), "bzip2": bz2.compress(DUMP[:HALF])}
DUMPS = {
    "gzip": gzip.compress(DUMP, mtime=0),
    "gzip with a name": b"\x1f\x8b\x08\x08" + b"abcd\x02\x03jawiki.json\0" + gzip.compress(DUMP, mtime=0)[10:],
    "gzip of two members": FIRST["gzip"] + gzip.compress(DUMP[HALF:], mtime=0),
    "bzip2": bz2.compress(DUMP, 1),
    "bzip2 of two streams": FIRST["bzip2"] + bz2.compress(DUMP[HALF:]),
    "bzip2 and an empty stream": bz2.compress(DUMP) + bz2.compress(b""),
}
BEHIND = [b"\0", b"\0" * 512, b"x", b"\n", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08", b"\x1f\x8b\x08" + b"\0" * 20]
BEHIND += [b"B", b"BZ", b"BZh", b"BZh9", b"BZh91AY&SY", DUMP[:99], DUMPS["gzip"][:30], DUMPS["bzip2"][:30]]


def read(path: Path, data: bytes) -> bytes | str:
    """The text of a dump of these bytes, or the words in which it is refused, which name the file."""
    path.write_bytes(data)
    try:
        return b"".join(batch.data for batch in InputFile(str(path), path.name).batches())
    except Refusal as refusal:
        said = str(refusal)
    assert said.startswith(f"{path} ")
    return said


@pytest.mark.parametrize("form", DUMPS)
def test_a_dump_that_is_cut_anywhere_is_refused(tmp_path: Path, form: str) -> None:
    whole = DUMPS[form]
    assert read(tmp_path / "d", whole) == DUMP
    passed = []
    for end in range(1, len(whole)):
        found = read(tmp_path / "d", whole[:end])
        if isinstance(found, bytes):
            passed.append(whole[:end])
        else:
            assert f"at byte {end}" in found or f"before byte {end}" in found
    # The ends of members, and no more: see above.
    expected = {"gzip of two members": [FIRST["gzip"]], "bzip2 of two streams": [FIRST["bzip2"]]}
    expected["bzip2 and an empty stream"] = [bz2.compress(DUMP)]
    assert passed == expected.get(form, [])


@pytest.mark.parametrize("form", DUMPS)
def test_a_bit_that_is_turned_over_anywhere_is_refused_or_harmless(tmp_path: Path, form: str) -> None:
    whole = DUMPS[form]
    refused = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        found = read(tmp_path / "d", bytes(data))
        assert found == DUMP or isinstance(found, str), (place, found)
        refused += isinstance(found, str)
    # What may differ: times and names in gzip's head; in both, bits that code nothing.
    assert refused > 0.9 * len(whole)


@pytest.mark.parametrize("form", DUMPS)
def test_anything_behind_a_dump_is_refused(tmp_path: Path, form: str) -> None:
    whole = DUMPS[form]
    for more in BEHIND:
        found = read(tmp_path / "d", whole + more)
        assert isinstance(found, str), more
        assert f"byte {len(whole)} on" in found or f"at byte {len(whole + more)}" in found


def test_a_dump_cut_to_the_head_of_an_archive_is_not_a_text(run_stage: Any, tmp_path: Path) -> None:
    """Beside others it would be lost without a word: nine bytes of bzip2 are a short line of text."""
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "0.bz2").write_bytes(DUMPS["bzip2"])
    (tmp_path / "dump" / "1.bz2").write_bytes(DUMPS["bzip2"][:9])
    flags = ("--dump", tmp_path / "dump", "--out", tmp_path / "out", "--shards", 2)
    said = run_stage("corpus", *flags, "--skip-bad-lines", code=2).stderr
    assert f"{tmp_path / 'dump' / '1.bz2'} is truncated: it ends at byte 9" in said


def test_the_command_makes_no_other_corpus_of_a_damaged_dump(run_stage: Any, flow: Any, tmp_path: Path) -> None:
    """Of a dump of several batches, at offsets that a seed gives; `make torture` takes any."""
    draw = random.Random(4)
    clean = flow.clean("corpus").files
    for number in range(4):
        hurt, out = tmp_path / f"{number}.gz", tmp_path / f"out{number}"
        hurt.write_bytes(flow.dump.read_bytes())
        told = damage(hurt, draw)
        flags = ("--dump", hurt, "--out", out, "--shards", 8, "--jobs", 1 + number % 2, "--skip-bad-lines")
        said = run_stage("corpus", *flags, code=2).stderr
        assert f"{hurt} " in said, told
        assert "byte" in said, told
        assert list(out.glob("*")) == [], told
    assert len(clean) == 9
