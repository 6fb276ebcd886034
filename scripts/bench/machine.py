"""This machine and this checkout → processor, memory, versions and commit, which figures depend on."""

import json
import os
import platform
import subprocess
from typing import Any

from scripts.bench.running import ROOT, python
from stages.engine.options import cores

_VERSIONS = """
import importlib.metadata, json, platform, sys
print(json.dumps({"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in sys.argv[1:]}}))
"""


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in bytes, system, and its load average before."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(packages: dict[str, list[str]]) -> dict[str, Any]:
    """Python and packages of each stage's environment, and the commit of the checkout (None where there is no git)."""
    stages: dict[str, Any] = {
        stage: json.loads(subprocess.check_output([python(stage), "-c", _VERSIONS, *names]))
        for stage, names in packages.items()
    }
    return {**stages, "commit": _git("rev-parse", "HEAD"), "changed_since": bool(_git("status", "--porcelain"))}


def _git(*words: str) -> str | None:
    try:
        result = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _line(path: str, name: str) -> str:
    """The value of the first `name : value` of a file of /proc; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return next((line.partition(":")[2].strip() for line in stream if line.startswith(name)), "")
    except OSError:
        return ""
