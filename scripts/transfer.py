"""A run's folders on this machine → WORK_DIR=gs://bucket/prefix (`upload`), and back (`download`).

`scripts/transfer.py upload` copies what the stages have left in DATA and MODELS, to where they find it with
DATA=gs://bucket/prefix and MODELS=gs://bucket/prefix/models. STAGE, MODEL and SIZE choose a part of it, DRY_RUN=1
prints what would be copied. The copying is done by `stages.transfer`, in the environment or the image of `corpus`.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from stage import (
    Problem,
    Step,
    chosen_models,
    chosen_runner,
    chosen_size,
    compose_variables,
    finish,
    in_image,
    in_venv,
    is_remote,
    mounted_folders,
    setting,
)

# Stage → the folder of what it makes: of DATA, but of convert, which fills MODELS.
MADE = {
    "corpus": "corpus",
    "vocab": "vocab",
    "tfrecords": "tfrecords",
    "tpu-train": "checkpoints",
    "train": "runs",
    "convert": "models",
}
DIRECTIONS = ("upload", "download")
# Where a container has them.
INSIDE = {"DATA": "/transfer/data", "MODELS": "/transfer/models"}


def chosen_stages() -> list[str]:
    """STAGE, one or several; without it all whose results MODEL and SIZE, where they are said, can choose from."""
    said = setting("STAGE").replace(",", " ").split()
    unknown = [stage for stage in said if stage not in MADE]
    if unknown:
        raise Problem(f"STAGE={unknown[0]} is none of {', '.join(MADE)}")
    if said:
        return said
    if setting("SIZE"):
        return ["tpu-train", "train", "convert"]
    return ["tfrecords", "tpu-train", "train", "convert"] if setting("MODEL") else list(MADE)


def folders() -> list[str]:
    """The folders to copy, as they are called in a bucket: `corpus`, `checkpoints/character/tiny`."""
    found = []
    for stage in chosen_stages():
        sized = stage in ("tpu-train", "train", "convert")
        if setting("SIZE") and sized:
            found += [f"{MADE[stage]}/{model}/{chosen_size()}" for model in chosen_models()]
        elif setting("MODEL") and (sized or stage == "tfrecords"):
            found += [f"{MADE[stage]}/{model}" for model in chosen_models()]
        else:
            found.append(MADE[stage])
    return found


def lies_in(folder: str) -> tuple[str, str]:
    """The variable below whose folder it is on this machine, and the path within."""
    first, _, rest = folder.partition("/")
    return ("MODELS", rest) if first == MADE["convert"] else ("DATA", folder)


def root(variable: str) -> Path:
    """The folder that DATA or MODELS names."""
    said = setting(variable, variable.lower())
    if is_remote(said):
        raise Problem(f"{variable}={said} is no folder of this machine, from which or to which to copy")
    return Path(said).resolve()


def arguments_for(direction: str, docker: bool) -> list[str]:
    """The words for `stages.transfer`."""
    bucket = setting("WORK_DIR").rstrip("/")
    if not bucket.startswith("gs://"):
        raise Problem(f"say where in a bucket: make {direction} WORK_DIR=gs://bucket/prefix")
    arguments = []
    for folder in folders():
        variable, within = lies_in(folder)
        local = root(variable) / within
        if direction == "upload" and not local.is_dir():
            if setting("STAGE"):
                raise Problem(f"there is no {local} to upload")
            continue
        pair = [str(Path(INSIDE[variable], within) if docker else local), f"{bucket}/{folder}"]
        arguments += ["--copy", *(pair if direction == "upload" else pair[::-1])]
    if not arguments:
        raise Problem("there is nothing to upload: no stage has written to DATA or MODELS")
    return [*arguments, "--dry-run"] if setting("DRY_RUN") not in ("", "0") else arguments


def command(direction: str, docker: bool) -> tuple[list[str], dict[str, str]]:
    """The command line that copies, and its environment."""
    step = Step("corpus", "stages.transfer", arguments_for(direction, docker), network=True)
    if not docker:
        return in_venv(step), dict(os.environ)
    mounted_folders()
    volumes = []
    for variable, inside in INSIDE.items():
        # The engine would make it itself, and it would be root's.
        root(variable).mkdir(parents=True, exist_ok=True)
        volumes += ["--volume", f"{root(variable)}:{inside}{':ro' * (direction == 'upload')}"]
    words = in_image(step)
    at = words.index("--rm")
    return [*words[:at], *volumes, *words[at:]], compose_variables(step)


def main(arguments: list[str]) -> int:
    """Copy in the direction that the argument names."""
    if len(arguments) != 1 or arguments[0] not in DIRECTIONS:
        print(f"usage: scripts/transfer.py {'|'.join(DIRECTIONS)}", file=sys.stderr)
        return 2
    try:
        words, environment = command(arguments[0], chosen_runner() == "docker")
        print("$", shlex.join(words), file=sys.stderr, flush=True)
        code = finish(words, environment)
    except Problem as problem:
        print(f"{arguments[0]}: error: {problem}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
