"""The same examples masked anew each epoch: by tfrecords' own rules, equally from any position and in any part."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import SFC64

from stages.formats.batches import DynamicMasking, TrainingData, held_out
from stages.formats.decoding import Chunk, chunks, joined
from stages.formats.encoding import encoded
from stages.formats.examples import Masking, Tokens, budget, plan

SEQUENCE, PREDICTIONS, NGRAM, SHARE, MASK = 64, 6, 3, 0.15, 4
ENTRIES = {e: n for n, e in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(0x4E00, 0x5000))])}


def write(path: Path, unmasked: bool) -> str:
    """One copy of 40 documents, as tfrecords writes it, masked or not."""
    random = np.random.default_rng(1)
    sentences = np.cumsum([0, *random.integers(5, 40, 200)]).astype(np.int64)
    size = int(sentences[-1])
    tokens = Tokens(
        random.integers(5, len(ENTRIES), size).astype(np.int32),
        random.random(size) < 0.6,
        sentences,
        np.arange(0, 201, 5),
    )
    masking = Masking(ENTRIES, SEQUENCE, PREDICTIONS, SHARE, NGRAM, unmasked)
    instances = plan(SFC64(1), tokens, 1, SEQUENCE - 3, 0.1)
    path.write_bytes(
        gzip.compress(b"".join(p.tobytes() for p in encoded(masking.examples(SFC64(2), tokens, instances))))
    )
    return str(path)


@pytest.fixture(scope="module")
def masked_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("masked") / "a.tfrecord.gz", unmasked=False)


@pytest.fixture(scope="module")
def unmasked_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("unmasked") / "a.tfrecord.gz", unmasked=True)


def whole(path: str) -> Chunk:
    return joined(list(chunks(path, SEQUENCE, PREDICTIONS, True)))


def anew(seed: int = 1) -> DynamicMasking:
    return DynamicMasking(ENTRIES, SEQUENCE, PREDICTIONS, SHARE, NGRAM, seed)


def stream(path: str, count: int, position: Any = None, **more: Any) -> list[tuple[Chunk, Any]]:
    data = TrainingData([path], SEQUENCE, PREDICTIONS, 16, 1, masking=anew(), **more)
    try:
        return list(itertools.islice(data.batches(position), count))
    finally:
        data.close()


def equal(ours: Any, theirs: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def put_back(batch: Any) -> np.ndarray:
    """The ids before masking."""
    ids: np.ndarray = batch.ids.copy()
    rows, slots = np.nonzero(batch.weights)
    ids[rows, batch.positions[rows, slots]] = batch.labels[rows, slots]
    return ids


def test_records_without_masks_hold_the_text_of_those_with(masked_file: str, unmasked_file: str) -> None:
    masked, plain = whole(masked_file), whole(unmasked_file)
    assert not plain.weights.any()
    assert not plain.positions.any()
    assert not plain.labels.any()
    assert not (plain.ids == MASK).any()
    assert (masked.ids == MASK).any()
    assert (put_back(masked) == plain.ids).all()
    assert (masked.starts == plain.starts).all()


def test_both_are_masked_alike(masked_file: str, unmasked_file: str) -> None:
    one, other = anew()(whole(masked_file), 7), anew()(whole(unmasked_file), 7)
    assert equal(one, other)
    assert (put_back(one) == whole(unmasked_file).ids).all()


def test_the_budget_is_met_by_whole_words_and_specials_are_left(unmasked_file: str) -> None:
    plain = whole(unmasked_file)
    found = anew()(plain, 1)
    for row in range(len(found.ids)):
        length = int(found.mask[row].sum())
        used = int(found.weights[row].sum())
        positions = found.positions[row, :used]
        assert used == budget(length, PREDICTIONS, SHARE)
        assert (found.weights[row] == (np.arange(PREDICTIONS) < used)).all()
        assert not found.positions[row, used:].any()
        assert (np.diff(positions) > 0).all()
        assert not np.isin(plain.ids[row, positions], range(5)).any()
        assert (found.ids[row] != plain.ids[row]).sum() <= used
        # A part's first token begins a word, wherever truncation has cut.
        starts = plain.starts[row].copy()
        starts[[1, int(plain.segments[row].argmax())]] = 1
        word = np.cumsum(starts)
        masked = np.isin(np.arange(SEQUENCE), positions)
        for number in np.unique(word[positions]):
            inside = (word == number) & (np.arange(SEQUENCE) < length)
            assert masked[inside].all(), "whole words"


def test_four_in_five_become_mask_one_in_ten_stays(unmasked_file: str) -> None:
    plain, masking = whole(unmasked_file), anew()
    kinds = np.zeros(3)
    for time in range(60):
        found = masking(plain, time)
        rows, slots = np.nonzero(found.weights)
        new, old = found.ids[rows, found.positions[rows, slots]], found.labels[rows, slots]
        assert (new[new != MASK] >= 5).all(), "replaced by ordinary entries"
        kinds += [(new == MASK).sum(), (new == old).sum(), ((new != MASK) & (new != old)).sum()]
    total = kinds.sum()
    # Five standard deviations.
    for share, count in zip((0.8, 0.1, 0.1), kinds, strict=True):
        assert abs(count / total - share) < 5 * np.sqrt(share * (1 - share) / total)


def test_every_epoch_masks_other_tokens_of_the_same_text(masked_file: str) -> None:
    epoch = len(whole(masked_file).ids)
    count = 4 * (epoch // 16) + 4
    rows: dict[bytes, list[bytes]] = {}
    for batch, _ in stream(masked_file, count):
        for text, masked in zip(put_back(batch), batch.positions, strict=True):
            rows.setdefault(text.tobytes(), []).append(masked.tobytes())
    assert len(rows) == epoch
    often = [len(set(masks)) for masks in rows.values() if len(masks) == 4]
    assert np.mean(often) > 3.5


def test_the_stream_is_the_same_from_any_position_with_any_readers_and_in_parts(masked_file: str) -> None:
    expected = stream(masked_file, 40, readers=1)
    for done in range(0, 36, 5):
        position = json.loads(json.dumps(expected[done][1]))
        for (batch, at), (wanted, there) in zip(stream(masked_file, 3, position), expected[done + 1 :], strict=False):
            assert at == there
            assert equal(batch, wanted)
    parts = [stream(masked_file, 40, part=(rank, 2), readers=3) for rank in (0, 1)]
    for (wanted, _), *pieces in zip(expected, *parts, strict=True):
        joined_up: Any = [np.concatenate(arrays) for arrays in zip(*(piece for piece, _ in pieces), strict=True)]
        assert equal(joined_up, wanted)


def test_held_out_examples_are_masked_alike_at_every_evaluation(unmasked_file: str) -> None:
    first, again = (list(held_out([unmasked_file], SEQUENCE, PREDICTIONS, 16, 9, anew())) for _ in range(2))
    assert all(equal(one, other) for one, other in zip(first, again, strict=True))
    assert all(batch.weights[:, 0].all() for batch in first)
