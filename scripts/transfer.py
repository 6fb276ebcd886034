"""A run's folders on this machine → WORK_DIR=gs://bucket/prefix (`upload`), and back (`download`).

`python3 -m scripts.transfer upload` copies what the stages have left in DATA and MODELS, to where they find it with
DATA=gs://bucket/prefix and MODELS=gs://bucket/prefix/models. STAGE, MODEL and SIZE choose a part of it, DRY_RUN=1
prints what would be copied. `stages.handover.transfer` does the copying, in the environment or the image of `corpus`.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from scripts.containers import Step
from scripts.run import act, chosen_runner, run
from stages.command.folders import model_names, remote, setting, size, switch
from stages.command.refusal import Refusal
from stages.pipeline import STAGES

# What can be copied, in the order of the flow.
MADE = {name: STAGES[name] for name in ("corpus", "vocab", "tfrecords", "tpu-train", "train", "convert")}


def folders() -> list[str]:
    """The folders to copy, as a bucket has them: `corpus`, `checkpoints/character/tiny`.

    Those of STAGE; without it, of all stages whose results MODEL and SIZE can choose from, where they are set.
    """
    names = setting(os.environ, "STAGE").replace(",", " ").split()
    for name in names:
        if name not in MADE:
            raise Refusal(f"STAGE={name} is none of {', '.join(MADE)}")
    by_model, by_size = bool(setting(os.environ, "MODEL")), bool(setting(os.environ, "SIZE"))
    chosen = []
    for stage in map(MADE.__getitem__, names or MADE):
        if by_size and stage.per_size:
            chosen += [f"{stage.makes}/{model}/{size(os.environ)}" for model in model_names(os.environ)]
        elif by_model and stage.per_model and (names or not by_size):
            chosen += [f"{stage.makes}/{model}" for model in model_names(os.environ)]
        elif names or not (by_model or by_size):
            chosen.append(stage.makes)
    return chosen


def root(variable: str) -> Path:
    """The folder that DATA or MODELS names."""
    path = setting(os.environ, variable, variable.lower())
    if remote(path):
        raise Refusal(f"{variable}={path} is no folder of this machine, from which or to which to copy")
    return Path(path).resolve()


def copy(direction: str) -> int:
    """Copy the folders, `upload` or `download`."""
    docker, upload = chosen_runner() == "docker", direction == "upload"
    bucket = setting(os.environ, "WORK_DIR").rstrip("/")
    if not bucket.startswith("gs://"):
        raise Refusal(f"say where in a bucket: make {direction} WORK_DIR=gs://bucket/prefix")
    words = []
    for folder in folders():
        first, _, rest = folder.partition("/")
        variable, within = ("MODELS", rest) if first == MADE["convert"].makes else ("DATA", folder)
        local = root(variable) / within
        if upload and not local.is_dir():
            if setting(os.environ, "STAGE"):
                raise Refusal(f"there is no {local} to upload")
            continue
        here = Path("/transfer", variable.lower(), within) if docker else local
        pair = [str(here), f"{bucket}/{folder}"]
        words += ["--copy", *(pair if upload else pair[::-1])]
    if not words:
        raise Refusal("there is nothing to upload: no stage has written to DATA or MODELS")
    words += ["--dry-run"] if switch(os.environ, "DRY_RUN") else []
    volumes = []
    for variable in ("DATA", "MODELS") if docker else ():
        # The engine would make it itself, and it would be root's.
        root(variable).mkdir(parents=True, exist_ok=True)
        volumes.append(f"{root(variable)}:/transfer/{variable.lower()}{':ro' * upload}")
    return run(Step(MADE["corpus"], words, {}, "stages.handover.transfer", tuple(volumes)))


if __name__ == "__main__":
    sys.exit(act("scripts.transfer", {name: partial(copy, name) for name in ("upload", "download")}, sys.argv[1:]))
