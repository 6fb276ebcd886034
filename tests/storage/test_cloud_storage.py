"""Objects behind a network that fails: every byte arrives, once, or a person is told."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from stages.command.refusal import Refusal, Retryable
from stages.handover import cloud_storage, storage
from tests.emulator import (
    BROKEN_REPLY,
    BUCKET,
    BUSY,
    DAMAGED,
    FLIPPED,
    FORBIDDEN,
    LOST_REPLY,
    PASSING,
    REFUSED,
    SLOW,
    UNAVAILABLE,
    UNKNOWN,
    Proxy,
)


@pytest.fixture(autouse=True)
def fresh_client(bucket: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_PATIENCE", "20")
    cloud_storage._client_of.cache_clear()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the test's own."""
    return f"gs://{BUCKET}/{request.node.name.replace('[', '/').rstrip(']')}"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than one request takes: 12 MB."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(12_000_000))
    return path


@pytest.mark.parametrize("fault", [UNAVAILABLE, BUSY, REFUSED, LOST_REPLY, BROKEN_REPLY, SLOW])
@pytest.mark.parametrize("size", [0, 1, 1_000_000, 12_000_000])
def test_each_fault_at_each_request(tmp_path: Path, bucket: Proxy, fault: str, size: int) -> None:
    """Every first time that an address is asked, the fault; the next time it goes well."""
    path, content = f"gs://{BUCKET}/each/{size}/{PASSING.index(fault)}", os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    met = set()

    def once(method: str, address: str) -> str | None:
        first = (method, address) not in met
        met.add((method, address))
        return fault if first else None

    bucket.fault = once
    assert cloud_storage.upload(str(tmp_path / "file"), path)
    with storage.reading(path) as stream:
        assert stream.read() == content
    assert bucket.injected[fault] >= 2


@pytest.mark.parametrize("fault", [UNAVAILABLE, BUSY, REFUSED, SLOW])
def test_an_upload_of_several_requests_goes_on_where_it_broke(
    folder: str, tmp_path: Path, bucket: Proxy, fault: str
) -> None:
    """Without lost replies: the emulator does not notice that a part which it has is sent again."""
    content = os.urandom(40_000_000)
    (tmp_path / "file").write_bytes(content)
    sent: list[str] = []

    def second(method: str, address: str) -> str | None:
        sent.append(method)
        return fault if method == "PUT" and sent.count("PUT") in (2, 4) else None

    bucket.fault = second
    assert cloud_storage.upload(str(tmp_path / "file"), f"{folder}/file")
    # Three parts, and two tries more; one session.
    tries = 3 if fault == SLOW else 5
    assert (sent.count("POST"), sent.count("PUT")) == (1, tries)
    with storage.reading(f"{folder}/file") as stream:
        assert stream.read() == content


def test_a_repeated_upload_changes_nothing(folder: str, large: Path) -> None:
    path = f"{folder}/large"
    assert cloud_storage.upload(str(large), path)
    before = cloud_storage.stat(path)
    assert not cloud_storage.upload(str(large), path)
    assert cloud_storage.stat(path) == before
    large.write_bytes(b"other")
    assert cloud_storage.upload(str(large), path)
    assert cloud_storage.stat(path).generation != before.generation


def test_of_two_who_write_one_is_told(folder: str, tmp_path: Path, bucket: Proxy) -> None:
    """The other one's object appears between a look and the upload: it is not written over."""
    path = f"{folder}/file"
    for name in ("ours", "theirs"):
        (tmp_path / name).write_text(name)

    def between(method: str, address: str) -> str | None:
        if method == "POST":
            bucket.calm()
            cloud_storage.upload(str(tmp_path / "theirs"), path)
        return None

    bucket.fault = between
    with pytest.raises(Retryable, match="another process writes there"):
        cloud_storage.upload(str(tmp_path / "ours"), path)
    with storage.reading(path) as stream:
        assert stream.read() == b"theirs"


def test_a_flipped_byte_is_seen(folder: str, tmp_path: Path, bucket: Proxy) -> None:
    path = f"{folder}/file"
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    cloud_storage.upload(str(tmp_path / "file"), path)
    bucket.fault = lambda method, address: FLIPPED if "alt=media" in address else None
    with pytest.raises(Retryable, match="another CRC-32C than the bucket says"):
        storage.fetch(path, str(tmp_path / "copy"))
    assert sorted(os.listdir(tmp_path)) == ["file"], "nothing is left of it"


@pytest.mark.parametrize("size", [100_000, 12_000_000])
@pytest.mark.parametrize("replaced", [False, True])
def test_what_arrives_damaged_does_not_stay(
    folder: str, tmp_path: Path, bucket: Proxy, monkeypatch: pytest.MonkeyPatch, size: int, replaced: bool
) -> None:
    """It is removed and sent again; where every try is damaged, no object is left that holds other bytes."""
    path = f"{folder}/file"
    if replaced:
        (tmp_path / "file").write_text("before")
        cloud_storage.upload(str(tmp_path / "file"), path)
    (tmp_path / "file").write_bytes(os.urandom(size))
    sends = "POST" if size < 1 << 23 else "PUT"
    bucket.fault = lambda method, address: DAMAGED if method == sends and not bucket.injected else None
    assert cloud_storage.upload(str(tmp_path / "file"), path)
    assert bucket.injected == {DAMAGED: 1}
    assert storage.sha256(path) == storage.sha256(str(tmp_path / "file"))
    bucket.fault = lambda method, address: DAMAGED if method == sends else None
    monkeypatch.setenv("STORAGE_PATIENCE", "1")
    with pytest.raises(Retryable, match="does not answer as it should"):
        cloud_storage.upload(str(tmp_path / "file"), f"{folder}/always")
    assert storage.names(folder) == ["file"]


def test_a_person_is_told_about_a_wait(
    folder: str, bucket: Proxy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cloud_storage, "SILENCE", 1.0)
    monkeypatch.setenv("STORAGE_PATIENCE", "4")
    bucket.fault = lambda method, address: UNAVAILABLE
    with pytest.raises(Retryable):
        storage.names(folder)
    assert capfd.readouterr().err == (
        f"cannot list {folder} yet: Cloud Storage does not answer as it should (503); trying again for 4 s in all\n"
    )


def test_an_object_that_is_replaced_while_it_is_read(folder: str, large: Path) -> None:
    path = f"{folder}/large"
    cloud_storage.upload(str(large), path)
    with storage.reading(path) as stream:
        assert len(stream.read(1000)) == 1000
        large.write_bytes(b"other")
        cloud_storage.upload(str(large), path)
        with pytest.raises(Retryable, match="was replaced or removed while it was read"):
            stream.read()


def test_missing_rights(folder: str, tmp_path: Path, bucket: Proxy) -> None:
    bucket.fault = lambda method, address: FORBIDDEN
    (tmp_path / "file").write_text("text")
    with pytest.raises(Refusal, match=f"have no right to read there; .* role Storage Object User on gs://{BUCKET}"):
        storage.sha256(f"{folder}/file")
    bucket.fault = lambda method, address: FORBIDDEN if method == "POST" else None
    with pytest.raises(Refusal, match="have no right to write there") as refused:
        cloud_storage.upload(str(tmp_path / "file"), f"{folder}/file")
    assert not isinstance(refused.value, Retryable)
    bucket.fault = lambda method, address: UNKNOWN
    with pytest.raises(Refusal, match="the credentials for gs:// do not work"):
        storage.names(folder)


def test_places_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for ask in (
        lambda: storage.names("gs://no-bucket/corpus"),
        lambda: cloud_storage.upload(str(tmp_path / "file"), "gs://no-bucket/file"),
    ):
        with pytest.raises(Refusal, match="there is no bucket gs://no-bucket"):
            ask()
    for address in ("gs://", "gs:///x", f"gs://{BUCKET}/a//b"):
        with pytest.raises(Refusal, match="is no address in Cloud Storage"):
            storage.names(address)
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        storage.sha256(f"gs://{BUCKET}/nothing")
    assert storage.names(f"gs://{BUCKET}/nothing") == []


def test_a_service_that_never_answers_well(folder: str, bucket: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_PATIENCE", "1.5")
    bucket.fault = lambda method, address: UNAVAILABLE
    start = time.monotonic()
    with pytest.raises(Retryable, match=r"does not answer as it should \(503\); the same command resumes"):
        storage.names(folder)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{nobody.getsockname()[1]}")
        cloud_storage._client_of.cache_clear()
        with pytest.raises(Retryable, match="does not answer as it should"):
            storage.names(folder)
    assert time.monotonic() - start < 15


def test_what_google_says_about_missing_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(
        Refusal, match="there are no credentials for gs://; run `gcloud auth application-default login`"
    ):
        storage.names(f"gs://{BUCKET}/x")
    secret = tmp_path / "key.json"
    secret.write_text('{"type": "service_account", "private_key": "marker-of-a-secret"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(secret))
    with pytest.raises(Refusal) as refused:
        storage.names(f"gs://{BUCKET}/x")
    assert "credentials" in str(refused.value)
    assert "marker-of-a-secret" not in str(refused.value)


def test_many_threads_use_one_client(folder: str, tmp_path: Path, bucket: Proxy) -> None:
    bucket.every(7)
    contents = {f"{number}": os.urandom(2000 + number) for number in range(60)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    made = storage.concurrently(
        lambda pair: cloud_storage.upload(*pair), [(str(tmp_path / name), f"{folder}/{name}") for name in contents]
    )
    assert all(made)
    assert storage.files_below(folder) == {name: len(content) for name, content in sorted(contents.items())}
    storage.remove_all(folder, list(contents))
    assert storage.names(folder) == []
    assert set(bucket.injected) == set(PASSING)
    assert threading.active_count() < 100
