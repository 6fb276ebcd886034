"""A Ray cluster on this machine, through the compose profile `cluster`, for `make corpus vocab tfrecords ENGINE=ray`.

`scripts/cluster.py cluster` starts a head and WORKERS workers (2), of JOBS processes each, with the folders that DATA,
WORK_DIR and DUMP name, and returns when they are there. `scripts/cluster.py cluster-stop` takes them away; the
folders stay. Needs a Docker engine, and nothing but Python 3.9.
"""

from __future__ import annotations

import subprocess
import sys

from stage import ROOT, Problem, compose_variables, credentials, engine_answers, is_remote, mounted_folders, setting
from stage import places_here as places

COMPOSE = ("docker", "compose", "--profile", "cluster")


def start() -> None:
    """Start the head and the workers."""
    workers = setting("WORKERS", "2")
    if not workers.isdecimal() or int(workers) < 1:
        raise Problem(f"WORKERS={workers} is no number of workers")
    mounted_folders()
    compose("build", "--quiet")
    compose("up", "--detach", "--wait", "--scale", f"ray-worker={workers}")
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
    subprocess.run([*COMPOSE, *words], cwd=ROOT, env=variables, check=True)


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
