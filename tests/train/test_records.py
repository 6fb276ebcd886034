"""Gzip TFRecords → batches: equal to what was written, however it is encoded; exact positions; damage is refused."""

import gzip
import itertools
import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.command.refusal import Refusal
from stages.formats import batches as records
from stages.formats.batches import Batch, TrainingData, held_out
from stages.formats.decoding import FEATURES, Chunk, chunks, joined
from stages.formats.encoding import encoded
from stages.formats.examples import Examples

SEQUENCE, PREDICTIONS = 16, 3
ROOT = Path(__file__).resolve().parents[2]


def examples(numbers: Iterable[int]) -> Examples:
    """`[CLS] A [SEP] B [SEP]` of 10 tokens, told apart by their first: id 100 + number. Position 2 or 3 is masked."""
    count = len(numbers := list(numbers))
    ids = np.zeros((count, SEQUENCE), np.int32)
    ids[:, :10] = [2, 0, 20_000, 9, 3, 8, 9, 130, 9, 3]
    ids[:, 1] = 100 + np.array(numbers, int)
    starts = np.zeros((count, SEQUENCE), bool)
    starts[:, :10] = True
    positions, labels = np.zeros((2, count, PREDICTIONS), np.int32)
    positions[:, 0] = 2 + np.arange(count) % 2
    labels[:, 0] = ids[np.arange(count), positions[:, 0]]
    ids[np.arange(count), positions[:, 0]] = 4
    shapes = np.array([[10, 4, 1, number % 2] for number in numbers], np.int32).reshape(count, 4)
    return Examples(ids, starts, shapes, positions, labels)


def payload(made: Examples) -> bytes:
    return b"".join(piece.tobytes() for piece in encoded([made]))


def frame(record: bytes) -> bytes:
    def checksum(data: bytes) -> bytes:
        crc = int(google_crc32c.value(data))
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(record))
    return length + checksum(length) + record + checksum(record)


def file_of(path: Path, data: bytes) -> str:
    path.write_bytes(gzip.compress(data, 1))
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of different lengths, one of them empty; 90 examples in all."""
    folder = tmp_path_factory.mktemp("records")
    ends = [0, 20, 20, 37, 60, 61, 90]
    return [
        file_of(folder / f"{begin}-{end}.tfrecord.gz", payload(examples(range(begin, end))))
        for begin, end in itertools.pairwise(ends)
    ]


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that groups and pools end in the middle of batches."""
    monkeypatch.setattr(records, "FILES", 2)
    monkeypatch.setattr(records, "POOL", 16)
    monkeypatch.setattr(chunks, "__defaults__", (False, 7, 2**31))


def stream(files: list[str], count: int, position: Any = None, **more: Any) -> list[tuple[Chunk, Any]]:
    """The first `count` batches of 8."""
    data = TrainingData(files, SEQUENCE, PREDICTIONS, 8, more.pop("seed", 1), **more)
    try:
        return list(itertools.islice(data.batches(position), count))
    finally:
        data.close()


def equal(ours: Any, theirs: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def same(ours: Iterable[tuple[Chunk, Any]], theirs: Iterable[tuple[Chunk, Any]]) -> bool:
    return all(
        at == other and equal(batch, expected) for (batch, at), (expected, other) in zip(ours, theirs, strict=True)
    )


def numbers(batch: Batch | Chunk) -> list[int]:
    found: list[int] = (batch.ids[:, 1] - 100).tolist()
    return found


def test_batches_are_what_was_written(files: list[str]) -> None:
    expected = examples(range(20))
    (batch,) = held_out(files[:1], SEQUENCE, PREDICTIONS, 20, 9)
    assert {name: (array.dtype.name, array.shape) for name, array in batch._asdict().items()} == {
        "ids": ("int32", (20, 16)), "mask": ("uint8", (20, 16)), "segments": ("uint8", (20, 16)),
        "positions": ("int32", (20, 3)), "labels": ("int32", (20, 3)), "weights": ("float32", (20, 3)),
        "swapped": ("int32", (20,)),
    }  # fmt: skip
    assert (batch.ids == expected.ids).all()
    assert (batch.mask == (np.arange(SEQUENCE) < 10)).all()
    assert (batch.segments == ((np.arange(SEQUENCE) > 4) & (np.arange(SEQUENCE) < 10))).all()
    assert (batch.positions == expected.positions).all()
    assert (batch.labels == expected.labels).all()
    assert (batch.weights == [1, 0, 0]).all()
    assert (batch.swapped == expected.shapes[:, 3]).all()


def test_held_out_examples_come_in_order_and_the_last_batch_is_smaller(files: list[str]) -> None:
    found = list(held_out(files, SEQUENCE, PREDICTIONS, 32, 9))
    assert [len(batch.ids) for batch in found] == [32, 32, 26]
    assert [number for batch in found for number in numbers(batch)] == list(range(90))
    assert [len(batch.ids) for batch in held_out(files, SEQUENCE, PREDICTIONS, 32, 2)] == [32, 32]


def test_each_epoch_has_each_example_once_in_an_order_of_its_own(files: list[str]) -> None:
    found = [number for batch, _ in stream(files, 45) for number in numbers(batch)]
    epochs = [found[first : first + 90] for first in range(0, 360, 90)]
    assert all(sorted(epoch) == list(range(90)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    assert sum(abs(one - two) == 1 for one, two in itertools.pairwise(epochs[0])) < 20, "not as in the files"
    assert numbers(stream(files, 1, seed=2)[0][0]) != found[:8]


def test_an_equal_stream_goes_on_from_the_position_behind_every_batch(files: list[str]) -> None:
    whole = stream(files, 30)
    for done in range(28):
        position = json.loads(json.dumps(whole[done][1]))
        assert same(stream(files, 2, position), whole[done + 1 : done + 3])


def test_going_on_reads_one_group_and_no_other(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def spied(path: str, *rest: Any, **more: Any) -> Any:
        opened.append(path)
        return chunks(path, *rest, **more)

    whole = stream(files, 20)
    monkeypatch.setattr(records, "chunks", spied)
    monkeypatch.setattr(records, "AHEAD", 1)
    at = whole[9][1]
    data = TrainingData(files, SEQUENCE, PREDICTIONS, 1, 1)
    next(data._batches(at))
    data.close()
    assert len(opened) == 2


@pytest.mark.parametrize("readers", [1, 5])
def test_the_number_of_readers_changes_nothing(files: list[str], readers: int) -> None:
    assert same(stream(files, 30, readers=readers), stream(files, 30, readers=2))


@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_make_the_whole(files: list[str], processes: int) -> None:
    parts = [stream(files, 14, part=(rank, processes)) for rank in range(processes)]
    together: list[Any] = [
        ([np.concatenate(arrays) for arrays in zip(*(batch for batch, _ in pieces), strict=True)], pieces[0][1])
        for pieces in zip(*parts, strict=True)
    ]
    assert same(together, stream(files, 14))


def test_batches_have_memory_of_their_own(files: list[str]) -> None:
    found = stream(files, 20)
    copies: list[Any] = [([array.copy() for array in batch], at) for batch, at in found]
    for batch, _ in found[::2]:
        batch.ids[:] = 0
    assert same(found[1::2], copies[1::2])


def test_a_program_ends_though_nobody_has_closed_the_data(files: list[str]) -> None:
    program = (
        "import sys; from stages.formats.batches import TrainingData\n"
        f"next(TrainingData(sys.argv[1:], {SEQUENCE}, {PREDICTIONS}, 8, 1).batches())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *files], cwd=ROOT, timeout=30, capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---- Other encodings ----


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


UNKNOWN = [
    b"",
    varint(15 << 3) + varint(7),
    field(14, b"?"),
    varint(13 << 3 | 5) + b"1234",
    varint(12 << 3 | 1) + b"12345678",
]


def any_encoding(features: dict[str, list[Any]], draw: random.Random) -> bytes:
    """A record of the features: packed, one by one or both, in any order, with unknown fields and features between."""
    entries = []
    for name, values in features.items():
        tag, pack = (2, lambda v: struct.pack("<f", v)) if name.endswith("weights") else (3, varint)
        single = b"\x0d" if tag == 2 else b"\x08"
        content = b""
        while values:
            here, values = values[: (some := draw.randint(1, len(values)))], values[some:]
            packed = draw.random() < 0.5
            content += field(1, b"".join(map(pack, here))) if packed else b"".join(single + pack(v) for v in here)
            content += draw.choice(UNKNOWN)
        key, value = field(1, name.encode()), field(2, draw.choice(UNKNOWN) + field(tag, content))
        entries.append(field(1, key + value if draw.random() < 0.5 else value + draw.choice(UNKNOWN) + key))
    entries += [field(1, field(1, b"other") + field(2, field(1, field(1, b"\xff\x00")))), draw.choice(UNKNOWN)]
    draw.shuffle(entries)
    cut = draw.randint(0, len(entries))
    halves = [field(1, b"".join(part)) for part in (entries[:cut], entries[cut:])]
    return draw.choice(UNKNOWN).join(halves)


def features_of(chunk: Chunk, row: int) -> dict[str, list[Any]]:
    arrays: Any = chunk
    return {name: array[row].reshape(-1).tolist() for name, array in zip(FEATURES, arrays, strict=True)}


@settings(max_examples=80)
@given(st.integers(0, 2**32))
def test_every_encoding_that_the_format_allows_is_read(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    draw = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "encodings.tfrecord.gz"
    expected = joined(
        list(chunks(file_of(path, payload(examples(range(draw.randint(1, 9))))), SEQUENCE, PREDICTIONS, True))
    )
    data = b"".join(frame(any_encoding(features_of(expected, row), draw)) for row in range(len(expected.ids)))
    # gzip files of several members are gzip files.
    cut = draw.randint(0, len(data))
    path.write_bytes(gzip.compress(data[:cut], 1) + gzip.compress(data[cut:], 9))
    found = joined(list(chunks(str(path), SEQUENCE, PREDICTIONS, True)))
    assert equal(found, expected)


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_records_may_end_anywhere_in_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = file_of(tmp_path / "a.tfrecord.gz", payload(examples(range(40))))
    monkeypatch.setattr("stages.formats.decoding._COMPRESSED", size)
    monkeypatch.setattr("stages.formats.decoding._UNPACKED", 333)
    found = joined(list(chunks(path, SEQUENCE, PREDICTIONS)))
    assert (found.ids == examples(range(40)).ids).all()


# ---- Damage ----


def refused(path: str, **more: Any) -> str:
    with pytest.raises(Refusal) as error:
        list(chunks(path, SEQUENCE, PREDICTIONS, **more))
    assert path in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def broken(change: dict[str, list[Any] | None]) -> bytes:
    """Two records, of which the second has other features."""
    ids = [2, 100, 4, 9, 3, 8, 9, 130, 9, 3, 0, 0, 0, 0, 0, 0]
    whole: dict[str, Any] = {
        "input_ids": ids, "input_mask": [1] * 10 + [0] * 6, "segment_ids": [0] * 5 + [1] * 5 + [0] * 6,
        "token_boundary": [1] * 10 + [0] * 6, "masked_lm_positions": [2, 0, 0], "masked_lm_ids": [9, 0, 0],
        "masked_lm_weights": [1.0, 0.0, 0.0], "next_sentence_labels": [0],
    }  # fmt: skip
    other = {name: values for name, values in {**whole, **change}.items() if values is not None}
    return b"".join(frame(any_encoding(features, random.Random(1))) for features in (whole, other))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input_ids": [2] * 15}, "record 2 has other than 16 numbers in input_ids"),
    ({"input_ids": [2] * 17}, "record 2 has other than 16 numbers in input_ids"),
    ({"input_mask": None}, "record 2 has other than 16 numbers in input_mask"),
    ({"next_sentence_labels": None}, "record 2 has other than 1 numbers in next_sentence_labels"),
    ({"masked_lm_weights": [1.0]}, "record 2 has other than 3 numbers in masked_lm_weights"),
    ({"input_ids": [2] * 15 + [500]}, "record 2 has a number out of range in input_ids"),
    ({"input_ids": [2] * 15 + [-1]}, "record 2 has a number out of range in input_ids"),
    ({"masked_lm_ids": [500, 0, 0]}, "record 2 has a number out of range in masked_lm_ids"),
    ({"masked_lm_positions": [16, 0, 0]}, "record 2 has a number out of range in masked_lm_positions"),
    ({"input_mask": [2] * 16}, "record 2 has a number out of range in input_mask"),
    ({"next_sentence_labels": [2]}, "record 2 has a number out of range in next_sentence_labels"),
    ({"masked_lm_weights": [float("nan"), 0.0, 0.0]}, "record 2 has a number out of range in masked_lm_weights"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_examples_of_other_lengths_and_ids_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in refused(file_of(tmp_path / "a.tfrecord.gz", broken(change)), entries=500)


def test_word_starts_and_pairs_are_asked_for_only_where_masking_needs_them(tmp_path: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"token_boundary": None}, "token_boundary"),
        ({"segment_ids": [0] * 16}, "no pair of texts"),
        ({"segment_ids": [0, 0] + [1] * 8 + [0] * 6}, "no pair of texts"),
        ({"input_mask": [1] * 9 + [0, 1] + [0] * 5}, "no pair of texts"),
    ]
    for change, said in changes:
        path = file_of(tmp_path / "a.tfrecord.gz", broken(change))
        assert sum(len(chunk.ids) for chunk in chunks(path, SEQUENCE, PREDICTIONS)) == 2
        assert said in refused(path, starts=True)


@pytest.mark.parametrize(
    "record", [b"", b"\x0a", b"\x0a\x7f", field(1, field(1, field(1, b"input_ids"))), b"\xff" * 40]
)
def test_what_is_no_example_is_refused(tmp_path: Path, record: bytes) -> None:
    assert "record 1 " in refused(file_of(tmp_path / "a.tfrecord.gz", frame(record)))


def test_every_flipped_bit_and_every_cut_is_refused(tmp_path: Path) -> None:
    data = payload(examples(range(3)))
    size = len(data) // 3
    path = tmp_path / "a.tfrecord.gz"
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        assert f"record {at // size + 1} " in refused(file_of(path, bytes(damaged)))
    for end in range(1, len(data)):
        if end % size:
            assert f"ends within its record {end // size + 1};" in refused(file_of(path, data[:end]))


def test_gzip_that_is_cut_off_damaged_or_followed_by_something_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord.gz"
    whole = gzip.compress(payload(examples(range(30))), 1)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert "cut off" in refused(str(path))
    for junk in (b"\0", b"junk", b"\x1f\x8b", b"\0" * 512):
        path.write_bytes(whole + junk)
        refused(str(path))
    for at in range(len(whole) - 8, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert "damaged" in refused(str(path))
    assert "no gzip file" in refused(file_of(tmp_path / "b", b"") and str(Path(__file__)))
    assert "cannot read" in refused(str(tmp_path / "none"))


def test_random_bytes_in_whole_frames_never_lead_beyond_a_record(tmp_path: Path) -> None:
    draw = random.Random(1)
    record = bytearray(any_encoding({}, draw) + payload(examples([1]))[12:-4])
    told: list[str] = []
    for _ in range(1500):
        damaged = bytearray(record)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
        path = file_of(tmp_path / "a.tfrecord.gz", frame(bytes(damaged)))
        try:
            found = list(chunks(path, SEQUENCE, PREDICTIONS, True))
        except Refusal as refusal:
            told.append(str(refusal))
        else:
            assert len(joined(found).ids) == 1
    assert all("record 1 " in one for one in told)
    assert len(told) > 500


def test_training_stops_with_the_name_of_a_damaged_file(files: list[str], tmp_path: Path) -> None:
    path = tmp_path / "z.tfrecord.gz"
    path.write_bytes(Path(files[0]).read_bytes()[:-1])
    with pytest.raises(Refusal, match=r"z\.tfrecord\.gz is cut off"):
        stream([*files, str(path)], 20)


def test_files_without_an_example_are_no_endless_search(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no examples"):
        stream([file_of(tmp_path / "a.tfrecord.gz", b"")], 1)


def test_tensorflow_writes_what_is_read(tmp_path: Path) -> None:
    python = ROOT / ".venv" / "tpu-train" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv/tpu-train")
    path = tmp_path / "a.tfrecord.gz"
    expected = joined(list(chunks(file_of(path, payload(examples(range(9)))), SEQUENCE, PREDICTIONS, True)))
    given_features = tmp_path / "features.json"
    given_features.write_text(json.dumps([features_of(expected, row) for row in range(9)]), encoding="utf-8")
    program = """
import json, sys
import tensorflow.compat.v1 as tf
options = tf.io.TFRecordOptions(compression_type="GZIP")
with tf.io.TFRecordWriter(sys.argv[2], options) as writer:
    for features in json.load(open(sys.argv[1])):
        example = tf.train.Example()
        for name, values in features.items():
            feature = example.features.feature[name]
            (feature.float_list if name.endswith("weights") else feature.int64_list).value.extend(values)
        writer.write(example.SerializeToString())
"""
    written = tmp_path / "tensorflow.tfrecord.gz"
    subprocess.run([str(python), "-c", program, given_features, written], check=True, capture_output=True, timeout=60)
    found = joined(list(chunks(str(written), SEQUENCE, PREDICTIONS, True)))
    assert equal(found, expected)
