"""The tfrecords command: every invariant of its examples, the same bytes every time, what it refuses."""

import gzip
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.formats.decoding import chunks
from stages.words.japanese_subwords import read_vocabulary

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("wordpiece_tinysegmenter", "character")
LENGTH, PREDICTIONS, COPIES = 64, 20, 3
PAD, UNK, CLS, SEP, MASK = range(5)
SIZES = ("--seq-length", LENGTH, "--dupe-factor", COPIES)


@pytest.fixture(scope="module")
def tfrecords(run_stage: Any, corpus: Path, vocab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tfrecords") / "out"
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", out, *SIZES, "--jobs", 2)
    return out


def records(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as stream:
        while header := stream.read(12):
            (length,) = struct.unpack_from("<Q", header)
            yield stream.read(length)
            assert len(stream.read(4)) == 4


@pytest.fixture(scope="module", params=MODELS)
def examples(request: Any, tfrecords: Path, example_class: Any) -> tuple[str, dict[str, np.ndarray]]:
    """The model's name, and each feature of all of its examples as one array."""
    features: dict[str, list[Any]] = {}
    for path in sorted((tfrecords / request.param).glob("pretrain_*.tfrecord.gz")):
        for record in records(path):
            for name, feature in example_class.FromString(record).features.feature.items():
                features.setdefault(name, []).append(list(feature.int64_list.value or feature.float_list.value))
    return request.param, {name: np.array(values) for name, values in features.items()}


def original(examples: dict[str, np.ndarray]) -> np.ndarray:
    """The ids before masking: the labels put back."""
    ids = examples["input_ids"].copy()
    rows, slots = np.nonzero(examples["masked_lm_weights"])
    ids[rows, examples["masked_lm_positions"][rows, slots]] = examples["masked_lm_ids"][rows, slots]
    return ids


def test_shapes_and_padding(examples: Any) -> None:
    _, found = examples
    shapes = {name: values.shape[1] for name, values in found.items()}
    sequence = dict.fromkeys(("input_ids", "input_mask", "segment_ids", "token_boundary"), LENGTH)
    slots = dict.fromkeys(("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"), PREDICTIONS)
    assert shapes == {**sequence, **slots, "next_sentence_labels": 1}
    lengths = found["input_mask"].sum(1)
    inside = np.arange(LENGTH) < lengths[:, None]
    assert (found["input_mask"] == inside).all(), "ones, then zeros"
    for name in sequence:
        assert not found[name][~inside].any()
    unused = found["masked_lm_weights"] == 0
    assert not found["masked_lm_positions"][unused].any()
    assert not found["masked_lm_ids"][unused].any()


def test_specials_and_segments(examples: Any) -> None:
    _, found = examples
    ids = original(found)
    lengths = found["input_mask"].sum(1)
    rows = np.arange(len(ids))
    assert (ids[:, 0] == CLS).all()
    assert (ids[rows, lengths - 1] == SEP).all()
    assert ((ids == SEP).sum(1) == 2).all()
    first = (ids == SEP).argmax(1)
    place = np.arange(LENGTH)
    assert (found["segment_ids"] == ((place > first[:, None]) & (place < lengths[:, None]))).all()
    assert (first > 1).all()
    assert (lengths - 1 > first + 1).all()
    assert found["token_boundary"][rows, first].all()


def test_masked_positions(examples: Any) -> None:
    _, found = examples
    lengths = found["input_mask"].sum(1)
    budgets = [min(PREDICTIONS, max(1, round(0.15 * int(length)))) for length in lengths]
    assert found["masked_lm_weights"].sum(1).tolist() == budgets, "exactly the budget, in every example"
    for positions, weights in zip(found["masked_lm_positions"], found["masked_lm_weights"], strict=True):
        used = positions[weights == 1]
        assert (np.diff(used) > 0).all(), "in order, none twice"
        assert weights.tolist() == sorted(weights, reverse=True)
    rows, slots = np.nonzero(found["masked_lm_weights"])
    now = found["input_ids"][rows, found["masked_lm_positions"][rows, slots]]
    labels = found["masked_lm_ids"][rows, slots]
    assert not np.isin(labels, [PAD, CLS, SEP]).any(), "specials are never masked"
    shares = np.array([(now == MASK).mean(), (now == labels).mean(), ((now != MASK) & (now != labels)).mean()])
    assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 0.02
    elsewhere = found["input_ids"].copy()
    elsewhere[rows, found["masked_lm_positions"][rows, slots]] = PAD
    assert not (elsewhere == MASK).any()
    random = now[(now != MASK) & (now != labels)]
    assert random.min() >= 15, "a random token is neither special nor unused"


def test_whole_words_are_masked(examples: Any) -> None:
    _, found = examples
    masked = np.zeros(found["input_ids"].shape, bool)
    rows, slots = np.nonzero(found["masked_lm_weights"])
    masked[rows, found["masked_lm_positions"][rows, slots]] = True
    ids = original(found)
    inside = (found["token_boundary"] == 0) & (found["input_mask"] == 1)
    # A token that begins no word has its neighbour's fate, unless that neighbour is a special token.
    rows, places = np.nonzero(inside)
    after_special = np.isin(ids[rows, places - 1], [CLS, SEP])
    assert (masked[rows, places] == masked[rows, places - 1])[~after_special].all()
    assert (~after_special).sum() > 1000


def test_text_is_intact(examples: Any, vocab: Path, corpus: Path) -> None:
    model, found = examples
    entries = list(read_vocabulary(str(vocab / model / "vocab.txt")))
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(corpus.glob("corpus_*.txt")))
    characters = {line.replace(" ", ""): None for line in text.splitlines()}
    joined = "".join(characters)
    checked = 0
    for ids, mask in zip(original(found)[:1000], found["input_mask"], strict=False):
        body = ids[mask == 1]
        if UNK in body:
            continue
        cut = int((body == SEP).argmax())
        for part in (body[1:cut], body[cut + 1 : -1]):
            said = "".join(entries[number].removeprefix("##") for number in part)
            assert said in joined, "A and B are text of the corpus, sentence after sentence"
            checked += 1
    assert checked > 50


def test_labels_are_balanced(examples: Any) -> None:
    _, found = examples
    labels = found["next_sentence_labels"][:, 0]
    assert set(labels) == {0, 1}
    # Pairs are swapped by half; single sentences, which always count as swapped, are common at this length.
    assert 0.45 < labels.mean() < 0.75


def test_the_character_model_knows_its_characters(examples: Any) -> None:
    model, found = examples
    if model == "character":
        assert (original(found) == UNK).sum() / found["input_mask"].sum() < 0.05


def test_manifests_count_what_is_there(tfrecords: Path, examples: Any, vocab: Path) -> None:
    model, found = examples
    manifest = json.loads((tfrecords / model / "manifest.json").read_text())
    counts = manifest["counts"]
    assert counts["examples"] == len(found["input_ids"]) == sum(f["examples"] for f in manifest["files"].values())
    assert counts["swapped"] == found["next_sentence_labels"].sum()
    assert counts["tokens"] == found["input_mask"].sum()
    assert counts["masked_tokens"] == found["masked_lm_weights"].sum()
    assert counts["short_of_budget"] == 0
    assert counts["unknown_tokens"] == (original(found) == UNK).sum()
    assert manifest["vocabulary"]["size"] == len(read_vocabulary(str(vocab / model / "vocab.txt")))
    assert sorted(manifest["files"]) == sorted(p.name for p in (tfrecords / model).iterdir() if p.suffix == ".gz")
    assert [p.name for p in (tfrecords / model).iterdir() if p.name.startswith(".")] == []


def test_the_same_bytes_at_any_number_of_jobs(
    run_stage: Any, corpus: Path, vocab: Path, tfrecords: Path, tmp_path: Path
) -> None:
    run_stage(
        "tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", tmp_path / "one", *SIZES, "--jobs", 1,
        "--model", "wordpiece",
    )  # fmt: skip
    assert not (tmp_path / "one/character").exists()
    for path in (tmp_path / "one" / MODELS[0]).iterdir():
        assert path.read_bytes() == (tfrecords / MODELS[0] / path.name).read_bytes(), path.name


def test_a_shard_of_several_blocks(run_stage: Any, vocab: Path, tmp_path: Path, example_class: Any) -> None:
    # 2.4 million characters: two blocks, and one that is less than half full. Each article is one example.
    articles, filling = 24_000, "これは東京の文章である。" * 4
    with open(tmp_path / "dump.txt", "w", encoding="utf-8") as stream:
        for number in range(articles):
            stream.write(f"第{number}番である、{filling}\n{filling}\n\n")
    run_stage("corpus", "--dump", tmp_path / "dump.txt", "--out", tmp_path / "corpus", "--shards", 1)
    run_stage(
        "tfrecords", "--corpus", tmp_path / "corpus", "--vocab", vocab, "--out", tmp_path / "out",
        "--model", "character", "--seq-length", 128, "--dupe-factor", 1, "--short-seq-prob", 0,
    )  # fmt: skip
    entries = np.array(list(read_vocabulary(str(vocab / "character/vocab.txt"))))
    seen = []
    for record in records(tmp_path / "out/character/pretrain_00000.tfrecord.gz"):
        features = example_class.FromString(record).features.feature
        ids = np.array(features["input_ids"].int64_list.value)
        weights = np.array(features["masked_lm_weights"].float_list.value) == 1
        ids[np.array(features["masked_lm_positions"].int64_list.value)[weights]] = np.array(
            features["masked_lm_ids"].int64_list.value
        )[weights]
        (number,) = re.findall(r"第(\d+)番", "".join(entries[ids]))
        seen.append(int(number))
    assert sorted(seen) == list(range(articles)), "every article of every block, once"
    assert max(seen[:1000]) > 5000, "shuffled within the block"


def test_a_killed_run_resumes(run_stage: Any, corpus: Path, vocab: Path, tfrecords: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(tfrecords, out)
    first, second = (out / MODELS[1] / f"pretrain_0000{n}.tfrecord.gz" for n in (0, 1))
    manifest = json.loads((out / MODELS[1] / "manifest.json").read_text())
    # The state in which a kill leaves the folder: one shard whole, one half-written, no manifest.
    identity = {key: manifest[key] for key in ("stage", "version", "options", "inputs")}
    (out / MODELS[1] / "run.json").write_text(json.dumps(identity))
    (out / MODELS[1] / "manifest.json").unlink()
    (out / MODELS[1] / f".{first.name}.json").write_text(json.dumps(manifest["files"][first.name]))
    second.rename(second.parent / f".{second.name}.partial")
    before = first.stat().st_mtime_ns
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", out, *SIZES)
    assert first.stat().st_mtime_ns == before, "finished shards are not made again"
    assert sorted(p.name for p in (out / MODELS[1]).iterdir()) == sorted(
        p.name for p in (tfrecords / MODELS[1]).iterdir()
    )
    for path in (out / MODELS[1]).iterdir():
        assert path.read_bytes() == (tfrecords / MODELS[1] / path.name).read_bytes()


def test_kill_at_any_moment(corpus: Path, vocab: Path, tfrecords: Path, tmp_path: Path, run_stage: Any) -> None:
    out = tmp_path / "out"
    python = ROOT / ".venv/tfrecords/bin/python"
    command = [python, "-m", "stages.tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", out, *SIZES]
    with subprocess.Popen([*map(str, command)], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("*/*.gz")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", out, *SIZES)
    for path in out.glob("*/*"):
        assert path.read_bytes() == (tfrecords / path.parent.name / path.name).read_bytes()


def test_tensorflow_reads_every_file(tfrecords: Path) -> None:
    python = ROOT / ".venv/tpu-train/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    program = (
        "import sys, tensorflow as tf\n"
        "tf.compat.v1.enable_eager_execution()\n"
        "L, P = 64, 20\n"
        "spec = {n: tf.io.FixedLenFeature([s], tf.float32 if 'weights' in n else tf.int64) for n, s in dict(\n"
        "    input_ids=L, input_mask=L, segment_ids=L, token_boundary=L, masked_lm_positions=P, masked_lm_ids=P,\n"
        "    masked_lm_weights=P, next_sentence_labels=1).items()}\n"
        "read = 0\n"
        "for record in tf.data.TFRecordDataset(sys.argv[1:], compression_type='GZIP'):\n"
        "    tf.io.parse_single_example(record, spec); read += 1\n"
        "print(read)"
    )
    files = sorted(map(str, tfrecords.glob("*/*.tfrecord.gz")))
    done = subprocess.run(
        [python, "-W", "ignore", "-c", program, *files], capture_output=True, encoding="utf-8", check=True
    )
    counts = [json.loads((tfrecords / model / "manifest.json").read_text())["counts"]["examples"] for model in MODELS]
    assert int(done.stdout) == sum(counts)


def test_another_run_is_refused(run_stage: Any, corpus: Path, vocab: Path, tfrecords: Path) -> None:
    arguments = ("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", tfrecords)
    assert "finished already" in run_stage(*arguments, *SIZES).stderr
    done = run_stage(*arguments, "--seq-length", LENGTH, "--dupe-factor", 5, code=2)
    assert "options.dupe_factor was 3 and is now 5" in done.stderr


def test_unmasked_records_hold_the_text_unchanged(
    run_stage: Any, corpus: Path, vocab: Path, tfrecords: Path, tmp_path: Path
) -> None:
    arguments = ("--vocab", vocab, "--out", tmp_path / "t", *SIZES, "--unmasked", "--model", "character")
    run_stage("tfrecords", "--corpus", corpus, *arguments)
    manifest, masked = (
        json.loads((folder / "character" / "manifest.json").read_text()) for folder in (tmp_path / "t", tfrecords)
    )
    assert manifest["options"] == {**masked["options"], "unmasked": True}
    assert "unmasked" not in masked["options"], "as in folders from before there was the option"
    assert manifest["counts"]["masked_tokens"] == manifest["counts"]["short_of_budget"] == 0
    assert {**masked["counts"], "masked_tokens": 0, "ngrams": {"1": 0, "2": 0, "3": 0}} == manifest["counts"]
    (found,) = chunks(str(tmp_path / "t/character/pretrain_00000.tfrecord.gz"), LENGTH, PREDICTIONS, True, 10**5)
    assert not (found.ids == MASK).any()
    assert not found.weights.any()
    assert found.starts.any(1).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seq-length", 4), "--seq-length: 4 is no whole number from 8 to 65536"),
        (("--dupe-factor", 0), "--dupe-factor: 0 is no whole number from 1 to 1000000"),
        (("--seq-length", 16, "--max-predictions", 20), "--max-predictions must be from 1 to 13"),
        (("--model", "bytes"), "invalid choice"),
    ],
)
def test_invalid_options_are_refused(
    run_stage: Any, corpus: Path, vocab: Path, tmp_path: Path, arguments: Any, said: str
) -> None:
    done = run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", tmp_path / "t", *arguments, code=2)
    assert said in done.stderr
    assert not (tmp_path / "t").exists()


def test_missing_and_invalid_inputs_are_refused(run_stage: Any, corpus: Path, vocab: Path, tmp_path: Path) -> None:
    def refusal(corpus: Path, vocab: Path) -> str:
        return str(run_stage("tfrecords", "--corpus", corpus, "--vocab", vocab, "--out", tmp_path / "t", code=2).stderr)

    assert "make corpus" in refusal(tmp_path / "nothing", vocab)
    assert "make vocab" in refusal(corpus, tmp_path / "nothing")
    changed = tmp_path / "vocab"
    shutil.copytree(vocab, changed)
    path = changed / "character/vocab.txt"
    path.write_text(path.read_text(encoding="utf-8") + "龘\n", encoding="utf-8")
    assert "is not what make vocab wrote" in refusal(corpus, changed)
    (changed / "manifest.json").unlink()
    path.write_text("[PAD]\n[UNK]\n", encoding="utf-8")
    assert "has no [CLS] [SEP] [MASK]" in refusal(corpus, changed)
    path.write_bytes(path.read_bytes() + b"\xff\n")
    assert "line 3: not UTF-8" in refusal(corpus, changed)
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n<unused0>\n", encoding="utf-8")
    assert "has special entries only" in refusal(corpus, changed)


def test_the_published_vocabularies_are_accepted(
    run_stage: Any, corpus: Path, shared_data: Path, tmp_path: Path
) -> None:
    run_stage(
        "tfrecords", "--corpus", corpus, "--vocab", shared_data / "vocab", "--out", tmp_path / "t", "--dupe-factor", 1
    )
    counts = json.loads((tmp_path / "t/character/manifest.json").read_text())
    assert counts["vocabulary"]["size"] == 6144
    assert counts["counts"]["unknown_tokens"] / counts["counts"]["tokens"] < 0.001
