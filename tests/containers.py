"""Whether containers can be tested here, for every test that needs them."""

import functools
import os
import shutil
import subprocess


@functools.cache
def left_out() -> str | None:
    """Why there is no engine to test with; None where there is one."""
    if os.environ.get("RUNNER") == "venv":
        return "RUNNER=venv: containers are left out"
    if not shutil.which("docker"):
        return "docker is not installed: containers are left out"
    for question in (["version"], ["compose", "version"], ["buildx", "version"]):
        if subprocess.run(["docker", *question], capture_output=True).returncode:
            return f"`docker {' '.join(question)}` fails: containers are left out"
    return None
