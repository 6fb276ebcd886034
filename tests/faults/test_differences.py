"""What is told of a file that is not that of an undisturbed run: enough to see from a log alone what happened."""

import gzip
import struct
from pathlib import Path

import pytest

from tests.torture.differences import difference
from tests.torture.runs import Broken, compare, files

RECORDS = [b"first", b"the second one", b"third"]


def tfrecords(records: list[bytes], level: int = 9) -> bytes:
    """As in a file; nobody looks at the CRCs here."""
    framed = (struct.pack("<QI", len(record), 0) + record + b"\0\0\0\0" for record in records)
    return gzip.compress(b"".join(framed), level, mtime=0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tfrecords(RECORDS, 1), "both decompress to the same 72 bytes"),
        (
            tfrecords([RECORDS[0], b"the sEcond one", RECORDS[2]]),
            "; decompressed 72 bytes, other from byte 38 on "
            "(45 63 6f 6e 64 20 6f 6e 65 00 00 00 00 05 00 00, not 65 63 6f 6e 64 20 6f 6e 65 00 00 00 00 05 00 00); "
            "3 records, 1 differ, the first of them record 1 "
            "(14 bytes, other from byte 5 on (45 63 6f 6e 64 20 6f 6e 65, not 65 63 6f 6e 64 20 6f 6e 65))",
        ),
        (tfrecords(RECORDS[:2]), "2 records in place of 3, equal up to record 2"),
        (tfrecords(RECORDS[::-1]), "3 records, 2 differ, which only stand in another order, the first"),
        (tfrecords(RECORDS)[:-9], "; it is no whole gzip file ("),
    ],
    ids=["compressed in another way", "a byte", "a record fewer", "another order", "cut"],
)  # fmt: skip
def test_of_tfrecords_the_first_record_that_differs_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    for name, content in (("found", data), ("clean", tfrecords(RECORDS))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pretrain_00000.tfrecord.gz").write_bytes(content)
    told = difference(tmp_path / "found/pretrain_00000.tfrecord.gz", tmp_path / "clean/pretrain_00000.tfrecord.gz")
    assert said in told
    assert "\n" not in told


def test_both_files_are_kept_and_the_place_is_told(tmp_path: Path) -> None:
    for name, text in (("out", b"0123x"), ("clean", b"0123456")):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "folder/file").write_bytes(text)
    with pytest.raises(Broken) as broken:
        compare(tmp_path / "out", files(tmp_path / "clean"), tmp_path / "clean")
    assert str(broken.value) == (
        f"in {tmp_path}/out these are not the bytes of an undisturbed run: folder/file "
        f"(5 bytes in place of 7, other from byte 4 on (78, not 34 35 36)); both are kept in {tmp_path}/out-differs"
    )
    assert (tmp_path / "out-differs/found/folder/file").read_bytes() == b"0123x"
    assert (tmp_path / "out-differs/undisturbed/folder/file").read_bytes() == b"0123456"
    assert compare(tmp_path / "clean", files(tmp_path / "clean"), tmp_path / "clean") == 1
