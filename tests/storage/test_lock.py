"""The lock of a folder in a bucket: an object that its owner renews; others take it over only when nobody does."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.command.refusal import Retryable
from stages.handover import cloud_storage, lock, storage
from tests.emulator import BUCKET, LOST_REPLY, UNAVAILABLE, Proxy

ROOT = Path(__file__).resolve().parents[2]
# Short enough to wait for, and long enough for a machine on which a process may have to wait for a second.
RENEWED, LEASE = 0.25, 2.5
# A run that claims a folder with such a lease, says so, and waits for its end.
OWNER = f"""
import sys, time
from stages.command.running import run
from stages.handover import lock
from stages.handover.manifests import claim
lock.RENEWED, lock.LEASE = {RENEWED}, {LEASE}
def main(arguments):
    claim("vocab", arguments[0], {{}}, {{}})
    print("claimed", flush=True)
    if arguments[1:] == ["end"]:
        sys.stdin.readline()
    else:
        time.sleep(60)
sys.exit(run("vocab", main))
"""


@pytest.fixture(autouse=True)
def short_leases(bucket: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STORAGE_PATIENCE", "20")
    monkeypatch.setattr(lock, "RENEWED", RENEWED)
    monkeypatch.setattr(lock, "LEASE", LEASE)
    cloud_storage._client_of.cache_clear()
    yield
    bucket.calm()
    lock.release_all()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the test's own."""
    return f"gs://{BUCKET}/lock/{request.node.name}"


def owner(folder: str, *words: str) -> "subprocess.Popen[str]":
    """A process that has claimed the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, folder, *words],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "claimed\n"
    return process


def test_who_renews_keeps_it_and_who_ends_gives_it_back(folder: str) -> None:
    with owner(folder, "end") as process:
        time.sleep(LEASE + 0.5)
        with pytest.raises(Retryable, match=rf"is being written by process {process.pid} on .*; wait for its end"):
            lock.hold(folder)
        _, said = process.communicate("\n", timeout=60)
    assert (process.returncode, said) == (0, "")
    assert lock.NAME not in storage.names(folder)
    lock.hold(folder)


def test_who_is_stopped_gives_it_back(folder: str) -> None:
    with owner(folder) as process:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "vocab: interrupted; the same command resumes\n")
    assert lock.NAME not in storage.names(folder)


def test_a_killed_one_is_followed_after_a_lease(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    with owner(folder) as process:
        process.kill()
    start = time.monotonic()
    lock.hold(folder)
    assert time.monotonic() - start >= LEASE
    assert f"is locked by process {process.pid} on " in capfd.readouterr().err


def test_of_many_who_wait_one_gets_it(folder: str) -> None:
    with owner(folder) as process:
        process.kill()
    got: list[object] = []

    def wait() -> None:
        try:
            got.append(lock._Lease(folder))
        except Retryable as refused:
            got.append(refused)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    leases = [each for each in got if isinstance(each, lock._Lease)]
    assert (len(leases), len(got)) == (1, 4)
    leases[0].end()


@pytest.mark.parametrize("fault", [LOST_REPLY, UNAVAILABLE])
def test_renewals_that_fail_do_not_lose_it(folder: str, bucket: Proxy, fault: str) -> None:
    """Every answer to a renewal is lost, longer than a try lasts; the object that it wrote unheard is its own still."""
    lock.hold(folder)
    (lease,) = lock._held.values()
    assert isinstance(lease, lock._Lease)
    bucket.fault = lambda method, path: fault if method == "POST" else None
    time.sleep(LEASE + 1)
    bucket.calm()
    time.sleep(2)
    assert bucket.injected[fault] >= 2
    assert not lease.lost
    before = cloud_storage.stat(f"{folder}/{lock.NAME}").generation
    time.sleep(1)
    assert cloud_storage.stat(f"{folder}/{lock.NAME}").generation != before, "it is renewed again"
    lock.release(folder)
    assert storage.names(folder) == []


def test_who_loses_it_ends_and_leaves_it_to_the_other(folder: str) -> None:
    """As after a time without a network: another process has waited for a lease, and taken over."""
    with owner(folder) as process:
        path, theirs = f"{folder}/{lock.NAME}", b"process 1 on another\n"
        for _ in range(50):
            if cloud_storage.create(path, theirs, cloud_storage.stat(path).generation):
                break
        _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert said == (
        f"vocab: error: {folder} was taken over by another process while Cloud Storage did not answer this one; "
        "wait for its end\n"
    )
    with storage.reading(path) as stream:
        assert stream.read() == theirs


def test_a_service_that_is_gone_at_the_end_changes_nothing_about_the_end(folder: str, bucket: Proxy) -> None:
    with owner(folder, "end") as process:
        bucket.fault = lambda method, path: UNAVAILABLE
        start = time.monotonic()
        _, said = process.communicate("\n", timeout=60)
    assert (process.returncode, said) == (0, "")
    assert time.monotonic() - start < 10
