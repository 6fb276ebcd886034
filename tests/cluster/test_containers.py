"""The compose profile `cluster`: workers and head are killed in mid-run, and nothing is lost or done twice."""

import functools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster.conftest import Completed, Containers, until
from tests.torture.runs import files

Run = Callable[..., Completed]
SAMPLE = Path("scripts/sample/jasample-cirrussearch-content.json").resolve()
SHARDS = 12
# What a shard is to take of a processor: `docker kill` takes 0.1 s.
SECONDS = 0.5


class Local(NamedTuple):
    """The SHA-256 of what a run without a cluster writes, and the copies of the corpus in it."""

    files: dict[str, str]
    copies: int


@pytest.fixture(scope="module")
def local(containers: Containers, run_stage: Run, tmp_path_factory: pytest.TempPathFactory) -> Local:
    """Made in the stage's own environment; corpus and vocabularies are made on the way."""
    data = containers.data
    run_stage("corpus", "--dump", SAMPLE, "--out", data / "corpus", "--shards", SHARDS)
    sizes = ["--vocab-size", 3000, "--alphabet-size", 1200]
    run_stage("vocab", "--corpus", data / "corpus", "--out", data / "vocab", *sizes)

    def written(copies: int, out: Path) -> tuple[float, dict[str, str]]:
        """The seconds that it takes, and the files."""
        flags = ["--seq-length", 64, "--dupe-factor", copies, "--model", "character", "--jobs", 1]
        done = run_stage("tfrecords", "--corpus", data / "corpus", "--vocab", data / "vocab", "--out", out, *flags)
        *_, told = re.findall(r"([\d,]+) examples, ([\d,]+) a second", done.stderr)
        examples, rate = (int(number.replace(",", "")) for number in told)
        made = files(out)
        shutil.rmtree(out)
        return examples / rate, made

    seconds, _ = written(200, tmp_path_factory.mktemp("tried"))
    copies = int(200 * SECONDS * SHARDS / seconds)
    return Local(written(copies, tmp_path_factory.mktemp("local"))[1], copies)


@pytest.fixture(scope="module")
def expected(local: Local) -> dict[str, str]:
    return local.files


@pytest.fixture(scope="module")
def cluster(containers: Containers, local: Local) -> Containers:
    """A head and two workers of one processor each."""
    containers.environment |= {"SEQ_LENGTH": "64", "DUPE_FACTOR": str(local.copies), "MODEL": "character"}
    containers.make("cluster")
    return containers


def written(cluster: Containers) -> dict[str, int]:
    """The shards that are finished, with the time at which each was written."""
    folder = cluster.data / "tfrecords/character"
    records = [path.name[1:].removesuffix(".json") for path in folder.glob(".pretrain_*.json")]
    return {name: (folder / name).stat().st_mtime_ns for name in records if (folder / name).exists()}


def _killed(process: "subprocess.Popen[str]") -> str:
    process.kill()
    return process.communicate()[0]


def in_mid_run(cluster: Containers, least: int) -> "subprocess.Popen[str]":
    """make tfrecords, when some shards are there and most are not."""
    process = cluster.started("tfrecords")
    until(lambda: len(written(cluster)) >= least, 120, functools.partial(_killed, process))
    assert len(written(cluster)) < SHARDS - 2
    return process


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    told, _ = process.communicate(timeout=400)
    return process.returncode, told


def test_a_worker_that_is_killed_costs_nothing_but_time(cluster: Containers, expected: dict[str, str]) -> None:
    one, _ = cluster.named("ray-worker")
    process = in_mid_run(cluster, 2)
    cluster.docker("kill", one)
    code, told = ended(process)
    assert code == 0, told
    # Ray takes 6 s to be sure, and what is left may not take so long.
    assert "Traceback" not in told
    assert len(cluster.named("ray-worker")) == 1
    assert files(cluster.data / "tfrecords") == expected
    manifest = json.loads((cluster.data / "tfrecords/character/manifest.json").read_text())
    assert len(manifest["files"]) == SHARDS


def test_when_the_head_is_killed_the_same_command_goes_on_from_what_is_there(
    cluster: Containers, expected: dict[str, str]
) -> None:
    shutil.rmtree(cluster.data / "tfrecords/character")
    (head,) = cluster.named("ray-head")
    process = in_mid_run(cluster, 2)
    cluster.docker("kill", head)
    code, told = ended(process)
    assert code == 2, "make's; the stage's is in its line"
    assert "Error 75" in told
    assert "was lost; once it is up again, the same command resumes from what is written\n" in told
    assert "Traceback" not in told
    assert not (cluster.data / "tfrecords/character/manifest.json").exists()
    refused = cluster.started("tfrecords")
    code, told = ended(refused)
    assert "tfrecords: error: no cluster answers at ray://ray-head:10001" in told
    cluster.make("cluster")
    before = written(cluster)
    assert 2 <= len(before) < SHARDS
    started = time.time_ns()
    told = cluster.make("tfrecords")
    assert files(cluster.data / "tfrecords") == expected
    after = {name: (cluster.data / "tfrecords/character" / name).stat().st_mtime_ns for name in before}
    assert after == before
    assert max(after.values()) < started


def test_a_machine_of_the_cluster_has_few_rights_and_reaches_nothing_else(cluster: Containers) -> None:
    for service in ("ray-head", "ray-worker"):
        look = "id -u; touch /app/x /venv/x; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
        asked = ["exec", cluster.named(service)[0], "sh", "-c", f"({look}) 2>&1"]
        said = cluster.docker(*asked)
        assert said.count("Read-only file system") == 2, said
        assert "CapEff:\t0000000000000000" in said
        assert "NoNewPrivs:\t1" in said
        inspected = json.loads(cluster.docker("inspect", cluster.named(service)[0]))[0]
        assert not any(inspected["NetworkSettings"]["Ports"].values())
        (network,) = inspected["NetworkSettings"]["Networks"]
        assert json.loads(cluster.docker("network", "inspect", network))[0]["Internal"] is True


def test_who_has_not_the_token_of_the_cluster_is_refused(cluster: Containers) -> None:
    """A driver in the same network that knows another one."""
    settings = ["RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef"]
    settings += [f"RAY_CLIENT_{name}_CONNECTION_TIMEOUT_S=2" for name in ("INITIAL", "MAX")]
    command = ["compose", "run", "--rm", "--no-deps", "-T", *(word for said in settings for word in ("--env", said))]
    words = ["stages.vocab", "--corpus", "data/corpus", "--out", "/tmp/vocab", "--engine", "ray"]
    done = subprocess.run(
        ["docker", *command, "ray-driver", *words], env=cluster.environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 75, done.stderr
    assert "vocab: error: the head at ray://ray-head:10001 takes no client" in done.stderr
    assert "must be the cluster's token\n" in done.stderr
