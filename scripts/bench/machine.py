"""This machine and this checkout → processor, memory, versions and commit, which figures depend on."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from scripts.bench.running import ROOT, python
from stages.engine.options import cores

_VERSIONS = """
import importlib.metadata, json, platform, sys
print(json.dumps({"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in sys.argv[1:]}}))
"""


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in bytes, system, and its load average before."""
    names = re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": cores(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(packages: dict[str, list[str]]) -> dict[str, Any]:
    """Python and packages of each stage's environment, and the commit of the checkout (empty where there is none)."""
    describe = ["git", "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty"]
    stages: dict[str, Any] = {
        stage: json.loads(subprocess.check_output([python(stage), "-c", _VERSIONS, *names]))
        for stage, names in packages.items()
    }
    try:
        commit = subprocess.run(describe, cwd=ROOT, capture_output=True, encoding="utf-8").stdout.strip()
    except FileNotFoundError:
        commit = ""
    return {**stages, "commit": commit}
