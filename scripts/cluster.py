"""A Ray cluster on this machine, through the compose profile `cluster`, for `make corpus vocab tfrecords ENGINE=ray`.

`scripts/cluster.py cluster` starts a head and WORKERS workers (2), of JOBS processes each, with the folders that DATA,
WORK_DIR and DUMP name, and returns when they are there. `scripts/cluster.py cluster-stop` takes them away; the
folders stay. Needs a Docker engine, and nothing but Python 3.9.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stage import (
    MOUNTED,
    ROOT,
    Problem,
    compose_variables,
    credentials,
    engine_answers,
    is_remote,
    mounted_folders,
    setting,
)
from stage import places_here as places

COMPOSE = ("docker", "compose", "--profile", "cluster")


def start() -> None:
    """Start the head and the workers."""
    workers = setting("WORKERS", "2")
    if not workers.isdecimal() or int(workers) < 1:
        raise Problem(f"WORKERS={workers} is no number of workers")
    mounted_folders()
    compose("build", "--quiet")
    up = ("up", "--detach", "--wait", "--scale", f"ray-worker={workers}")
    try:
        compose(*up)
    except subprocess.CalledProcessError:
        # Ray ends a machine that needs more than 30 s to start, as on a busy computer it may: it starts again.
        compose(*up)
    print(
        f"cluster: a head and {workers} workers are up: make corpus vocab tfrecords RUNNER=docker ENGINE=ray, with the"
    )
    print("cluster: same DATA, WORK_DIR and DUMP; in the end make cluster-stop")


def compose(*words: str) -> None:
    """A command of compose; its own words are for the person."""
    here = places()
    variables = compose_variables()
    if any(map(is_remote, (here.data, here.training))):
        variables.update(CLUSTER_INTERNAL="false", CREDENTIALS=credentials())
    for name, place in (("DATA", here.data), ("TRAINING", here.training)):
        if is_remote(place):
            variables[name] = lasting_folder(name)
    subprocess.run([*COMPOSE, *words], cwd=ROOT, env=variables, check=True)


def lasting_folder(name: str) -> str:
    """A folder to mount in place of DATA or TRAINING in a bucket, as `stage.empty_folder` makes for one command.

    It stays: a worker that has lost its head starts again, and mounts what it mounted before.
    """
    folder = Path("data", ".in-a-bucket").resolve()
    for mounted in MOUNTED[name]:
        (folder / mounted).mkdir(mode=0o555, parents=True, exist_ok=True)
    return str(folder)


def main(arguments: list[str]) -> int:
    if arguments not in (["cluster"], ["cluster-stop"]):
        print("usage: scripts/cluster.py cluster|cluster-stop", file=sys.stderr)
        return 2
    try:
        if not engine_answers():
            raise Problem("needs a Docker engine with compose; make doctor says what is missing")
        if arguments == ["cluster"]:
            start()
        else:
            compose("rm", "--force", "--stop", "ray-worker", "ray-head")
    except Problem as problem:
        print(f"{arguments[0]}: error: {problem}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
