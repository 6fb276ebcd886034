"""A cluster whose folders are in Cloud Storage: its machines share nothing but that, and reach it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Containers, containers_of
from tests.containers import left_out
from tests.mount.conftest import BUCKET, SAMPLE, SMALL, Storage, docker, files, served
from tests.mount.conftest import local_run as local_run

RUN = "on-a-cluster"


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """At the address that containers have for this machine: out of a network that leads nowhere, it is not reached."""
    reason = left_out()
    if reason:
        pytest.skip(reason)
    form = "{{(index .IPAM.Config 0).Gateway}}"
    gateway = docker("network", "inspect", "bridge", "--format", form).stdout.strip()
    with served("albert-ja-test-cluster-storage", gateway) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(storage: Storage) -> Iterator[Containers]:
    """A head and two workers of one processor each, told that DATA is in the bucket."""
    small = {name: str(value) for name, value in SMALL.items()}
    place = {"DATA": f"gs://{BUCKET}/{RUN}", "DUMP": SAMPLE, "STORAGE_EMULATOR_HOST": storage.address}
    with containers_of("bucket-cluster", **small, **place) as made:
        made.make("cluster")
        yield made


def test_a_cluster_on_a_bucket_leaves_the_bytes_of_a_local_run(
    cluster: Containers, storage: Storage, local_run: Path
) -> None:
    workers = cluster.named("ray-worker")
    assert len(workers) == 2
    # As a worker does by itself that has lost its head; what it mounts must still be there.
    cluster.docker("restart", "--time", "1", workers[0])
    cluster.make("cluster")
    assert cluster.named("ray-worker") == workers, "the same command again changes nothing"
    told = cluster.make("corpus", "vocab", "tfrecords")
    assert told.count("--env ENGINE=ray ") == 3
    assert {name: storage.read(f"{RUN}/{name}") for name in storage.names(f"{RUN}/")} == files(local_run)


def test_its_machines_reach_the_bucket_and_have_no_folder_to_write_to(cluster: Containers, storage: Storage) -> None:
    worker = cluster.named("ray-worker")[0]
    (network,) = json.loads(cluster.docker("inspect", worker))[0]["NetworkSettings"]["Networks"]
    assert json.loads(cluster.docker("network", "inspect", network))[0]["Internal"] is False
    look = "ls -A /app/data/*; touch /app/data/corpus/x /app/data/tfrecords/x 2>&1"
    said = cluster.docker("exec", worker, "sh", "-c", f"{look}; true").splitlines()
    assert [line for line in said if line and not line.endswith(":")] == [
        f"touch: cannot touch '/app/data/{folder}/x': Permission denied" for folder in ("corpus", "tfrecords")
    ]
