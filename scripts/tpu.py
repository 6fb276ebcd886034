"""TPU_NAME → a Cloud TPU that runs TensorFlow 1.15, through Google's own command line, `gcloud`.

`scripts/tpu.py create`, `status` and `delete` do what make's targets of these names do; DRY_RUN=1 prints the command
line instead. Needs gcloud, signed in, and nothing but Python 3.9.

What runs TensorFlow 1.15 is the TPU Node: a machine of yours computes and the TPU listens on the network. Google has
withdrawn it (README, "Training on a Cloud TPU"), so that only projects which still have access to it can create one.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

from stage import RETRYABLE, Problem, setting

# What the service answers → what it means, and whether the same command can succeed another time.
DENIED = "request to provision TPU Node has been denied"
GONE = "Invalid choice"
WITHDRAWN = (
    "Google has withdrawn the TPU Node, which TensorFlow 1.15 needs; a project without access to it trains with "
    "DEVICE=cpu, on a machine of any size"
)
LATER = ("no more capacity", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")


class TryAgain(Problem):
    """The command is right; another time it may succeed. Exit code 75."""


def create() -> list[str]:
    """The command line that makes TPU_NAME: of the type and version that tpu-train asks for by default."""
    kind, version = setting("TPU_TYPE", "v2-8"), setting("TPU_VERSION", "1.15.5")
    if not version.startswith("1.15"):
        raise Problem(f"TPU_VERSION={version} is not 1.15…, the only one that tpu-train can use")
    preemptible = ["--preemptible"] if setting("PREEMPTIBLE") not in ("", "0") else []
    return [*named("create"), f"--accelerator-type={kind}", f"--version={version}", *preemptible]


def status() -> list[str]:
    """The command line that asks for TPU_NAME."""
    return [*named("describe"), "--format=json"]


def delete() -> list[str]:
    """The command line that ends TPU_NAME. Checkpoints are in the bucket; nothing is lost with it."""
    return [*named("delete"), "--quiet"]


def named(verb: str) -> list[str]:
    """The words that every command line begins with."""
    for name, example in (("TPU_NAME", "my-tpu"), ("TPU_ZONE", "us-central1-f")):
        if not setting(name):
            raise Problem(f"{name} is not set; say which one, such as {name}={example}")
    project = [f"--project={setting('PROJECT')}"] if setting("PROJECT") else []
    return ["gcloud", "compute", "tpus", verb, setting("TPU_NAME"), f"--zone={setting('TPU_ZONE')}", *project]


def said(action: str, text: str) -> str:
    """What gcloud's answer comes to, for a person."""
    name = setting("TPU_NAME")
    if action == "create":
        return f"{name} is there: make tpu-train TPU_NAME={name} TPU_ZONE={setting('TPU_ZONE')} WORK_DIR=gs://… MODEL=…"
    if action == "delete":
        return f"{name} is gone"
    known = json.loads(text)
    ends = ", ".join(f"{end.get('ipAddress')}:{end.get('port')}" for end in known.get("networkEndpoints", []))
    return ", ".join(
        word
        for word in (
            f"{name}: {known.get('state', 'unknown')}",
            known.get("health", ""),
            known.get("acceleratorType", ""),
            f"TensorFlow {known['tensorflowVersion']}" if known.get("tensorflowVersion") else "",
            "preemptible" if known.get("schedulingConfig", {}).get("preemptible") else "",
            f"at {ends}" if ends else "",
        )
        if word
    )


def refused(text: str) -> Problem:
    """gcloud's complaint in one line, with what is to be done where that is known."""
    errors = [line for line in text.splitlines() if line.strip()]
    first = next((line for line in errors if line.startswith("ERROR:")), errors[-1] if errors else "it says nothing")
    first = first.removeprefix("ERROR:").strip()
    if DENIED in text:
        return Problem(f"{WITHDRAWN} ({first})")
    if GONE in text:
        return Problem(f"this gcloud has no command for TPU Nodes any more: {WITHDRAWN} ({first})")
    if "PERMISSION_DENIED" in text or "credentials" in text or "gcloud auth login" in text:
        return Problem(f"gcloud is not allowed to: {first}; gcloud auth login, or ask for the role TPU Admin")
    if any(word in text for word in LATER):
        return TryAgain(f"not now: {first}; the same command may succeed later, or in another TPU_ZONE")
    return Problem(f"gcloud refuses: {first}")


def main(arguments: list[str]) -> int:
    """Do what the one argument says, or print it."""
    actions = {"create": create, "status": status, "delete": delete}
    if len(arguments) != 1 or arguments[0] not in actions:
        print(f"usage: scripts/tpu.py {'|'.join(actions)}", file=sys.stderr)
        return 2
    action, stage = arguments[0], f"tpu-{arguments[0]}"
    try:
        command = actions[action]()
        if action == "create":
            print(
                f"{stage}: a TPU costs money from its creation on, used or not, until make tpu-delete ends it",
                file=sys.stderr,
            )
        if setting("DRY_RUN") not in ("", "0"):
            print(shlex.join(command))
            return 0
        if not shutil.which("gcloud"):
            raise Problem("there is no gcloud on the PATH; install it from https://cloud.google.com/sdk/docs/install")
        print("$", shlex.join(command), file=sys.stderr, flush=True)
        # No question can be answered here: gcloud then takes its default, and says so.
        environment = {**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
        if done.returncode:
            raise refused(done.stderr)
        print(said(action, done.stdout))
    except Problem as problem:
        print(f"{stage}: error: {problem}", file=sys.stderr)
        return RETRYABLE if isinstance(problem, TryAgain) else 2
    except KeyboardInterrupt:
        print(f"{stage}: interrupted; make tpu-status tells how far the service came", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
