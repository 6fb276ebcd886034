"""BUCKET=bucket[/prefix] → the folder MOUNT/data, through the compose service `mount`; and away again.

`python3 -m scripts.mount mount` starts the service and returns when the folder is there. `unmount` returns when
everything is in the bucket and the folder is gone. Needs a Docker engine, and nothing but Python 3.9.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from scripts.containers import ROOT, credentials, network, require_engine
from scripts.run import act
from stages.command.folders import setting
from stages.command.refusal import RETRYABLE, Refusal

COMPOSE = ("docker", "compose", "--profile", "mount")


def mount() -> int:
    """Start the service; exit code 2 and its own words where it cannot mount."""
    require_engine()
    bucket, data = setting(os.environ, "BUCKET"), place() / "data"
    if not bucket:
        raise Refusal("say which bucket: BUCKET=bucket, or BUCKET=bucket/prefix for a part of it")
    make_empty(data)
    refuse_private(data.parent)
    compose("build", "--quiet", "mount").check_returncode()
    started = compose("up", "--detach", "--wait", "mount", quiet=True)
    if started.returncode:
        said = compose("logs", "--no-log-prefix", "--tail", "1", "mount", quiet=True).stdout.strip()
        compose("rm", "--force", "--stop", "mount", quiet=True)
        # What the service says begins with its name, as this script's errors do.
        raise Refusal(said.rpartition("mount: error: ")[2] if said else started.stderr.strip().splitlines()[-1])
    print(f"mount: gs://{bucket.removeprefix('gs://')} is {data}: make … DATA={data}, and in the end make unmount")
    return 0


def unmount() -> int:
    """End the service; exit code 75 while something is not in the bucket."""
    require_engine()
    data = place() / "data"
    if compose("ps", "--quiet", "--status", "running", "mount", quiet=True).stdout.strip():
        # Says what it waits for, and may be interrupted; being stopped, the service waits too.
        compose("exec", "-T", "mount", "mount-bucket", "uploaded")
        compose("stop", "mount", quiet=True)
    cleared = compose("run", "--rm", "--no-deps", "-T", "mount", "clear", quiet=True)
    compose("rm", "--force", "--stop", "mount", quiet=True)
    if cleared.returncode:
        print(cleared.stderr.strip().splitlines()[-1], file=sys.stderr)
        return RETRYABLE
    print(f"unmount: {data} is no bucket any more; everything is uploaded")
    return 0


def place() -> Path:
    """The folder that the mount is in: MOUNT, or mount."""
    return Path(setting(os.environ, "MOUNT", "mount")).resolve()


def make_empty(data: Path) -> None:
    """Make the folder to mount on; one that holds files would hide them."""
    try:
        if not os.path.ismount(data):
            data.mkdir(parents=True, exist_ok=True)
            if os.listdir(data):
                raise Refusal(f"{data} holds files, which the mount would hide; name another folder with MOUNT")
    except OSError as error:
        # A mount that was killed: the service takes it away.
        if error.errno != errno.ENOTCONN:
            raise Refusal(f"cannot make {data}: {error.strerror}")


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


def compose(*words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """`docker compose` with the variables that the service asks for; `quiet`: what it says is returned."""
    variables = {
        "MOUNT": str(place()),
        "NETWORK": network(),
        "CREDENTIALS": credentials(),
        "RUN_AS": f"{os.getuid()}:{os.getgid()}",
    }
    command, environment = [*COMPOSE, *words], {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=quiet, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(act("scripts.mount", {"mount": mount, "unmount": unmount}, sys.argv[1:]))
