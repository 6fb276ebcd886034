"""A manifest that somebody else wrote: no path in it leads outside its folder, nothing in it ends in a traceback."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.command.refusal import Refusal
from stages.formats.corpus import read_shards
from stages.formats.shards import find_shards
from stages.handover.manifests import read_json, read_manifest
from stages.tfrecords.__main__ import main as tfrecords
from stages.vocab.__main__ import main as vocab

TEXT = "外の文章である。\n\n".encode()
SHA256 = "b1a8" * 16
SAID = {"bytes": len(TEXT), "sha256": SHA256, "articles": 1, "sentences": 1, "characters": 8, "examples": 1}
NAMES = ["../secret.txt", "/etc/passwd", "a/../../secret.txt", "./a.txt", "a//b.txt", "..", ".", "", "a\0b", "\ud800"]


def folder(at: Path, stage: str, files: Any) -> Path:
    """A folder of a stage whose manifest lists these files."""
    at.mkdir(parents=True, exist_ok=True)
    manifest = {
        "stage": stage,
        "files": files,
        "options": {"seq_length": 16, "max_predictions": 3},
        "vocabulary": {"size": 40},
    }
    (at / "manifest.json").write_text(json.dumps(manifest))
    return at


def readers(at: Path, files: Any, vocabulary: Path) -> dict[str, Callable[[], object]]:
    """What reads a manifest of another stage, each for its own kind, on one that lists these files."""
    corpus, words = folder(at / "corpus", "corpus", files), at / "vocab"
    if not words.exists():
        shutil.copytree(vocabulary, words)
    folder(words, "vocab", files)
    records = folder(at / "tfrecords", "tfrecords", files)
    return {
        "vocab of corpus": lambda: vocab(["--corpus", str(corpus), "--out", str(at / "v"), "--jobs", "1"]),
        "tfrecords of corpus": lambda: tfrecords(
            ["--corpus", str(corpus), "--vocab", str(vocabulary), "--out", str(at / "t"), "--jobs", "1"]
        ),
        "tfrecords of vocab": lambda: tfrecords(
            ["--corpus", str(vocabulary.parent / "corpus"), "--vocab", str(words), "--out", str(at / "t")]
        ),
        "tpu-train of tfrecords": lambda: find_shards(str(records), None),
    }


@pytest.fixture(scope="session")
def beside(vocab: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good vocabulary with the corpus that it is of beside it. Read only."""
    made = tmp_path_factory.mktemp("beside")
    shutil.copytree(vocab, made / "vocab")
    shutil.copytree(corpus, made / "corpus")
    return made / "vocab"


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, beside: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_bytes(TEXT)
    for reader in readers(tmp_path, {name: SAID}, beside).values():
        with pytest.raises(Refusal, match=r"is not a manifest of .*: file .* has (a name that leads out|no name)"):
            reader()
    assert not list(tmp_path.glob("[vt]/**/*.*")), "nothing was written"


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path, beside: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(TEXT)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_bytes(TEXT)
    for name, target in (("a.txt", "../secret.txt"), ("b/a.txt", "../outside")):
        made = readers(tmp_path / name.replace("/", "-"), {name: SAID}, beside)
        for place in ("corpus", "vocab", "tfrecords"):
            (tmp_path / name.replace("/", "-") / place / name.split("/")[0]).symlink_to(tmp_path / "x" / target)
        for reader in made.values():
            with pytest.raises(Refusal, match="is a link that leads out of the folder"):
                reader()


def test_a_folder_may_be_a_link_and_hold_links_to_its_own_files(tmp_path: Path) -> None:
    folder(tmp_path / "disk", "corpus", {"a.txt": SAID, "b.txt": SAID})
    (tmp_path / "disk" / "a.txt").write_bytes(TEXT)
    (tmp_path / "disk" / "b.txt").symlink_to("a.txt")
    (tmp_path / "corpus").symlink_to("disk")
    assert [name for name, _ in read_shards(str(tmp_path / "corpus"))] == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "lists no files"),
        ([["a.txt", SAID]], "lists no files"),
        ("a.txt", "lists no files"),
        ({"a.txt": None}, "has no SHA-256"),
        ({"a.txt": SHA256}, "has no SHA-256"),
        ({"a.txt": {**SAID, "sha256": 5}}, "has no SHA-256"),
        ({"a.txt": {"sha256": SHA256}}, "has no size"),
        ({"a.txt": {**SAID, "bytes": "9"}}, "has no size"),
        ({"a.txt": {**SAID, "bytes": True}}, "has no size"),
        ({"a.txt": {**SAID, "bytes": -1}}, "has no size"),
    ],
)
def test_a_manifest_that_describes_no_files_is_refused(tmp_path: Path, beside: Path, files: Any, said: str) -> None:
    for reader in readers(tmp_path, files, beside).values():
        with pytest.raises(Refusal, match=said):
            reader()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"bytes": 10**15}, r"is not what make corpus wrote \(26 bytes, not 1000000000000000\)"),
        ({"sentences": 10**15}, "does not say how much is in a.txt"),
        ({"characters": -1}, "does not say how much is in a.txt"),
        ({"articles": None}, "does not say how much is in a.txt"),
        ({"sentences": 0.5}, "does not say how much is in a.txt"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_memory_is_taken_for_them(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    corpus = folder(tmp_path, "corpus", {"a.txt": {**SAID, **more}})
    (tmp_path / "a.txt").write_bytes(TEXT)
    with pytest.raises(Refusal, match=said):
        read_shards(str(corpus))


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b'{"stage": NaN, "files": {}}'])
def test_json_that_is_none_for_us_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(Refusal, match=r"manifest\.json is not"):
        read_manifest(str(tmp_path), "corpus")


def test_a_manifest_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    with open(tmp_path / "manifest.json", "wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(Refusal, match="longer than 256 MiB"):
        read_json(str(tmp_path / "manifest.json"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_a_manifest_it_is_refused_or_read(tmp_path: Path, beside: Path, data: st.DataObject) -> None:
    """One value of each real manifest is replaced by any other."""
    at = tmp_path / "copy"
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(beside.parent, at)
    records = folder(at / "tfrecords", "tfrecords", {f"{name}.tfrecord.gz": SAID for name in "ab"})
    for name in "ab":
        (records / f"{name}.tfrecord.gz").write_bytes(TEXT)
    place = data.draw(st.sampled_from(["corpus", "vocab", "tfrecords"]))
    path = at / place / "manifest.json"
    manifest = json.loads(path.read_text())
    inside: Any = manifest
    keys: list[str] = []
    while isinstance(inside, dict) and inside and (not keys or data.draw(st.booleans())):
        keys.append(data.draw(st.sampled_from(sorted(inside))))
        inside = inside[keys[-1]]
    inside = manifest
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = data.draw(VALUES)
    path.write_text(json.dumps(manifest))
    try:
        if place == "tfrecords":
            find_shards(str(records), None)
        elif place == "corpus":
            read_shards(str(at / "corpus"))
        else:
            sizes = ["--seq-length", "16", "--max-predictions", "3", "--dupe-factor", "1", "--jobs", "1"]
            tfrecords(["--corpus", f"{at}/corpus", "--vocab", f"{at}/vocab", "--out", f"{at}/out", *sizes])
    except Refusal:
        pass
