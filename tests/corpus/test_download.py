"""Downloads, folders on a server and `latest`, against a real local HTTP server that misbehaves as told."""

import bz2
import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from stages.command.refusal import Refusal
from stages.corpus import download, sources

BODY = hashlib.shake_256(b"seed").digest(2_000_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder with Range, ETag and index pages. `faults[path]` is what goes wrong, request by request:

    a number: the connection drops behind so many bytes of the body; "long"/"none": a wrong or no length;
    "no-range": Range is ignored; "slow": a pause in the body; "503"/"404": that status.
    `requests` notes (path, Range, User-Agent) of every request.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.requests: list[tuple[str, str, str]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not on the tests' standard error."""

    def do_GET(self) -> None:
        path = unquote(self.path)
        asked = self.headers.get("Range", "")
        self.server.requests.append((path, asked, self.headers["User-Agent"]))
        fault = self.server.faults[path].pop(0) if self.server.faults[path] else None
        place = self.server.root / path.lstrip("/")
        if fault in ("503", "404") or not place.exists():
            self.send_error(int(fault or 404))
        elif place.is_dir() and not path.endswith("/"):
            self.send_response(301)
            self.send_header("Location", path + "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif place.is_dir():
            names = [name + "/" * (place / name).is_dir() for name in sorted(os.listdir(place))]
            links = "".join(f'<a href="{quote(name)}">{name[:9]}..&gt;</a>\n' for name in names)
            page = f'<html><a href="../">../</a><a href="?C=N;O=D">Name</a><a href="http://else/x">x</a>{links}</html>'
            self.answer(200, page.encode(), None, {"Content-Type": "text/html"})
        else:
            data = place.read_bytes()
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            start = re.fullmatch(r"bytes=(\d+)-", asked)
            if start and int(start[1]) >= len(data):
                self.send_error(416)
            elif start and fault != "no-range" and self.headers.get("If-Range") == tag:
                part = f"bytes {start[1]}-{len(data) - 1}/{len(data)}"
                self.answer(206, data[int(start[1]) :], fault, {"ETag": tag, "Content-Range": part})
            else:
                self.answer(200, data, fault, {"ETag": tag})

    def answer(self, status: int, body: bytes, fault: Any, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault != "none":
            self.send_header("Content-Length", str(len(body) + 1000 * (fault == "long")))
        self.end_headers()
        if isinstance(fault, int):
            body = body[:fault]
        if fault == "slow":
            self.wfile.write(body[:100_000])
            self.wfile.flush()
            time.sleep(20)
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "www").mkdir()
    with Server(tmp_path / "www") as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path: Path) -> sources.Settings:
    return sources.Settings(str(tmp_path / "downloads"), retries=2, timeout=2)


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_LONGEST_WAIT", 0.05)


def ranges(server: Server) -> list[str]:
    return [asked for _, asked, _ in server.requests]


def test_a_file_is_fetched_once(server: Server, settings: sources.Settings) -> None:
    (server.root / "a b=1.gz").write_bytes(BODY)
    address = server.address + "/a%20b%3D1.gz"
    path = download.fetch(address, settings)
    assert path == os.path.join(settings.folder, server.address[7:], "a b=1.gz")
    assert Path(path).read_bytes() == BODY
    assert download.fetch(address, settings) == path
    assert len(server.requests) == 1
    assert server.requests[0][2].startswith("albert-ja-corpus/")
    assert os.listdir(os.path.dirname(path)) == ["a b=1.gz"]


def test_dropped_connections_go_on_where_they_stopped(server: Server, settings: sources.Settings) -> None:
    (server.root / "f").write_bytes(BODY)
    # More drops than retries: each gains bytes, so none counts as a failure in a row.
    server.faults["/f"] = [400_000, 300_000, 10_000, "503", 500_000]
    assert Path(download.fetch(server.address + "/f", settings)).read_bytes() == BODY
    assert ranges(server) == ["", *(f"bytes={start}-" for start in (400_000, 700_000, 710_000, 710_000, 1_210_000))]


def test_a_killed_download_is_resumed_by_the_next_command(server: Server, settings: sources.Settings) -> None:
    (server.root / "f").write_bytes(BODY)
    server.faults["/f"] = [900_000, "503", "503", "503"]
    with pytest.raises(Refusal, match=r"503.*run the same command again"):
        download.fetch(server.address + "/f", settings)
    assert Path(download.fetch(server.address + "/f", settings)).read_bytes() == BODY
    assert ranges(server)[-1] == "bytes=900000-"


def test_a_file_that_changed_meanwhile_starts_anew(server: Server, settings: sources.Settings) -> None:
    (server.root / "f").write_bytes(BODY)
    server.faults["/f"] = [900_000, "503", "503", "503"]
    with pytest.raises(Refusal):
        download.fetch(server.address + "/f", settings)
    (server.root / "f").write_bytes(BODY[::-1])
    assert Path(download.fetch(server.address + "/f", settings)).read_bytes() == BODY[::-1]


def test_a_server_without_range(server: Server, settings: sources.Settings) -> None:
    (server.root / "f").write_bytes(BODY)
    server.faults["/f"] = [900_000, "no-range"]
    assert Path(download.fetch(server.address + "/f", settings)).read_bytes() == BODY


def test_silence_is_a_dropped_connection(server: Server, settings: sources.Settings) -> None:
    (server.root / "f").write_bytes(BODY)
    server.faults["/f"] = ["slow"]
    assert Path(download.fetch(server.address + "/f", settings)).read_bytes() == BODY
    assert ranges(server) == ["", "bytes=100000-"]


@pytest.mark.parametrize(
    ("faults", "message", "requests"),
    [
        (["404"], "404", 1),
        (["long"] * 9, "ended at byte 2,000,000 of 2,001,000, after 3 tries", 3),
        (["none"], "does not say how long", 1),
        (["503"] * 9, "503", 3),
    ],
)
def test_what_cannot_be_fetched_is_refused_and_leaves_no_file(
    server: Server, settings: sources.Settings, faults: list[str], message: str, requests: int
) -> None:
    (server.root / "f").write_bytes(BODY)
    server.faults["/f"] = list(faults)
    with pytest.raises(Refusal, match=message):
        download.fetch(server.address + "/f", settings)
    assert not os.path.exists(download.local_path(server.address + "/f", settings))
    assert len(server.requests) <= requests


def test_a_web_page_is_no_file(server: Server, settings: sources.Settings) -> None:
    (server.root / "folder").mkdir()
    with pytest.raises(Refusal, match="web page"):
        download.fetch(server.address + "/folder/", settings)
    assert download.is_folder(server.address + "/folder", settings)


def test_no_server(settings: sources.Settings) -> None:
    with pytest.raises(Refusal, match=r"no connection.*after 3 tries"):
        download.fetch("http://127.0.0.1:9/f", settings)


@pytest.mark.parametrize(
    "address", ["http://host", "http://host/%2e%2e/x", "http://../x", "http://host/a%2Fb", "http:///x"]
)
def test_addresses_that_name_no_file(settings: sources.Settings, address: str) -> None:
    with pytest.raises(Refusal):
        download.local_path(address, settings)


def dump(root: Path, date: str, shards: int, success: bool = True) -> Path:
    folder = root / "other" / "cirrus_search_index" / date / "index_name=jawiki_content"
    folder.mkdir(parents=True)
    for shard in range(shards):
        lines = (
            f'{{"index": {{"_id": {shard}}}}}\n{{"text": "{date}の第{shard}の断片にある記事です。", "namespace": 0}}\n'
        )
        (folder / f"jawiki_content-{date}-{shard:05d}.json.bz2").write_bytes(bz2.compress(lines.encode()))
    if success:
        (folder / "_SUCCESS").touch()
    return folder


def test_latest_is_the_newest_complete_dump(run_stage: Any, server: Server, tmp_path: Path) -> None:
    dump(server.root, "20260802", 2)
    dump(server.root, "20260809", 3)
    dump(server.root, "20260816", 3, success=False)
    (server.root / "other/cirrus_search_index/20260823/index_name=enwiki_content").mkdir(parents=True)
    shard = "/other/cirrus_search_index/20260809/index_name=jawiki_content/jawiki_content-20260809-00001.json.bz2"
    server.faults[shard] = [50, "503"]
    flags = (
        "--out",
        tmp_path / "out",
        "--shards",
        2,
        "--downloads",
        tmp_path / "downloads",
        "--mirror",
        server.address,
    )
    done = run_stage("corpus", "--dump", "latest", *flags)
    assert "trying again in 1 s" in done.stderr
    corpus = "".join(path.read_text() for path in sorted((tmp_path / "out").glob("*.txt")))
    assert re.findall("2026....の第.", corpus) == ["20260809の第0", "20260809の第2", "20260809の第1"]
    # What was downloaded is a dump to read without a server.
    local = tmp_path / "downloads" / server.address[7:] / "other"
    assert len(sources.find([str(local / "cirrus_search_index")], "", sources.Settings(""))) == 3
    before = len(server.requests)
    assert "finished already" in run_stage("corpus", "--dump", "latest", *flags).stderr
    assert not [path for path, _, _ in server.requests[before:] if path.endswith(".bz2")]


@pytest.mark.parametrize("below", ["", "20260816", "20260816/", "20260816/index_name%3Djawiki_content/"])
def test_every_folder_on_the_way_names_the_dump(server: Server, settings: sources.Settings, below: str) -> None:
    dump(server.root, "20260816", 2)
    found = sources.find([f"{server.address}/other/cirrus_search_index/{below}"], "", settings)
    assert [source.name for source in found] == [f"jawiki_content-20260816-0000{shard}.json.bz2" for shard in (0, 1)]


def test_a_folder_of_other_files_is_not_downloaded(server: Server, settings: sources.Settings) -> None:
    (server.root / "jawiki-20251229-cirrussearch-content.json.gz").write_bytes(BODY)
    with pytest.raises(Refusal, match="name one file"):
        sources.find([server.address + "/"], "", settings)


@pytest.mark.parametrize("address", ["latest", "{}/nowhere.json.gz", "{}/other/cirrus_search_index/"])
def test_refusals_of_the_command(run_stage: Any, server: Server, tmp_path: Path, address: str) -> None:
    dump(server.root, "20260816", 1, success=False)
    flags = ("--out", tmp_path / "out", "--downloads", tmp_path / "downloads", "--mirror", server.address)
    done = run_stage("corpus", "--dump", address.format(server.address), *flags, code=2)
    assert ("404" if "nowhere" in address else "no complete dump") in done.stderr
    assert not (tmp_path / "out").exists()


def test_killed_during_a_download(server: Server, tmp_path: Path) -> None:
    """SIGKILL in the middle of a body: the next command asks for the rest only."""
    python = Path(__file__).resolve().parents[2] / ".venv/corpus/bin/python"
    if not python.exists():
        pytest.skip(f"{python} is missing; run make venv")
    (server.root / "f.txt").write_bytes("長い文章を書いて保存する。\n\n".encode() * 50_000)
    # The first request asks whether the address is a folder.
    server.faults["/f.txt"] = [None, "slow"]
    command = [str(python), "-m", "stages.corpus", "--dump", server.address + "/f.txt", "--shards", "1"]
    command += ["--out", str(tmp_path / "out"), "--downloads", str(tmp_path / "downloads")]
    with subprocess.Popen(command, cwd=python.parents[3], stderr=subprocess.DEVNULL) as process:
        partial = tmp_path / "downloads" / server.address[7:] / ".f.txt.partial"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    subprocess.run(command, cwd=python.parents[3], check=True, stderr=sys.stderr)
    assert [asked for asked in ranges(server) if asked] == ["bytes=100000-"]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["counts"]["documents_read"] == 50_000
