"""A Ray cluster on this machine, through the compose profile `cluster`, for `make corpus vocab tfrecords ENGINE=ray`.

`python3 -m scripts.cluster cluster` starts a head and WORKERS workers (2), of JOBS processes each, with the folders
that DATA, WORK_DIR and DUMP name, and returns when they are there. `cluster-stop` takes them away; the folders stay.
Needs a Docker engine, and nothing but Python 3.9.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.containers import ROOT, credentials, folder_variables, make_folders, require_engine
from scripts.run import act
from stages.command.folders import data, remote, setting, training
from stages.command.refusal import Refusal

COMPOSE = ("docker", "compose", "--profile", "cluster")


def start() -> int:
    """Start the head and the workers."""
    require_engine()
    workers = setting(os.environ, "WORKERS", "2")
    if not workers.isdecimal() or int(workers) < 1:
        raise Refusal(f"WORKERS={workers} is no number of workers")
    make_folders()
    compose("build", "--quiet")
    up = ("up", "--detach", "--wait", "--scale", f"ray-worker={workers}")
    try:
        compose(*up)
    except subprocess.CalledProcessError:
        # Ray ends a machine that needs more than 30 s to start, as on a busy computer it may: it starts again.
        compose(*up)
    print(f"cluster: a head and {workers} workers are up: make corpus vocab tfrecords RUNNER=docker ENGINE=ray, with")
    print("cluster: the same DATA, WORK_DIR and DUMP; in the end make cluster-stop")
    return 0


def compose(*words: str) -> None:
    """A command of compose; its own words are for the person.

    The folders that are mounted in place of those in a bucket stay: a worker that has lost its head starts again, and
    mounts what it mounted before.
    """
    variables = folder_variables(empty=Path("data", ".in-a-bucket").resolve())
    if remote(data(os.environ)) or remote(training(os.environ)):
        variables.update(CLUSTER_INTERNAL="false", CREDENTIALS=credentials())
    subprocess.run([*COMPOSE, *words], cwd=ROOT, env=variables, check=True)


def stop() -> int:
    """Remove the containers."""
    require_engine()
    compose("rm", "--force", "--stop", "ray-worker", "ray-head")
    return 0


if __name__ == "__main__":
    sys.exit(act("scripts.cluster", {"cluster": start, "cluster-stop": stop}, sys.argv[1:]))
