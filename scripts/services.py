"""What runs beside the stages, through profiles of compose: a Ray cluster, and a bucket as a folder.

`python3 -m scripts.services cluster` starts a head and WORKERS workers (2) on this machine, of JOBS processes each,
with the folders that DATA, WORK_DIR and DUMP name, and returns when they are there: for `make corpus vocab tfrecords
ENGINE=ray`. `cluster-stop` takes them away; the folders stay. `mount` makes the folder MOUNT/data of
BUCKET=bucket[/prefix] and returns when it is there. `unmount` returns when everything is in the bucket and the folder
is gone. Needs a Docker engine, and nothing but Python 3.9.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from scripts.containers import ROOT, credentials, folder_variables, make_folders, network, require_engine
from scripts.run import act
from stages.command.folders import data, remote, setting, training
from stages.command.refusal import RETRYABLE, Refusal


def compose(
    profile: str, variables: dict[str, str], *words: str, quiet: bool = False
) -> subprocess.CompletedProcess[str]:
    """`docker compose`; `quiet`: its output is returned."""
    command, environment = ["docker", "compose", "--profile", profile, *words], {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=quiet, encoding="utf-8")


def start_cluster() -> int:
    """Start the head and the workers."""
    require_engine()
    workers = setting(os.environ, "WORKERS", "2")
    if not workers.isdecimal() or int(workers) < 1:
        raise Refusal(f"WORKERS={workers} is no number of workers")
    make_folders()
    on_cluster("build", "--quiet").check_returncode()
    up = ("up", "--detach", "--wait", "--scale", f"ray-worker={workers}")
    # Ray ends a machine that needs more than 30 s to start, as on a busy computer it may: it starts again.
    if on_cluster(*up).returncode:
        on_cluster(*up).check_returncode()
    print(f"cluster: a head and {workers} workers are up: make corpus vocab tfrecords RUNNER=docker ENGINE=ray, with")
    print("cluster: the same DATA, WORK_DIR and DUMP; in the end make cluster-stop")
    return 0


def stop_cluster() -> int:
    """Remove the containers."""
    require_engine()
    return on_cluster("rm", "--force", "--stop", "ray-worker", "ray-head").returncode


def on_cluster(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of compose, with the variables of the cluster.

    The folders that are mounted in place of those in a bucket stay: a worker that has lost its head starts again, and
    mounts what it mounted before.
    """
    variables = folder_variables(empty=Path("data", ".in-a-bucket").resolve())
    if remote(data(os.environ)) or remote(training(os.environ)):
        variables.update(CLUSTER_INTERNAL="false", CREDENTIALS=credentials())
    return compose("cluster", variables, *words)


def mount() -> int:
    """Start the service; exit code 2 and its own words where it cannot mount."""
    require_engine()
    bucket, folder = setting(os.environ, "BUCKET"), mounted_folder()
    if not bucket:
        raise Refusal("say which bucket: BUCKET=bucket, or BUCKET=bucket/prefix for a part of it")
    make_empty(folder)
    refuse_private(folder.parent)
    on_mount("build", "--quiet", "mount", quiet=False).check_returncode()
    result = on_mount("up", "--detach", "--wait", "mount")
    if result.returncode:
        message = on_mount("logs", "--no-log-prefix", "--tail", "1", "mount").stdout.strip()
        on_mount("rm", "--force", "--stop", "mount")
        # What the service says begins with its name, as this script's errors do.
        raise Refusal(message.rpartition("mount: error: ")[2] or result.stderr.strip().splitlines()[-1])
    print(f"mount: gs://{bucket.removeprefix('gs://')} is {folder}: make … DATA={folder}, and in the end make unmount")
    return 0


def unmount() -> int:
    """End the service; exit code 75 while something is not in the bucket."""
    require_engine()
    if on_mount("ps", "--quiet", "--status", "running", "mount").stdout.strip():
        # Says what it waits for, and may be interrupted; being stopped, the service waits too.
        on_mount("exec", "-T", "mount", "mount-bucket", "uploaded", quiet=False)
        on_mount("stop", "mount")
    result = on_mount("run", "--rm", "--no-deps", "-T", "mount", "clear")
    on_mount("rm", "--force", "--stop", "mount")
    if result.returncode:
        print(result.stderr.strip().splitlines()[-1], file=sys.stderr)
        return RETRYABLE
    print(f"unmount: {mounted_folder()} is no bucket any more; everything is uploaded")
    return 0


def mounted_folder() -> Path:
    """The folder that is mounted, in MOUNT."""
    return Path(setting(os.environ, "MOUNT", "mount")).resolve() / "data"


def on_mount(*words: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    """A command of compose, with the variables of the mount."""
    variables = {"MOUNT": str(mounted_folder().parent), "NETWORK": network(), "CREDENTIALS": credentials()}
    return compose("mount", {**variables, "RUN_AS": f"{os.getuid()}:{os.getgid()}"}, *words, quiet=quiet)


def make_empty(folder: Path) -> None:
    """Make the folder to mount on; one that holds files would hide them."""
    try:
        if not os.path.ismount(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if os.listdir(folder):
                raise Refusal(f"{folder} holds files, which the mount would hide; name another folder with MOUNT")
    except OSError as error:
        # A mount that was killed: the service takes it away.
        if error.errno != errno.ENOTCONN:
            raise Refusal(f"cannot make {folder}: {error.strerror}")


def refuse_private(folder: Path) -> None:
    """A mount that is made in a container reaches this machine only where the folder lies on a shared mount."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return  # No Linux: the engine's own machine decides, and says so.
    points = {Path(words[4]): words[6:] for words in map(str.split, lines)}
    options = next(points[parent] for parent in (folder, *folder.parents) if parent in points)
    if not any(option.startswith("shared:") for option in options[: options.index("-")]):
        raise Refusal(
            f"{folder} is on a private mount, out of which no container can hand a folder: "
            f"sudo mount --bind {folder} {folder} && sudo mount --make-rshared {folder}"
        )


if __name__ == "__main__":
    actions = {"cluster": start_cluster, "cluster-stop": stop_cluster, "mount": mount, "unmount": unmount}
    sys.exit(act("scripts.services", actions, sys.argv[1:]))
