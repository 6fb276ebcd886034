"""make's words → a stage, run in its virtual environment or in its image: `python3 -m scripts.run corpus`.

A stage reads its options from the environment, where make puts its variables. Only the folders have other names in a
container, which are mounted there. The exit code is the stage's; 137 where it was killed.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from scripts import containers
from stages.command.folders import MODELS, SIZES, model_names, remote, setting, size, trainer, training
from stages.command.refusal import Refusal
from stages.pipeline import STAGES, Stage, variables

ROOT = Path(__file__).resolve().parent.parent
# The exit code of a process that kill -9 has ended: the system, where memory ran out, or a person.
KILLED = 137


class Step(NamedTuple):
    """One command of a stage. `module`: where it is not the stage's own. `variables`: beside those of this process."""

    stage: Stage
    words: list[str]
    variables: dict[str, str]
    module: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


def steps_of(name: str) -> list[Step]:
    """The commands of a stage, in order; FLAGS go to the stage itself."""
    stage = STAGES[name]
    try:
        flags = shlex.split(setting(os.environ, "FLAGS"))
    except ValueError as error:
        raise Refusal(f"FLAGS={setting(os.environ, 'FLAGS')} cannot be split into words: {error}")
    if "--help" in flags:
        return [Step(stage, [*(word for word in stage.words if not word.startswith("-")), "--help"], {})]
    own = [*stage.words, *flags]
    if name == "train":
        return [Step(stage, own, {}), Step(STAGES["convert"], list(STAGES["convert"].words), {"TRAINER": "torch"})]
    if name == "convert":
        named = model_names(os.environ) if "--checkpoint" in flags else models_to_convert()
        return [step for model in named for step in conversion(model, own)]
    if name == "serve" and chosen_runner() == "venv":
        host, port = setting(os.environ, "ADDRESS"), setting(os.environ, "PORT")
        own += [*(["--host", host] if host else []), *(["--port", port] if port else [])]
    if name == "serve" and chosen_runner() == "docker":
        own += ["--host", "0.0.0.0", "--port", "8000"]
    return [Step(stage, own, {})]


def models_to_convert() -> list[str]:
    """MODEL; without it, every model of SIZE that has been trained."""
    names, place, wanted = model_names(os.environ), training(os.environ), size(os.environ)
    if remote(place):
        if len(names) > 1:
            raise Refusal(f"convert takes one model from {place}: say MODEL=wordpiece or MODEL=character")
        return names
    trained = [name for name in names if any(map(os.path.exists, checkpoints(f"{place}/%s/{name}/{wanted}")))]
    if not trained:
        others = sorted(
            f"{name}/{each}"
            for name in sorted({*MODELS.values()})
            for each in SIZES
            if any(map(os.path.exists, checkpoints(f"{place}/%s/{name}/{each}")))
        )
        raise Refusal(
            f"no trained {wanted} model in {place} ({', '.join(others) or 'none of any size'}); "
            f"make train or make tpu-train MODEL=… SIZE={wanted} makes one"
        )
    return trained


def checkpoints(place: str) -> list[str]:
    """The best checkpoints that the trainers leave at `place`."""
    chosen = trainer(os.environ)
    both = {"tf1": place % "checkpoints" + "/model.ckpt-best.index", "torch": place % "runs" + "/best"}
    return [path for name, path in both.items() if chosen in ("", name)]


def conversion(model: str, words: list[str]) -> list[Step]:
    """The conversion of a model; before it, TensorFlow's logits of a checkpoint where they are missing."""
    chosen = {"MODEL": model}
    checkpoint = STAGES["convert"].paths({**os.environ, **chosen})["checkpoint"]
    steps = [Step(STAGES["convert"], words, chosen)]
    if os.path.exists(checkpoint + ".index") and not os.path.exists(checkpoint + ".reference.npz"):
        # In a container the folder has another name, which the variables give there as well.
        prefix = containers.inside(checkpoint) if chosen_runner() == "docker" else checkpoint
        config = str(Path(prefix).parent / "albert_config.json")
        reference = ["--checkpoint", prefix, "--config", config, "--out", prefix + ".reference.npz"]
        steps.insert(0, Step(STAGES["tpu-train"], reference, chosen, "stages.tpu_train.reference"))
    return steps


def chosen_runner() -> str:
    """RUNNER, or docker where an engine answers, else venv."""
    runner = setting(os.environ, "RUNNER")
    if runner not in ("", "docker", "venv"):
        raise Refusal(f"RUNNER={runner} is neither docker nor venv")
    return runner or ("docker" if containers.engine_answers() else "venv")


def in_venv(step: Step) -> containers.Command:
    """The command that runs a step in `.venv/<environment>`, which is made first where it is missing or out of date."""
    environment = "cluster" if containers.on_cluster(step.stage, step.environment) else step.stage.environment
    subprocess.run([ROOT / "scripts" / "venv", environment], check=True)
    return containers.Command([f".venv/{environment}/bin/python", "-m", step.module or step.stage.module, *step.words])


def refuse_unknown_variables() -> None:
    """Refuse a variable on make's command line that nothing reads, with the nearest name that something does."""
    known = variables()
    _, _, given = os.environ.get("MAKEFLAGS", "").partition("-- ")
    # make separates its variables by spaces, and marks those within a value by "\\".
    for name in re.findall(r"(?:^|(?<!\\) )([A-Za-z_]\w*):?=", given):
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise Refusal(f"there is no variable {name}{meant} make help lists all")


def run(step: Step, name: str, show: bool) -> int:
    """Run one step to its end, or only show its command; gives its exit code."""
    docker = chosen_runner() == "docker"
    if show:
        names = containers.variables_for(step.stage, step.environment) if docker else step.variables
        said = [f"{key}={value}" for key, value in sorted(names.items())]
        print(shlex.join([*said, step.module or step.stage.module, *step.words]))
        return 0
    if docker:
        containers.make_folders()
    command = containers.command(step.stage, step.module, step.words, step.environment) if docker else in_venv(step)
    print("$", shlex.join(command.words), file=sys.stderr, flush=True)
    if docker and name == "serve":
        place = f"{setting(os.environ, 'ADDRESS', 'localhost')}:{setting(os.environ, 'PORT', '8000')}"
        print(f"serve: the container's port 8000 is http://{place} here", file=sys.stderr, flush=True)
    environment = containers.compose_variables(step.stage, step.words, step.environment) if docker else step.environment
    code = containers.finish(command, environment, setting(os.environ, "TEXT") if name == "tokenizer" else "")
    code = code or containers.uploaded(step.stage, step.environment)
    code = code if code >= 0 else 128 - code
    if code == KILLED:
        print(killed(STAGES[name]), file=sys.stderr)
    return code


def killed(stage: Stage) -> str:
    """The message for a stage that was killed, which could print none itself."""
    ways = [stage.killed] if stage.killed else []
    ways += ["a higher limit (MEMORY=)" if setting(os.environ, "MEMORY") else "more memory"]
    return (
        f"{stage.name}: error: it was killed from outside, most likely for lack of memory; "
        f"the same command resumes, with {' or '.join(ways)}"
    )


def main(arguments: list[str]) -> int:
    """Run the stage that the first argument names; `--print` shows its commands instead."""
    show, names = "--print" in arguments, [word for word in arguments if word != "--print"]
    if len(names) != 1 or names[0] not in STAGES:
        print(f"usage: python3 -m scripts.run [--print] {'|'.join(STAGES)}", file=sys.stderr)
        return 2
    (name,) = names
    try:
        refuse_unknown_variables()
        chosen_runner()
        for step in steps_of(name):
            if "--help" not in step.words:
                containers.refuse_wrong_paths(step.stage, step.environment)
            code = run(step, name, show)
            if code:
                return code
    except Refusal as refusal:
        print(f"{name}: error: {refusal}", file=sys.stderr)
        return refusal.code
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
