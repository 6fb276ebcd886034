"""This machine → one line for each thing the project needs: there (✓), missing (✗, with the remedy), or no matter (·).

Exit code 0 when at least one of the two runners can work, else 1. Asks no server.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.containers import ROOT, engine_answers

# Measured: the demo's training takes 0.8 GB of memory; all environments 2.6 GB of disk, all images 2.2 GB beside
# the two Python bases. Room is left for the system, pip's cache and the builder's.
MEMORY_GIB, DISK_GIB = 3, 8


def line(fine: bool | None, what: str, remedy: str = "") -> bool:
    """Print one finding, and return it: True is ✓, False is ✗, None is worth knowing only."""
    mark = {True: "✓", False: "✗", None: "·"}[fine]
    print(f"{mark} {what}" + (f"\n    → {remedy}" if remedy and not fine else ""))
    return bool(fine)


def answer(*command: str) -> str:
    """The first line that a command prints, or nothing when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def virtual_environments() -> bool:
    """CPython 3.11 and 3.7, on a system that TensorFlow 1.15 was built for."""
    fine = True
    for version, use in (("3.11", "all stages but training"), ("3.7", "training with TensorFlow 1.15")):
        python = answer("scripts/find-python", version)
        exact = answer(python, "-c", "import platform; print(platform.python_version())") if python else version
        remedy = f"uv python install {version}, or pyenv install {version}, with the venv module; or use RUNNER=docker"
        place = f" ({python})" if python else " is missing"
        fine = line(bool(python), f"CPython {exact} for {use}{place}", remedy) and fine
    machine = f"{platform.system()} {platform.machine()}"
    remedy = "TensorFlow 1.15 has wheels for Linux x86_64 only: use RUNNER=docker with linux/amd64 images"
    return line(machine == "Linux x86_64", machine, remedy) and fine


def docker() -> bool:
    """An engine that answers, with compose 2 and BuildKit."""
    engine = answer("docker", "version", "--format", "{{.Server.Version}}")
    compose = answer("docker", "compose", "version", "--short")
    buildx = answer("docker", "buildx", "version")
    state = "is installed and does not answer" if shutil.which("docker") else "is missing"
    line(bool(engine), f"Docker engine {engine or state}", "start it, or see https://docs.docker.com/engine/install/")
    line(bool(compose), f"docker compose {compose or 'is missing'}", "install docker-compose-plugin, 2.20 or later")
    line(bool(buildx), f"buildx {buildx.split()[1] if buildx else 'is missing'}", "install docker-buildx-plugin")
    fuse = "/dev/fuse is here" if Path("/dev/fuse").exists() else "there is no /dev/fuse here"
    line(None, f"{fuse}; make mount needs it, to show a bucket as a folder")
    return bool(engine and compose and buildx) and engine_answers()


def hardware() -> None:
    """Cores, memory and disk, which the demo needs; what training could use beside them, which the flow does not."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    line(True, f"{cores} core" + "s" * (cores != 1))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    line(memory >= MEMORY_GIB, f"{memory:.0f} GiB of memory", f"the demo needs {MEMORY_GIB} GiB; lower BATCH")
    disk = shutil.disk_usage(ROOT).free / 2**30
    line(disk >= DISK_GIB, f"{disk:.0f} GiB free on disk", f"environments or images and the demo need {DISK_GIB} GiB")
    gpu = answer("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none"
    line(None, f"GPU: {gpu}; make train takes NVIDIA's, make tpu-train none: TensorFlow 1.15 is too old for them")
    tpu = os.environ.get("TPU_NAME") or ("a TPU VM" if Path("/dev/accel0").exists() else "none named here")
    line(None, f"TPU: {tpu}; make tpu-train takes TPU_NAME=… WORK_DIR=gs://…, or DEVICE=cpu to train here")


if __name__ == "__main__":
    suits = sys.version_info >= (3, 9)
    line(suits, f"Python {platform.python_version()} runs the scripts", "they need 3.9: make PYTHON=python3.11 …")
    venv, engine = virtual_environments(), docker()
    hardware()
    if not (venv or engine):
        print("\nNeither runner can work yet: Docker alone is enough, or CPython 3.11 and 3.7.")
        sys.exit(1)
    default, other = ("docker", "venv") if engine else ("venv", "docker")
    print(f"\nRUNNER={default} works and is the default here" + f"; RUNNER={other} works too" * (venv and engine))
