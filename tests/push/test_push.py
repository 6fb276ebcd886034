"""push: lists and sends nothing, sends one commit when confirmed, and what it refuses to send."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.push.conftest import Hub

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_thisIsNoRealToken"


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(model, tmp_path / "model"))


def push(
    address: str, folder: Path, *more: str, code: int = 0, token: str = TOKEN, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home or folder.parent / "home")}
    if token:
        environment["HF_TOKEN"] = token
    command = [str(ROOT / ".venv/convert/bin/python"), "-m", "stages.convert.push", "--model", str(folder)]
    if "--repo" not in more:
        command += ["--repo", "someone/albert"]
    done = subprocess.run([*command, *more], capture_output=True, encoding="utf-8", cwd=ROOT, env=environment)
    assert done.returncode == code, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_nothing_is_sent_unless_it_is_confirmed(hub: Hub, model: Path, tmp_path: Path) -> None:
    done = push(hub.address, model, home=tmp_path)
    assert hub.requests == []
    assert "nothing was sent; CONFIRM=1" in done.stderr
    assert "→ someone/albert (private where it is made anew)" in done.stdout
    for path in model.iterdir():
        assert f"{path.stat().st_size:>13,}  {path.name}\n" in done.stdout


def test_one_commit_holds_every_file_to_the_byte(hub: Hub, model: Path, tmp_path: Path) -> None:
    done = push(hub.address, model, "--confirm", "--message", "Tiny model", home=tmp_path)
    assert done.stdout.splitlines()[-1] == f"{hub.address}/someone/albert/commit/abc"
    ((message, files),) = hub.commits
    assert message == "Tiny model"
    assert files == {path.name: path.read_bytes() for path in model.iterdir()}
    (made,) = hub.made
    assert (made["organization"], made["name"]) == ("someone", "albert")
    assert made.get("private") is True or made.get("visibility") == "private"
    assert {token for _, path, token in hub.requests if "/api/models" in path or "create" in path} == {
        f"Bearer {TOKEN}"
    }


def test_a_repository_that_everyone_sees_is_asked_for(hub: Hub, model: Path, tmp_path: Path) -> None:
    push(hub.address, model, "--confirm", "--public", home=tmp_path)
    assert hub.made[0].get("private") is False or hub.made[0].get("visibility") == "public"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, 2, "the Hub does not know the token"),
        (403, 2, "the token has no right to write there"),
        (404, 2, "no such user or repository"),
        (503, 75, "the Hub cannot take someone/albert now (HTTP 503)"),
    ],
)
def test_an_answer_of_the_hub_is_one_line(
    hub: Hub, model: Path, tmp_path: Path, status: int, code: int, said: str
) -> None:
    hub.refusing = status
    done = push(hub.address, model, "--confirm", code=code, home=tmp_path)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert hub.commits == []


def test_without_a_token_or_a_network_there_is_one_line(hub: Hub, model: Path, tmp_path: Path) -> None:
    assert "there is no token for the Hub" in push(
        hub.address, model, "--confirm", code=2, token="", home=tmp_path
    ).stderr  # fmt: skip
    assert hub.requests == []
    done = push("http://127.0.0.1:9", model, "--confirm", code=75, home=tmp_path)
    assert "cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def unlisted(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"bytes": 1, "sha256": ""}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "manifest.json").unlink(), "was not written by convert"),
        (lambda f: (f / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda f: (f / "notes.txt").write_text("私"), "notes.txt is not of the model"),
        (lambda f: (f / ".netrc").write_text("secret"), ".netrc is not of the model"),
        (lambda f: (f / "README.md").write_text("私"), "README.md is not what convert wrote"),
        (lambda f: (f / "config.json").rename(f / "c") and (f / "config.json").symlink_to("c"), "is a link"),
        (unlisted, "has a name that leads out of the folder"),
    ],
)
def test_a_folder_that_is_not_what_convert_wrote_is_refused(
    hub: Hub, folder: Path, change: Callable[[Path], Any], said: str
) -> None:
    change(folder)
    assert said in push(hub.address, folder, "--confirm", code=2).stderr
    assert hub.requests == []


@pytest.mark.parametrize("name", ["albert", "a/b/c", "a/../b", "someone/al bert", ".a/b", "a/" + "b" * 96, "私/b"])
def test_a_name_that_is_none_is_refused(hub: Hub, model: Path, tmp_path: Path, name: str) -> None:
    assert "it is user/name" in push(hub.address, model, "--repo", name, "--confirm", code=2, home=tmp_path).stderr
    assert hub.requests == []
