"""A run's folders on this machine → WORK_DIR=gs://bucket/prefix (`upload`), and back (`download`).

`python3 -m scripts.transfer upload` copies what the stages have left in DATA and MODELS, to where they find it with
DATA=gs://bucket/prefix and MODELS=gs://bucket/prefix/models. STAGE, MODEL and SIZE choose a part of it, DRY_RUN=1
prints what would be copied. `stages.handover.transfer` does the copying, in the environment or the image of `corpus`.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from scripts import containers
from scripts.run import Step, chosen_runner, in_venv, refuse_unknown_variables
from stages.command.folders import model_names, remote, setting, size, switch
from stages.command.refusal import Refusal
from stages.pipeline import STAGES

# What can be copied, in the order of the flow.
MADE = {name: STAGES[name] for name in ("corpus", "vocab", "tfrecords", "tpu-train", "train", "convert")}
MODULE = "stages.handover.transfer"
DIRECTIONS = ("upload", "download")
# Where a container has them.
INSIDE = {"DATA": "/transfer/data", "MODELS": "/transfer/models"}


def chosen_stages() -> list[str]:
    """STAGE, one or several; without it all whose results MODEL and SIZE, where they are said, can choose from."""
    said = setting(os.environ, "STAGE").replace(",", " ").split()
    unknown = [stage for stage in said if stage not in MADE]
    if unknown:
        raise Refusal(f"STAGE={unknown[0]} is none of {', '.join(MADE)}")
    if said:
        return said
    return [
        name
        for name, stage in MADE.items()
        if (stage.per_size or not setting(os.environ, "SIZE")) and (stage.per_model or not setting(os.environ, "MODEL"))
    ]


def folders() -> list[str]:
    """The folders to copy, as they are called in a bucket: `corpus`, `checkpoints/character/tiny`."""
    found = []
    for stage in (MADE[name] for name in chosen_stages()):
        if setting(os.environ, "SIZE") and stage.per_size:
            found += [f"{stage.makes}/{model}/{size(os.environ)}" for model in model_names(os.environ)]
        elif setting(os.environ, "MODEL") and stage.per_model:
            found += [f"{stage.makes}/{model}" for model in model_names(os.environ)]
        else:
            found.append(stage.makes)
    return found


def lies_in(folder: str) -> tuple[str, str]:
    """The variable below whose folder it is on this machine, and the path within."""
    first, _, rest = folder.partition("/")
    return ("MODELS", rest) if first == MADE["convert"].makes else ("DATA", folder)


def root(variable: str) -> Path:
    """The folder that DATA or MODELS names."""
    said = setting(os.environ, variable, variable.lower())
    if remote(said):
        raise Refusal(f"{variable}={said} is no folder of this machine, from which or to which to copy")
    return Path(said).resolve()


def arguments_for(direction: str, docker: bool) -> list[str]:
    """The words for `stages.handover.transfer`."""
    bucket = setting(os.environ, "WORK_DIR").rstrip("/")
    if not bucket.startswith("gs://"):
        raise Refusal(f"say where in a bucket: make {direction} WORK_DIR=gs://bucket/prefix")
    arguments = []
    for folder in folders():
        variable, within = lies_in(folder)
        local = root(variable) / within
        if direction == "upload" and not local.is_dir():
            if setting(os.environ, "STAGE"):
                raise Refusal(f"there is no {local} to upload")
            continue
        pair = [str(Path(INSIDE[variable], within) if docker else local), f"{bucket}/{folder}"]
        arguments += ["--copy", *(pair if direction == "upload" else pair[::-1])]
    if not arguments:
        raise Refusal("there is nothing to upload: no stage has written to DATA or MODELS")
    return [*arguments, "--dry-run"] if switch(os.environ, "DRY_RUN") else arguments


def command(direction: str, docker: bool) -> tuple[containers.Command, dict[str, str]]:
    """The command line that copies, and its environment."""
    words = arguments_for(direction, docker)
    if not docker:
        return in_venv(Step(MADE["corpus"], words, {}, MODULE)), dict(os.environ)
    containers.make_folders()
    volumes = []
    for variable, inside in INSIDE.items():
        # The engine would make it itself, and it would be root's.
        root(variable).mkdir(parents=True, exist_ok=True)
        volumes.append(f"{root(variable)}:{inside}{':ro' * (direction == 'upload')}")
    run = containers.command(MADE["corpus"], MODULE, words, os.environ, volumes)
    return run, containers.compose_variables(MADE["corpus"], words, os.environ)


def main(arguments: list[str]) -> int:
    """Copy in the direction that the argument names."""
    if len(arguments) != 1 or arguments[0] not in DIRECTIONS:
        print(f"usage: python3 -m scripts.transfer {'|'.join(DIRECTIONS)}", file=sys.stderr)
        return 2
    try:
        refuse_unknown_variables()
        run, environment = command(arguments[0], chosen_runner() == "docker")
        print("$", shlex.join(run.words), file=sys.stderr, flush=True)
        code = containers.finish(run, environment)
    except Refusal as problem:
        print(f"{arguments[0]}: error: {problem}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
