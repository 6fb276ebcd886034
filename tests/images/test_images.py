"""The images as people get them: what is in them, what they may do, and the whole flow through them at a tiny size.

Needs a Docker engine with compose and BuildKit; without one, or with RUNNER=venv, these tests are left out.
"""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers import left_out

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "scripts/sample/jasample-cirrussearch-content.json"
STAGES = ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert", "tokenizer", "serve"]
# C that every image of Python 3.11 holds, compiled.
COMPILED = ["formats/encoding", "formats/examples", "words/words"]
TINY = {
    "SHARDS": "3",
    "VOCAB_SIZE": "3000",
    "ALPHABET_SIZE": "1200",
    "SEQ_LENGTH": "32",
    "DUPE_FACTOR": "1",
    "MODEL": "character",
    "SIZE": "tiny",
    "BATCH": "2",
    "STEPS": "4",
    "WARMUP": "1",
    "DEVICE": "cpu",
}
Completed = subprocess.CompletedProcess[str]


REASON = left_out()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def ordinary_user() -> dict[str, Any]:
    """Who runs make: this user, or where that is root, a user who may talk to the engine and owns nothing."""
    if os.getuid():
        return {}
    return {"user": 12345, "group": 12345, "extra_groups": [os.stat("/var/run/docker.sock").st_gid]}


@pytest.fixture(scope="session")
def built() -> None:
    """All images, from the files as they are."""
    done = subprocess.run(["make", "images"], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]


def docker(*words: object, code: int = 0, **more: Any) -> Completed:
    done = subprocess.run(["docker", *map(str, words)], cwd=ROOT, capture_output=True, encoding="utf-8", **more)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def shell(stage: str, script: str, *options: str, code: int = 0) -> Completed:
    """Run a line of shell in a stage's image."""
    return docker("run", "--rm", "--entrypoint", "sh", *options, f"albert-ja/{stage}", "-c", script, code=code)


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_is_its_stage_and_runs_as_nobody_in_particular(built: None, stage: str) -> None:
    (image,) = json.loads(docker("image", "inspect", f"albert-ja/{stage}").stdout)
    assert image["Config"]["User"] == "1000:1000"
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == f"albert-ja/{stage}"
    rights = ["--network=none", "--read-only", "--cap-drop=ALL", "--user=54321:54321"]
    assert f"usage: {stage} " in docker("run", "--rm", *rights, f"albert-ja/{stage}", "--help").stdout
    refused = docker("run", "--rm", f"albert-ja/{stage}", "--no-such-flag", code=2)
    assert "usage:" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_holds_only_what_its_stage_needs(built: None, stage: str) -> None:
    listed = set(shell(stage, "cd /app/stages && find . -name '*.py' | cut -c3-").stdout.split())
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    arguments = services[stage]["build"].get("args", {"PARTS": "formats"})
    rooms = ["command", "handover", *["engine", "formats", "words"] * (stage != "tpu-train")]
    parts = [*arguments.get("PARTS", "").split(), *rooms]
    folders = {path.partition("/")[0] for path in listed if "/" in path}
    # Configurations are no Python.
    assert folders == {stage.replace("-", "_"), *parts} - {"tpu_train/configs"}
    libraries = shell(stage, "cd /app/stages && find . -name '*.so' | cut -c3- | sort").stdout.split()
    own = {"corpus": ["corpus/cleaning", "corpus/sentences"]}.get(stage, [])
    compiled = [*own, *COMPILED] if stage != "tpu-train" else []
    assert [library.rsplit("-", 1)[0] for library in libraries] == compiled
    # Nothing to install or edit with, nothing to write to, and no source that has to be compiled again.
    shell(stage, "! python -m pip --version && ! /usr/local/bin/python -m pip --version && ! which pip vi nano gcc")
    shell(stage, "! touch /app/x && ! touch /venv/x && test -w /tmp && test $HOME = /tmp")
    bytecode = "for f in $(find . -name '*.py'); do ls ${f%/*}/__pycache__/$(basename $f .py).*.pyc || exit 1; done"
    shell(stage, f"cd /app/stages && {bytecode}")
    large = {
        "torch": ["train", "convert"],
        "tensorflow": ["tpu-train"],
        "transformers": ["train", "convert"],
        "fastapi": ["serve"],
    }
    for package, users in large.items():
        found = f"ls -d /venv/lib/python3*/site-packages/{package}"
        shell(stage, found if stage in users else f"! {found}")


class Flow:
    """make with RUNNER=docker on folders of its own, by an ordinary user."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.who = folder, ordinary_user()
        if self.who:
            os.chown(folder, self.who["user"], self.who["group"])
        self.variables = {**TINY, "DATA": f"{folder}/data", "MODELS": f"{folder}/models", "RUNNER": "docker"}

    def make(self, *words: str, code: int = 0, **variables: str) -> Completed:
        given = {**self.variables, **variables}
        done = subprocess.run(
            ["make", "--no-print-directory", *words, *(f"{name}={value}" for name, value in given.items())],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            capture_output=True,
            encoding="utf-8",
            **self.who,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture(scope="session")
def flow(built: None) -> Iterator[Flow]:
    """The whole flow for one model, made once."""
    # Not in pytest's own folder, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="albert-ja-") as folder:
        flow = Flow(Path(folder))
        flow.make("corpus", "vocab", "tfrecords", "tpu-train", "convert", DUMP=SAMPLE)
        yield flow


def test_the_flow_ends_in_a_model_that_tokenizes(flow: Flow) -> None:
    assert flow.make("tokenize", TEXT="春の山を見る。").stdout == "春 の 山 を 見 る 。\n"
    mounts = ["--volume", f"{flow.folder}/models:/models:ro", "--network=none", "--read-only"]
    lines = docker(
        "run", "--rm", "-i", *mounts, "albert-ja/tokenizer", "tokenize", "--model", "/models/character/tiny",
        input="春の山\n\n花を見る\n",
    ).stdout  # fmt: skip
    assert lines == "春 の 山\n\n花 を 見 る\n"
    fast = "from stages.words.reading import read_tokenizer as r; assert r('/models/character/tiny').rules.compiled"
    docker("run", "--rm", *mounts, "--entrypoint", "python", "albert-ja/tokenizer", "-c", fast)
    parity = json.loads((flow.folder / "models/character/tiny/manifest.json").read_text())["parity"]
    assert max(parity.values()) < 1e-4


def test_the_tokenizer_fills_masks_in_its_image(flow: Flow) -> None:
    mounts = ["--volume", f"{flow.folder}/models:/models:ro", "--network=none", "--read-only", "--cap-drop=ALL"]
    model = ["--model", "/models/character/tiny"]
    image = ["run", "--rm", "-i", *mounts, "albert-ja/tokenizer"]
    done = docker(*image, "fill-mask", *model, "--top-k", 3, input="春の[MASK]を見る。\n")
    [line] = done.stdout.splitlines()
    assert len(line.split()) == 6
    # onnxruntime would say that it cannot write the id by which it reports its use.
    assert done.stderr == ""
    own = ["fill-mask", "--model", "released/character/tiny", "--top-k", 1]
    assert docker(*image, *own, input="雨が降っ[MASK]、家にいた。\n").stdout.split()[0] == "て"
    ids = docker(*image, "encode", *model, "--to", "text", input="春の山\n").stdout
    assert docker(*image, "decode", *model, input=ids).stdout == "春の山\n"


def test_the_service_in_its_container(flow: Flow) -> None:
    """`docker compose up serve`: healthy, few rights, no way out, and it ends with 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    compose = ["docker", "compose", "--project-name", "albert-ja-test-serve"]
    said = {**os.environ, "MODELS": f"{flow.folder}/models", "PORT": port, "RUN_AS": "54321:54321"}
    options: Any = {"cwd": ROOT, "env": said, "capture_output": True, "encoding": "utf-8"}
    try:
        subprocess.run([*compose, "up", "--detach", "--wait", "serve"], check=True, timeout=120, **options)
        body = json.dumps({"text": "春の山を見る。"}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer) == {"model": "character/tiny", "tokens": list("春の山を見る。")}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
            assert "日本語トークナイザー" in page.read().decode()
        inside = "id -u; grep CapEff /proc/1/status; grep NoNewPrivs /proc/1/status; touch /app/x /app/models/x 2>&1"
        shown = subprocess.run([*compose, "exec", "-T", "serve", "sh", "-c", inside], **options).stdout
        assert shown.startswith("54321\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n")
        assert shown.count("Read-only file system") == 2
        [network] = json.loads(docker("network", "inspect", "albert-ja-test-serve_serve").stdout)
        assert network["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
        subprocess.run([*compose, "stop", "serve"], check=True, timeout=60, **options)
        [container] = json.loads(docker("inspect", "albert-ja-test-serve-serve-1").stdout)
        assert container["State"]["ExitCode"] == 0
    finally:
        subprocess.run([*compose, "--profile", "serve", "down", "--timeout", "1"], timeout=60, **options)


def test_files_belong_to_the_user_who_ran_make(flow: Flow) -> None:
    who = flow.who.get("user", os.getuid())
    made = [path for top in ("data", "models") for path in (flow.folder / top).rglob("*")]
    assert len(made) > 20
    assert {path.stat().st_uid for path in made} == {who}
    assert not [path for path in made if path.stat().st_mode & stat.S_IWOTH]


def test_a_finished_flow_is_left_alone(flow: Flow) -> None:
    before = {path: path.stat().st_mtime_ns for path in flow.folder.rglob("*") if path.is_file()}
    flow.make("corpus", "vocab", "tfrecords", "tpu-train", "convert", DUMP=SAMPLE)
    kept = {path: path.stat().st_mtime_ns for path in before}
    assert {p for p in before if before[p] != kept[p] and ".docker" not in str(p)} == set()


@pytest.mark.parametrize(
    ("stage", "read"),
    [
        ("vocab", ["data/corpus"]),
        ("tfrecords", ["data/corpus", "data/vocab"]),
        ("tpu-train", ["data/tfrecords", "data/vocab"]),
        ("convert", ["data/checkpoints", "data/vocab"]),
        ("tokenizer", ["models"]),
    ],
)
def test_a_service_cannot_write_to_its_inputs_nor_reach_a_network(flow: Flow, stage: str, read: list[str]) -> None:
    tries = " ".join(f"touch /app/{folder}/x;" for folder in read)
    script = f"{tries} touch /app/x; ls /sys/class/net; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
    done = docker(
        "compose", "run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", stage, "-c", script,
        env={**os.environ, "DATA": flow.variables["DATA"], "MODELS": flow.variables["MODELS"]},
    )  # fmt: skip
    assert done.stderr.count("Read-only file system") == len(read) + 1, done.stderr
    assert done.stdout.split() == ["lo", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


@pytest.mark.parametrize(
    ("target", "variables", "words"),
    [
        (
            "corpus",
            {"DUMP": SAMPLE, "SHARDS": "5"},
            "was made with other options or inputs: options.shards was 3 and is now 5",
        ),
        ("corpus", {"DUMP": "README.md", "SHARDS": "0"}, "--shards"),
        ("tpu-train", {"DEVICE": ""}, "DEVICE=cpu"),
        ("convert", {"SIZE": "base"}, "character/tiny"),
        ("tokenize", {"TEXT": "字", "SIZE": "base"}, "make convert makes one"),
    ],
)
def test_a_refusal_comes_through_with_its_exit_code(
    flow: Flow, target: str, variables: dict[str, str], words: str
) -> None:
    assert words in flow.make(target, code=2, **variables).stderr


def test_a_mounted_folder_that_is_missing_is_an_error_and_not_made(built: None, tmp_path: Path) -> None:
    environment = {**os.environ, "DATA": str(tmp_path / "data")}
    done = docker("compose", "run", "--rm", "--no-deps", "-T", "corpus", code=1, env=environment)
    assert "does not exist" in done.stderr
    assert not (tmp_path / "data").exists()


def test_one_compose_command_runs_the_whole_chain_with_the_options_of_make(flow: Flow, tmp_path: Path) -> None:
    data = ("downloads", "corpus", "vocab", "tfrecords", "checkpoints", "runs")
    for folder in (*(f"data/{name}" for name in data), "models"):
        (tmp_path / folder).mkdir(parents=True)
    # Trained by make: left alone by whoever says the same of the same TFRecords, and refused otherwise.
    trained = tmp_path / "data/checkpoints/character/tiny"
    shutil.copytree(flow.folder / trained.relative_to(tmp_path), trained)
    before = {path: path.stat().st_mtime_ns for path in trained.iterdir()}
    options = tmp_path / "my.env"
    options.write_text("".join(f"{name}={value}\n" for name, value in {**TINY, "DEVICE": "cpu"}.items()))
    environment = {**os.environ, "DATA": f"{tmp_path}/data", "MODELS": f"{tmp_path}/models", "OPTIONS": str(options)}
    environment |= {"RUN_AS": f"{os.getuid()}:{os.getgid()}", "COMPOSE_PROJECT_NAME": f"albert-ja-test-{os.getpid()}"}
    try:
        docker("compose", "up", "--no-color", env=environment)
        assert (tmp_path / "models/character/tiny/manifest.json").exists()
        assert {path: path.stat().st_mtime_ns for path in trained.iterdir()} == before
        for made in ("data/corpus", "data/vocab", "data/tfrecords/character"):
            manifest = f"{made}/manifest.json"
            assert (tmp_path / manifest).read_bytes() == (flow.folder / manifest).read_bytes()
        # A link that breaks stops the chain with an error.
        options.write_text(options.read_text().replace("SHARDS=3", "SHARDS=5"))
        docker("compose", "up", "--no-color", env=environment, code=1)
    finally:
        docker("compose", "down", env=environment)


def test_the_same_bytes_come_from_the_environment_and_from_the_image(
    flow: Flow, run_stage: Callable[..., Any], tmp_path: Path
) -> None:
    run_stage("corpus", "--dump", SAMPLE, "--out", tmp_path / "corpus", "--shards", 3)
    run_stage("vocab", "--corpus", tmp_path / "corpus", "--out", tmp_path / "vocab",
              "--vocab-size", 3000, "--alphabet-size", 1200)  # fmt: skip
    for name in ("corpus/manifest.json", "vocab/manifest.json"):
        assert (tmp_path / name).read_bytes() == (flow.folder / "data" / name).read_bytes()


def test_a_signal_reaches_training_in_its_container(flow: Flow) -> None:
    """`docker compose run` alone would leave the container behind, running."""
    out = flow.folder / "data/checkpoints/stopped"
    more = {"STEPS": "10000", "FLAGS": "--out data/checkpoints/stopped --eval-batch 2"}
    with subprocess.Popen(
        ["python3", "-m", "scripts.run", "tpu-train"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(flow.folder), **flow.variables, **more},
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **flow.who,
    ) as training:
        for _ in range(240):
            if (out / "graph.pbtxt").exists():
                break
            time.sleep(0.5)
        training.send_signal(signal.SIGTERM)
        _, said = training.communicate()
    assert training.returncode == 143, said
    step = said.partition("stopped at step ")[2].partition(",")[0]
    assert (out / f"model.ckpt-{step}.index").exists(), said
    assert docker("ps", "--quiet", "--filter", f"name=albert-ja-tpu-train-{training.pid}").stdout == ""
