"""A marker secret in the environment and in a file of credentials: it is in no image, no log, no file that is made."""

import gzip
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers import left_out

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
# Both are looked for; each is in no other file than those that a test makes.
IN_ENVIRONMENT, IN_FILE = "marker-of-the-environment-5f1c", "marker-of-the-file-93ab"
# As people have them set, beside the two that the stages look at.
NAMES = ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GOOGLE_API_KEY", "GITHUB_TOKEN", "PIP_INDEX_URL", "HTTP_AUTHORIZATION"]
KEY = '{"type": "service_account", "private_key": "%s", "client_email": "a@b"}' % IN_FILE
STAGES = ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert", "tokenizer", "serve"]


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    """The variables of a person with secrets."""
    key = tmp_path / "key.json"
    key.write_text(KEY)
    key.chmod(0o644)
    return {**dict.fromkeys(NAMES, IN_ENVIRONMENT), "GOOGLE_APPLICATION_CREDENTIALS": str(key)}


def told(text: str) -> None:
    """Nothing that a person sees has a secret in it."""
    assert IN_ENVIRONMENT not in text
    assert IN_FILE not in text


def searched(folder: Path) -> int:
    """The number of files in and below a folder, none of which has a secret in it."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    for path in found:
        data = path.read_bytes()
        assert IN_ENVIRONMENT.encode() not in data, path
        assert IN_FILE.encode() not in data, path
        assert "GOOGLE_APPLICATION_CREDENTIALS" not in data.decode("utf-8", "replace"), path
    return len(found)


def test_what_the_stages_write_and_say_holds_no_secret(
    run_stage: Any, tmp_path: Path, credentials: dict[str, str]
) -> None:
    """Also where they refuse, and where gs:// is out of reach."""
    out = tmp_path / "made"
    env = {**credentials, "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    said = [
        run_stage("corpus", "--dump", SAMPLE, "--out", out / "corpus", "--shards", 2, env=env),
        run_stage(
            *("vocab", "--corpus", out / "corpus", "--out", out / "vocab", "--vocab-size", 3000),
            *("--alphabet-size", 1200),
            env=env,
        ),
        run_stage(
            *("tfrecords", "--corpus", out / "corpus", "--vocab", out / "vocab", "--out", out / "tfrecords"),
            *("--seq-length", 32, "--dupe-factor", 1),
            env=env,
        ),
        run_stage("corpus", "--dump", SAMPLE, "--out", out / "corpus", "--shards", 3, code=2, env=env),
        run_stage("tokenizer", "tokenize", "--model", out / "none", code=2, env=env),
    ]
    for done in said:
        told(done.stdout + done.stderr)
    assert searched(out) > 8


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that gives the same dump for every address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = gzip.compress("長さの足りる文である。\n".encode())
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Not on the tests' standard error."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{made.server_address[1]}"
        made.shutdown()


def test_an_address_with_a_password_or_a_signature_is_not_told_nor_kept(
    run_stage: Any, tmp_path: Path, server: str
) -> None:
    flags = ("--out", tmp_path / "out", "--downloads", tmp_path / "downloads", "--retries", 0, "--shards", 1)
    no_proxy = {"no_proxy": "127.0.0.1"}
    for ending in ("d.gz", "folder/"):
        address = f"http://somebody:{IN_ENVIRONMENT}@{server}/{ending}"
        done = run_stage("corpus", "--dump", address, *flags, code=2, env=no_proxy)
        told(done.stdout + done.stderr)
        assert f"http://{server}/{ending} has a user or password" in done.stderr
    signed = f"http://{server}/d.gz?X-Goog-Signature={IN_ENVIRONMENT}"
    done = run_stage("corpus", "--dump", signed, *flags, env=no_proxy)
    told(done.stdout + done.stderr)
    assert searched(tmp_path) == 3
    assert not [path for path in tmp_path.rglob("*") if IN_ENVIRONMENT in str(path)]
    done = run_stage("corpus", "--dump", signed.replace(server, "127.0.0.1:9"), *flags, code=2, env=no_proxy)
    told(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def context() -> Iterator[Path]:
    """A copy of what git would give, with files of secrets wherever people leave them."""
    with tempfile.TemporaryDirectory(prefix="albert-ja-") as folder:
        made = Path(folder)
        for name in ("docker", "stages", "compose.yaml", ".dockerignore"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, made / name)
        for name in (
            *(".env", "key.json", "service-account.json", ".netrc", ".git-credentials", "credentials.json"),
            *("stages/.env", "stages/corpus/.env", "stages/corpus/key.json", "stages/tpu_train/service-account.json"),
            *("stages/corpus/credentials.json", "stages/corpus/application_default_credentials.json"),
            *("stages/corpus/.netrc", "stages/corpus/id_rsa", "stages/corpus/client.pem", "stages/corpus/tls.key"),
        ):
            (made / name).write_text(KEY)
        yield made


@pytest.mark.skipif(left_out() is not None, reason=str(left_out()))
def test_no_file_of_secrets_is_in_the_context_of_a_build(context: Path) -> None:
    """Whatever a Dockerfile copies: a build from nothing that copies all of the context shows what there is."""
    (context / "all.Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    out = context / "out"
    build = ["docker", "build", "--quiet", "--file", f"{context}/all.Dockerfile", "--output", f"type=local,dest={out}"]
    done = subprocess.run([*build, str(context)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert (out / "stages" / "corpus" / "__main__.py").exists()
    assert [path.name for path in out.iterdir()] == ["stages"]
    left = [
        path.relative_to(out)
        for path in out.rglob("*")
        if path.is_file() and IN_FILE in path.read_text("utf-8", "replace")
    ]
    assert left == []


@pytest.mark.skipif(left_out() is not None, reason=str(left_out()))
def test_no_secret_reaches_an_image_or_what_a_container_leaves(tmp_path: Path, credentials: dict[str, str]) -> None:
    """An image that is built and run by make, by a person with secrets: its layers, its history, its log, its files."""
    environment = {**os.environ, **credentials, "RUNNER": "docker", "DATA": str(tmp_path / "data")}
    words = ["make", "--no-print-directory", "corpus", f"DUMP={SAMPLE}", "SHARDS=2"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    told(done.stdout + done.stderr)
    assert searched(tmp_path / "data") == 3
    with tempfile.TemporaryFile() as archive:
        subprocess.run(["docker", "save", "albert-ja/corpus"], stdout=archive, check=True)
        archive.seek(0)
        rest = b""
        while block := archive.read(1 << 24):
            for marker in (IN_ENVIRONMENT.encode(), IN_FILE.encode()):
                assert marker not in rest + block
            rest = block[-64:]


def test_nothing_that_git_keeps_looks_like_a_key() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if tracked.returncode:
        pytest.skip("this is no checkout")
    signs = (
        b"-----BEGIN PRIV" + b"ATE KEY",
        b"-----BEGIN RSA PRIV" + b"ATE KEY",
        b'"private_key_id"' + b': "',
        b"ghp" + b"_",
        b"AKI" + b"A",
    )
    for name in filter(None, tracked.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            assert not [sign for sign in signs if sign in data and not name.endswith(".lock")], name
