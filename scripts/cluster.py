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

from scripts.containers import MOUNTED, ROOT, credentials, engine_answers, folder_variables, make_folders
from scripts.run import refuse_unknown_variables
from stages.command.folders import data, remote, setting, training
from stages.command.refusal import Refusal

COMPOSE = ("docker", "compose", "--profile", "cluster")


def start() -> None:
    """Start the head and the workers."""
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
    print(
        f"cluster: a head and {workers} workers are up: make corpus vocab tfrecords RUNNER=docker ENGINE=ray, with the"
    )
    print("cluster: same DATA, WORK_DIR and DUMP; in the end make cluster-stop")


def compose(*words: str) -> None:
    """A command of compose; its own words are for the person."""
    folders = {"DATA": data(os.environ), "TRAINING": training(os.environ)}
    variables = folder_variables()
    if any(map(remote, folders.values())):
        variables.update(CLUSTER_INTERNAL="false", CREDENTIALS=credentials())
    for name, folder in folders.items():
        if remote(folder):
            variables[name] = lasting_folder(name)
    subprocess.run([*COMPOSE, *words], cwd=ROOT, env=variables, check=True)


def lasting_folder(name: str) -> str:
    """A folder to mount in place of DATA or TRAINING in a bucket, as `containers.empty_folder` makes for one command.

    It stays: a worker that has lost its head starts again, and mounts what it mounted before.
    """
    folder = Path("data", ".in-a-bucket").resolve()
    for mounted in MOUNTED[name]:
        (folder / mounted).mkdir(mode=0o555, parents=True, exist_ok=True)
    return str(folder)


def main(arguments: list[str]) -> int:
    if arguments not in (["cluster"], ["cluster-stop"]):
        print("usage: python3 -m scripts.cluster cluster|cluster-stop", file=sys.stderr)
        return 2
    try:
        refuse_unknown_variables()
        if not engine_answers():
            raise Refusal("needs a Docker engine with compose; make doctor says what is missing")
        if arguments == ["cluster"]:
            start()
        else:
            compose("rm", "--force", "--stop", "ray-worker", "ray-head")
    except Refusal as problem:
        print(f"{arguments[0]}: error: {problem}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
