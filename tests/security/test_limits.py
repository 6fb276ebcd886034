"""What others send is read with limits: archives that unpack to far more, answers without end, or a byte at a time."""

import bz2
import gzip
import http.server
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.command.refusal import Refusal, Retryable
from stages.corpus import download, sources

ROOT = Path(__file__).resolve().parents[2]
# Runs the corpus command and says its exit code and peak memory, in KiB, that of workers too.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stderr=subprocess.PIPE, text=True)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(done.stderr)
"""


def bomb(pack: Callable[[bytes], bytes], block: bytes, times: int) -> bytes:
    """Members or streams that unpack to this block, so many times."""
    return pack(block) * times


DUMP = '{"index":{"_id":1}}\n{"text":"爆弾の前にある文書の文である。"}\n'.encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # 1 GB of one byte, in 1 MB of gzip and 1 kB of bzip2.
        (gzip.compress(DUMP) + bomb(gzip.compress, b"x" * (1 << 26), 16), "line 3: longer than 64 MiB"),
        (bz2.compress(DUMP) + bomb(bz2.compress, b"x" * (1 << 25), 32), "line 3: longer than 64 MiB"),
        (bomb(gzip.compress, b"\0" * (1 << 26), 16), "line 1: longer than 64 MiB"),
        (bomb(gzip.compress, b"\n" * (1 << 26), 16), "nothing but blank lines"),
        (gzip.compress(DUMP) + bomb(gzip.compress, b'{"a":1}\n' * (1 << 23), 2), "no document ends within 64 MiB"),
    ],
    ids=["gzip", "bzip2", "zeros", "line ends", "lines"],
)
def test_an_archive_that_unpacks_to_far_more_is_refused_in_little_memory(
    run_stage: Any, tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "d").write_bytes(data)
    assert len(data) < 1 << 21
    python = ROOT / ".venv" / "corpus" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    flags = ["--dump", str(tmp_path / "d"), "--out", str(tmp_path / "out"), "--shards", "1", "--jobs", "2"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(python), "-m", "stages.corpus", *flags],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    figures, _, errors = done.stdout.partition("\n")
    code, peak = map(int, figures.split())
    assert code == 2, errors
    assert said in errors
    assert "Traceback" not in errors
    assert peak < 400_000


class Endless(http.server.BaseHTTPRequestHandler):
    """Answers of a server that means no good, by path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not on the tests' standard error."""

    def do_GET(self) -> None:
        try:
            {"/slow": self.slow, "/head": self.head, "/chunks": self.chunks, "/huge": self.huge, "/page/": self.page}[
                self.path
            ]()
        except OSError:
            """The client has had enough."""
        self.close_connection = True

    def begin(self, **fields: object) -> None:
        self.send_response(200)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def slow(self) -> None:
        self.begin(Content_Length=1 << 30)
        while True:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.1)

    def head(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.1)

    def chunks(self) -> None:
        self.begin(Transfer_Encoding="chunked")
        while True:
            self.wfile.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")

    def huge(self) -> None:
        self.begin(Content_Length=1 << 60)

    def page(self) -> None:
        self.begin(Transfer_Encoding="chunked", Content_Type="text/html")
        while True:
            self.wfile.write(b"100000\r\n" + b"<a href=x>" * 104857 + b"<br/>\n" + b"\r\n")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sources.Settings:
    monkeypatch.setattr(download, "_LONGEST_WAIT", 0.05)
    return sources.Settings(str(tmp_path / "downloads"), retries=1, timeout=1)


def test_a_byte_at_a_time_counts_as_silence(server: str, settings: sources.Settings) -> None:
    start = time.monotonic()
    with pytest.raises(Refusal, match=r"only \d+ bytes in 1 s, after 2 tries"):
        download.fetch(f"{server}/slow", settings)
    with pytest.raises(Refusal, match=r"no answer in 3 s, after 2 tries"):
        download.fetch(f"{server}/head", settings)
    assert time.monotonic() - start < 30


def test_an_answer_without_end_is_given_up(
    server: str, settings: sources.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_LONGEST_FILE", 1 << 25)
    with pytest.raises(Refusal, match="/chunks is longer than 0 GiB, which no dump is"):
        download.fetch(f"{server}/chunks", settings)
    assert sum(path.stat().st_size for path in Path(settings.folder).rglob("*")) < 1 << 16, "nothing of it is kept"


def test_a_page_without_end_is_given_up(server: str, settings: sources.Settings) -> None:
    with pytest.raises(Refusal, match="/page/ is longer than 16 MiB"):
        download.listing(f"{server}/page/", settings)


def test_what_has_no_room_is_not_begun(
    server: str, settings: sources.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refusal, match="which no dump is; check the address"):
        download.fetch(f"{server}/huge", settings)
    monkeypatch.setattr(download, "_LONGEST_FILE", 1 << 61)
    with pytest.raises(Retryable, match=r"has 1,152,921,504,607 MB to fetch, and .+ has room for [\d,]+; make room"):
        download.fetch(f"{server}/huge", settings)


def test_a_pattern_takes_no_time_that_grows_faster_than_the_text(run_stage: Any, tmp_path: Path) -> None:
    """What comes close to every rule of the cleaning, many times over: 20 times the text in 20 times the time."""
    close = [
        "{\\displaystyle ",
        "[[",
        "((",
        "<ref",
        "https://",
        "^ ",
        "「",
        "『",
        "。」",
        "\u3000 ",
        "&#x",
        "{{",
        "a > b > ",
    ]
    taken = []
    for times in (2_000, 40_000):
        text = "".join(word * times for word in close)
        (tmp_path / "d").write_text(f"{text}\n\n長さの足りる普通の文である。\n", encoding="utf-8")
        start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        out = tmp_path / f"out{times}"
        run_stage("corpus", "--dump", tmp_path / "d", "--out", out, "--shards", 1, "--jobs", 1)
        taken.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start)
    assert taken[1] < 10 + taken[0] * 20, taken


def test_no_archive_format_that_names_files_is_read() -> None:
    """Neither tar nor zip: nothing that is unpacked could choose where it lands. Nor pickle, which could run code."""
    used = re.compile(r"\b(?:tarfile|zipfile|pickle\.load|shutil\.unpack_archive|torch\.load|yaml\.load)\b")
    for path in sorted((ROOT / "stages").rglob("*.py")):
        found = used.findall(path.read_text())
        assert not found, path
