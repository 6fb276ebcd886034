"""The corpus command: dumps and people's own texts in, shards and manifest out; every refusal by the real command."""

import bz2
import gzip
import hashlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stopping import StoppingRun
from tests.torture.runs import kill

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
LEGACY = SHARED / "jawiki-sample-cirrussearch-content.json.gz"
NEWER = SHARED / "cirrus_search_index" / "20260816" / "index_name=jawiki_content"

needs_sample = pytest.mark.skipif(not LEGACY.exists(), reason=f"the real sample {LEGACY} is not here")

SENTENCE = "これは長さの足りる文である。"


def document(text: str | None, title: str | None = None, **more: object) -> str:
    return json.dumps({"text": text, "title": title, "namespace": 0, **more}, ensure_ascii=False)


def dump(*documents: str) -> str:
    return "".join(f'{{"index": {{"_id": {number}}}}}\n{line}\n' for number, line in enumerate(documents, 1))


DUMP = dump(
    document("親 > 一 一番目の記事は、二つの文を持つ。ここに二つ目の文がある。短い。", "一"),
    document("移動した頁はここに数えない。", page_type="redirect"),
    document("標準でない名前空間の頁である。", namespace=10),
    document(None),
    document("短い。"),
    document("六番目の文書は飛ばしてほしい。"),
    document("七番目の記事は式 {\\displaystyle x} を持つ。長い" + "あ" * 250 + "。残る文はこれ一つである。"),
    document(SENTENCE),
)


def corpus(out: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(out.glob("corpus_*.txt")))


def manifest(out: Path) -> Any:
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def test_a_dump_becomes_shards_and_a_manifest(run_stage: Any, tmp_path: Path) -> None:
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(DUMP.encode()))
    (tmp_path / "skip").write_text("6\n\n600\n")
    out = tmp_path / "out"
    flags = ("--dump", tmp_path / "d.json.gz", "--out", out, "--shards", 4, "--skip-ids", tmp_path / "skip")
    done = run_stage("corpus", *flags, "--jobs", 2)
    assert done.stdout == ""
    assert sorted(os.listdir(out)) == [*(f"corpus_0000{shard}.txt" for shard in range(4)), "manifest.json"]
    assert [path.read_text(encoding="utf-8") for path in sorted(out.glob("*.txt"))] == [
        "一番目の記事は、二つの文を持つ。\nここに二つ目の文がある。\n\n",
        "残る文はこれ一つである。\n\n",
        f"{SENTENCE}\n\n",
        "",
    ]
    made = manifest(out)
    assert made["counts"] == {
        "documents_read": 8,
        "articles_kept": 3,
        "sentences_read": 8,
        "sentences_kept": 4,
        "characters_kept": 16 + 12 + 12 + 14,
    }
    assert made["dropped"] == {
        "documents": {
            "redirect": 1,
            "not_article_namespace": 1,
            "no_text": 1,
            "no_sentence_left": 1,
            "skip_list": 1,
        },
        "sentences": {"too_short": 2, "too_long": 1, "equation": 1},
        "lines": dict.fromkeys(
            ["bad_utf8", "bad_json", "bad_document", "document_without_action", "action_without_document"], 0
        ),
    }
    text = (out / "corpus_00000.txt").read_bytes()
    assert made["files"]["corpus_00000.txt"] == {
        "articles": 1,
        "sentences": 2,
        "characters": 28,
        "bytes": len(text),
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    assert made["options"] == {"shards": 4, "min_length": 10, "max_length": 250, "skip_bad_lines": False}
    read = hashlib.sha256((tmp_path / "d.json.gz").read_bytes()).hexdigest()
    assert made["inputs_read"] == [{"name": "d.json.gz", "sha256": read}]
    # The same command again has nothing to do; another one does not touch the folder.
    before = (out / "manifest.json").stat().st_mtime_ns
    assert "finished already" in run_stage("corpus", *flags, "--jobs", 1).stderr
    assert (out / "manifest.json").stat().st_mtime_ns == before
    assert "options.min_length" in run_stage("corpus", *flags, "--min-length", 5, code=2).stderr


@needs_sample
@pytest.mark.parametrize("jobs", [1, 3])
def test_the_real_sample_gives_the_published_text(run_stage: Any, tmp_path: Path, jobs: int) -> None:
    run_stage("corpus", "--dump", LEGACY, "--out", tmp_path / "out", "--jobs", jobs)
    digest = hashlib.sha256()
    for shard in range(640):
        digest.update((tmp_path / "out" / f"corpus_{shard:05d}.txt").read_bytes())
    assert digest.hexdigest() == (SHARED / "expected" / "corpus-640-shards.sha256").read_text().split()[0]
    made = manifest(tmp_path / "out")
    assert made["counts"]["sentences_kept"] + made["counts"]["articles_kept"] == 374_875


@needs_sample
def test_the_newer_layout_by_every_folder_and_by_its_files(run_stage: Any, tmp_path: Path) -> None:
    ways: list[list[Path]] = [[NEWER], [NEWER.parent], [NEWER.parent.parent], sorted(NEWER.glob("*.bz2"))]
    made = set()
    for number, way in enumerate(ways):
        out = tmp_path / str(number)
        run_stage("corpus", "--dump", *way, "--out", out, "--shards", 8)
        assert manifest(out)["counts"]["documents_read"] == 300
        made.add("".join((out / name).read_text(encoding="utf-8") for name in sorted(os.listdir(out))))
    assert len(made) == 1


def test_the_same_documents_in_any_form_give_the_same_corpus(run_stage: Any, tmp_path: Path) -> None:
    texts = [f"{number}番目の文書の一つ目の文です。{number}番目の二つ目の文です。" for number in range(3000)]
    records = [document(text) for text in texts]
    lines = "".join(line + "\n" for line in records)
    plain = "\n\n".join(texts)
    shard = tmp_path / "shards"
    shard.mkdir()
    for number in range(3):
        part = dump(*records[number * 1000 : number * 1000 + 1000])
        (shard / f"jawiki_content-20260816-{number:05d}.json.bz2").write_bytes(bz2.compress(part.encode()))
    (shard / "_SUCCESS").touch()
    folder = tmp_path / "texts" / "nested"
    folder.mkdir(parents=True)
    (folder.parent / "z.txt").write_text("\n\n".join(texts[1000:]), encoding="utf-8")
    (folder / "a.txt.gz").write_bytes(gzip.compress("\n\n".join(texts[:1000]).encode()))
    (folder / ".hidden").write_bytes(b"\xff")
    pack: dict[str, Callable[[bytes], bytes]] = {
        # Names say nothing: content does.
        "cirrus.txt": bytes,
        "cirrus.bz2": gzip.compress,
        "cirrus.gz": bz2.compress,
    }
    for name, packed in pack.items():
        (tmp_path / name).write_bytes(packed(dump(*records).encode()))
    half = len(lines) // 2
    (tmp_path / "lines.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode())
    (tmp_path / "lines.gz").write_bytes(gzip.compress(lines[:half].encode()) + gzip.compress(lines[half:].encode()))
    (tmp_path / "plain").write_bytes(bz2.compress(plain.encode()))
    forms = [*pack, "lines.jsonl", "lines.gz", "plain", "shards", "texts"]
    made = set()
    for number, form in enumerate(forms):
        out = tmp_path / f"out{number}"
        run_stage("corpus", "--dump", tmp_path / form, "--out", out, "--shards", 3, "--jobs", 1 + number % 2)
        made.add("".join(sorted(f"{path.name} {path.read_text('utf-8')}" for path in out.glob("*.txt"))))
    assert len(made) == 1
    assert "2999番目の二つ目の文です。\n\n" in made.pop()


@pytest.mark.parametrize("shards", [1, 300])
def test_any_number_of_shards(run_stage: Any, tmp_path: Path, shards: int) -> None:
    """More shards than files that may be open, and than articles."""
    (tmp_path / "d.txt").write_text(f"{SENTENCE}\n\n" * 7, encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        run_stage("corpus", "--dump", tmp_path / "d.txt", "--out", tmp_path / "out", "--shards", shards)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    files = sorted((tmp_path / "out").glob("corpus_*.txt"))
    assert len(files) == shards
    assert [bool(path.stat().st_size) for path in files[:8]] == ([True] * 7 + [False])[:shards]
    assert corpus(tmp_path / "out") == f"{SENTENCE}\n\n" * 7


def test_bad_lines_are_refused_with_their_place_or_counted(run_stage: Any, tmp_path: Path) -> None:
    lines = dump(document(SENTENCE), document(SENTENCE), document(SENTENCE)).encode().splitlines(keepends=True)
    lines[3] = b'{"text": "cut\n'
    lines.insert(5, b'{"title": "\xff"}\n')
    (tmp_path / "d").write_bytes(b"".join(lines))
    flags = ("--dump", tmp_path / "d", "--out", tmp_path / "out", "--shards", 1)
    done = run_stage("corpus", *flags, code=2)
    assert f"{tmp_path / 'd'}, line 4: not JSON" in done.stderr
    assert "--skip-bad-lines" in done.stderr
    assert os.listdir(tmp_path / "out") == []
    run_stage("corpus", *flags, "--skip-bad-lines")
    made = manifest(tmp_path / "out")
    # The third document lost its action line's partner to the foreign line between them.
    assert {reason: number for reason, number in made["dropped"]["lines"].items() if number} == {
        "bad_json": 1,
        "bad_utf8": 1,
        "document_without_action": 1,
    }
    assert made["counts"]["articles_kept"] == 1


GOOD = dump(*[document(f"{number}番目の記事の文は一つだけである。") for number in range(2000)]).encode()
GZIP, BZIP2 = gzip.compress(GOOD, mtime=0), bz2.compress(GOOD)
DAMAGED = {
    "gzip cut": (GZIP[:-9], "truncated"),
    "gzip cut in its head": (GZIP[:10], "truncated"),
    "gzip check sum": (GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:], "damaged"),
    "gzip length": (GZIP[:-4] + b"\0\0\0\0", "damaged"),
    "gzip bits": (GZIP[:3000] + b"\xff\0" * 8 + GZIP[3016:], "after line"),
    "gzip and junk": (GZIP + b"junk" * 99, f"from byte {len(GZIP)} on"),
    "gzip and half a member": (GZIP + GZIP[:500], "truncated"),
    "bzip2 cut": (BZIP2[:-1], "truncated"),
    "bzip2 bits": (BZIP2[:3000] + b"\xff\0" * 8 + BZIP2[3016:], "damaged"),
    "bzip2 and junk": (BZIP2 + b"junk", f"from byte {len(BZIP2)} on"),
    "bzip2 and a damaged stream": (BZIP2 + BZIP2[:40] + b"x" * 9999, "damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused_even_with_bad_lines_skipped(run_stage: Any, tmp_path: Path, name: str) -> None:
    data, message = DAMAGED[name]
    (tmp_path / "d").write_bytes(data)
    flags = ("--dump", tmp_path / "d", "--out", tmp_path / "out", "--shards", 2, "--skip-bad-lines")
    done = run_stage("corpus", *flags, "--jobs", 1 + len(name) % 2, code=2)
    assert f"{tmp_path / 'd'} " in done.stderr
    assert message in done.stderr
    assert not list(tmp_path.glob("out/*"))


@pytest.fixture
def several(tmp_path: Path) -> list[Path]:
    """Four bzip2 files of 1 to 3 batches, and one of gzip between them."""
    paths = [tmp_path / name for name in ("a.bz2", "b.bz2", "c.gz", "d.bz2", "e.bz2")]
    for path, documents in zip(paths, (15_000, 30_000, 1_000, 40_000, 20_000), strict=True):
        lines = [f"{path.name}の{number}番目の文は一つだけである。\n\n" for number in range(documents)]
        pack = gzip.compress if path.suffix == ".gz" else bz2.compress
        path.write_bytes(pack("".join(lines).encode(), 1))
    return paths


def test_several_bzip2_files_are_read_at_once_and_give_the_same_bytes(
    run_stage: Any, several: list[Path], tmp_path: Path
) -> None:
    made = []
    for jobs in (1, 2, 5):
        out = tmp_path / f"out{jobs}"
        out.mkdir()
        # What a run that was killed left behind.
        (out / ".input_00009.partial").write_bytes(b"rest")
        run_stage("corpus", "--dump", *several, "--out", out, "--shards", 7, "--jobs", jobs)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert sorted(made[0]) == [*(f"corpus_0000{shard}.txt" for shard in range(7)), "manifest.json"]
    assert made[0] == made[1] == made[2]
    articles = [made[0][f"corpus_0000{shard}.txt"].decode().split("\n\n") for shard in range(7)]
    assert articles[1][0] == "a.bz2の1番目の文は一つだけである。"
    assert articles[15_001 % 7][15_001 // 7] == "b.bz2の1番目の文は一つだけである。"
    assert articles[105_999 % 7][105_999 // 7] == "e.bz2の19999番目の文は一つだけである。"


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_of_several_damaged_files_the_first_is_told(
    run_stage: Any, several: list[Path], tmp_path: Path, jobs: int
) -> None:
    """Behind a whole file: a bad line late in one, junk behind another, which is met sooner."""
    _, second, _, third, fourth = several
    text = bz2.decompress(third.read_bytes())
    lines = text.count(b"\n")
    third.write_bytes(third.read_bytes() + bz2.compress(b"\xff\n"))
    fourth.write_bytes(fourth.read_bytes() + b"junk")
    flags = ("--out", tmp_path / "out", "--shards", 3, "--jobs", jobs)
    done = run_stage("corpus", "--dump", *several, *flags, code=2)
    assert f"{third}, line {lines + 1}: not UTF-8" in done.stderr
    done = run_stage("corpus", "--dump", *several, *flags, "--skip-bad-lines", code=2)
    assert f"{fourth} has damaged or foreign data" in done.stderr
    second.write_bytes(second.read_bytes()[:-9])
    done = run_stage("corpus", "--dump", *several, *flags, code=2)
    assert f"{second} is truncated" in done.stderr
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "No such file"),
        (b"", "empty (0 bytes)"),
        (b"PK\x03\x04rest", "zip file; unpack it first"),
        (b"\xfd7zXZ\x00rest", "xz file; unpack it first"),
        (b"\x28\xb5\x2f\xfdrest", "zstd file; unpack it first"),
        ("日本語".encode("utf-16"), "neither gzip, bzip2 nor UTF-8"),
        (b"<mediawiki>", "is a dump of MediaWiki in XML; a CirrusSearch dump,"),
        (b'{"title": "a"}', "neither"),
        (b'[\n{"text": "a"}\n]', "one object a line"),
        ("短い。\n".encode(), "no sentence is left: dropped documents: no_sentence_left 1"),
        (gzip.compress(b""), "no sentence is left: nothing to read"),
        (b'{"index":{"_id":1}}\n', "line 1: an action line without a document"),
        (b'{"index":{"_id":1}}\n{"text":5}\n', 'line 2: "text" is of type int, not a string'),
        (b"a\n" * 2 + b"\xe3\x81\n", "line 3: not UTF-8"),
        (b"a" * (70 << 20), "line 1: longer than 64 MiB"),
        (b"a long line of text\n" * (4 << 20), "line 1: no document ends within 64 MiB"),
    ],
)
def test_what_cannot_be_read_is_refused(run_stage: Any, tmp_path: Path, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / "d").write_bytes(data)
    done = run_stage("corpus", "--dump", tmp_path / "d", "--out", tmp_path / "out", "--shards", 1, code=2)
    assert message in done.stderr
    assert str(tmp_path / "d") in done.stderr or "no sentence is left" in done.stderr


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no files"),
        (["jawiki_content-20260816-00000.json.bz2"], "no _SUCCESS"),
        (["_SUCCESS", "w_content-20260816-00001.json.bz2"], "no shard 00000"),
        (["_SUCCESS", "w_content-20260816-00000.json.bz2", "w_content-20260823-00001.json.bz2"], "two dumps"),
        (["index_name=jawiki_content/_SUCCESS"], "holds no shards"),
        (["20260816/index_name=jawiki_content/w_content-20260816-00000.json.bz2"], "no complete dump"),
        (["index_name=awiki_content/x", "index_name=bwiki_content/x"], "2 indexes"),
    ],
)
def test_incomplete_folders_are_refused(run_stage: Any, tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "dump").mkdir()
    for name in names:
        path = tmp_path / "dump" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BZIP2)
    done = run_stage("corpus", "--dump", tmp_path / "dump", "--out", tmp_path / "out", code=2)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shards", "0"], "--shards: 0 is no whole number from 1 to 100000"),
        (["--shards", "100001"], "from 1 to 100000"),
        (["--jobs", "0"], "--jobs: 0 is no whole number from 1 to 10000"),
        (["--min-length", "20", "--max-length", "10"], "--min-length"),
        (["--skip-ids", "nowhere"], "cannot read nowhere"),
        (["--out", "/proc/corpus"], "cannot write to /proc/corpus"),
    ],
)
def test_flags_that_cannot_be(run_stage: Any, tmp_path: Path, flags: list[str], message: str) -> None:
    (tmp_path / "d").write_text(SENTENCE, encoding="utf-8")
    assert message in run_stage("corpus", "--dump", tmp_path / "d", "--out", tmp_path / "out", *flags, code=2).stderr


def test_out_is_no_folder_of_other_files_and_not_inside_the_dump(run_stage: Any, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "d.txt").write_text(SENTENCE, encoding="utf-8")
    inside = run_stage("corpus", "--dump", tmp_path / "texts", "--out", tmp_path / "texts" / "out", code=2)
    assert "only read" in inside.stderr
    other = run_stage("corpus", "--dump", tmp_path / "texts" / "d.txt", "--out", tmp_path / "texts", code=2)
    assert "not of a corpus run" in other.stderr


def test_a_full_disk_is_told_in_one_line(run_stage: Any, tmp_path: Path) -> None:
    """A limit on file sizes fails writes as a full disk does."""
    (tmp_path / "d").write_text(f"{SENTENCE}\n\n" * 9000, encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        done = run_stage("corpus", "--dump", tmp_path / "d", "--out", tmp_path / "out", "--shards", 1, code=75)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"cannot write to {tmp_path / 'out'}: File too large" in done.stderr
    assert os.listdir(tmp_path / "out") == []


# So many that a watcher who is a second late still strikes a run with two jobs.
DOCUMENTS = 800_000


@pytest.fixture(params=["text", "several bzip2 files"])
def long_run(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The flags of a run of two jobs that takes some seconds."""
    text = "".join(f"{number}番目の文書には文が一つだけある。\n\n" for number in range(DOCUMENTS)).encode()
    (tmp_path / "d").mkdir()
    if request.param == "text":
        (tmp_path / "d" / "0").write_bytes(text)
    else:
        half = text.index(b"%d" % (DOCUMENTS // 2))
        (tmp_path / "d" / "0").write_bytes(bz2.compress(text[:half], 1))
        (tmp_path / "d" / "1").write_bytes(bz2.compress(text[half:], 1))
    return ["--dump", str(tmp_path / "d"), "--out", str(tmp_path / "out"), "--shards", "3", "--jobs", "2"]


def started(flags: list[str]) -> subprocess.Popen[str]:
    """The command, in a session of its own, as soon as it has its two workers."""
    python = ROOT / ".venv" / "corpus" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    command = [str(python), "-m", "stages.corpus", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(workers(process.pid)) == 2)
    return process


def test_what_a_killed_worker_had_is_done_by_another(long_run: list[str], tmp_path: Path) -> None:
    with started(long_run) as process:
        os.kill(workers(process.pid)[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    first, *progress = errors.splitlines()
    assert first.startswith("a worker was killed, most likely for lack of memory; trying ")
    assert str(tmp_path / "d") in first
    assert all(line.startswith("corpus: ") for line in progress)
    text = corpus(tmp_path / "out")
    assert text.count("\n\n") == DOCUMENTS
    assert f"{DOCUMENTS // 2}番目の文書には文が一つだけある。" in text
    assert not list(tmp_path.glob("out/.*"))


def test_files_that_were_read_are_not_read_again(run_stage: Any, several: list[Path], tmp_path: Path) -> None:
    """The spools of a run that was killed: what is in them goes into the corpus."""
    flags = ["--dump", *map(str, several), "--out", str(tmp_path / "out"), "--shards", "3", "--jobs", "2"]
    spool = tmp_path / "out" / ".input_00001.spool"
    with StoppingRun("corpus", flags, spool) as running:
        running.stands_still()
        kill(running.process.pid)
        assert running.end().code == -signal.SIGKILL
    kept = spool.read_bytes()
    assert "b.bz2の7番目の文は".encode() in kept
    spool.write_bytes(kept.replace("b.bz2の7番目の文は".encode(), "b.bz2の7番目の字は".encode()))
    run_stage("corpus", *flags)
    text = corpus(tmp_path / "out")
    assert "b.bz2の7番目の字は" in text
    assert text.count("\n\n") == 106_000
    assert not list(tmp_path.glob("out/.*"))


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_ended_run_leaves_no_processes_and_starts_over(
    run_stage: Any, long_run: list[str], tmp_path: Path, signum: int
) -> None:
    with started(long_run) as process:
        os.kill(process.pid, signum)
        process.wait(30)
        # Workers are in the same session; they end by themselves when their parent is gone.
        wait_for(lambda: not members(process.pid))
        assert "Traceback" not in (process.stderr.read() if process.stderr else "")
    assert process.returncode == (-9 if signum == signal.SIGKILL else 128 + signum)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list(tmp_path.glob("out/corpus_*"))
    run_stage("corpus", *long_run)
    assert corpus(tmp_path / "out").count("\n\n") == DOCUMENTS
    assert sorted(os.listdir(tmp_path / "out"))[-1] == "manifest.json"
    assert not list(tmp_path.glob("out/.*"))


def workers(session: int) -> list[int]:
    """The worker processes of a run."""
    return [pid for pid in members(session) if pid != session]


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = entry.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(entry.parent.name))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in 30 seconds"
        time.sleep(0.02)
