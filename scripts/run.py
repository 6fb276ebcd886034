"""make's words → a stage, run in its virtual environment or in its image: `python3 -m scripts.run corpus`.

A stage reads its options from the environment, where make puts its variables. Only the folders have other names in a
container, which are mounted there. The exit code is the stage's; 137 where it was killed.
Needs nothing but Python 3.9.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts import containers
from scripts.containers import Step
from stages.command.folders import MODELS, SIZES, model_names, remote, setting, size, trainer, training
from stages.command.refusal import Refusal
from stages.pipeline import STAGES, variables

# The exit code of a process that kill -9 has ended: the system, where memory ran out, or a person.
KILLED = 137


def steps_of(name: str) -> list[Step]:
    """The commands of a stage, in order; FLAGS go to the stage itself."""
    stage, convert = STAGES[name], STAGES["convert"]
    try:
        flags = shlex.split(setting(os.environ, "FLAGS"))
    except ValueError as error:
        raise Refusal(f"FLAGS={setting(os.environ, 'FLAGS')} cannot be split into words: {error}")
    if "--help" in flags:
        return [Step(stage, [*(word for word in stage.words if not word.startswith("-")), "--help"])]
    words = [*stage.words, *flags]
    if name == "train":
        return [Step(stage, words), Step(convert, list(convert.words), {"TRAINER": "torch"})]
    if name == "convert":
        named = model_names(os.environ) if "--checkpoint" in flags else models_to_convert()
        return [step for model in named for step in conversion(model, words)]
    if name == "serve":
        here = {"--host": setting(os.environ, "ADDRESS"), "--port": setting(os.environ, "PORT")}
        options = {"--host": "0.0.0.0", "--port": "8000"} if chosen_runner() == "docker" else here
        words += [word for option, value in options.items() if value for word in (option, value)]
    return [Step(stage, words)]


def models_to_convert() -> list[str]:
    """MODEL; without it, every model of SIZE that has been trained."""
    names, place, chosen = model_names(os.environ), training(os.environ), size(os.environ)
    if remote(place):
        if len(names) > 1:
            raise Refusal(f"convert takes one model from {place}: say MODEL=wordpiece or MODEL=character")
        return names
    trained = [name for name in names if is_trained(place, f"{name}/{chosen}")]
    if not trained:
        every = [f"{name}/{each}" for name in sorted({*MODELS.values()}) for each in sorted(SIZES)]
        others = ", ".join(model for model in every if is_trained(place, model)) or "none of any size"
        raise Refusal(
            f"no trained {chosen} model in {place} ({others}); "
            f"make train or make tpu-train MODEL=… SIZE={chosen} makes one"
        )
    return trained


def is_trained(place: str, model: str) -> bool:
    """Whether a trainer, of both or the one of TRAINER, has left its best checkpoint of a model."""
    best = {"tf1": f"checkpoints/{model}/model.ckpt-best.index", "torch": f"runs/{model}/best"}
    return any(os.path.exists(f"{place}/{best[name]}") for name in best if trainer(os.environ) in ("", name))


def conversion(model: str, words: list[str]) -> list[Step]:
    """The conversion of a model; before it, TensorFlow's logits of a checkpoint where they are missing."""
    steps = [Step(STAGES["convert"], words, {"MODEL": model})]
    checkpoint = Path(STAGES["convert"].paths(steps[0].environment)["checkpoint"])
    if os.path.exists(f"{checkpoint}.index") and not os.path.exists(f"{checkpoint}.reference.npz"):
        if chosen_runner() == "docker":
            # In a container the folder has another name, which the variables give there as well.
            checkpoint = Path("data", checkpoint.resolve().relative_to(Path(training(os.environ)).resolve()))
        config, reference = checkpoint.parent / "albert_config.json", f"{checkpoint}.reference.npz"
        words = ["--checkpoint", str(checkpoint), "--config", str(config), "--out", reference]
        steps.insert(0, Step(STAGES["tpu-train"], words, {"MODEL": model}, "stages.tpu_train.reference"))
    return steps


def chosen_runner() -> str:
    """RUNNER, or docker where an engine answers, else venv."""
    runner = setting(os.environ, "RUNNER")
    if runner not in ("", "docker", "venv"):
        raise Refusal(f"RUNNER={runner} is neither docker nor venv")
    return runner or ("docker" if containers.engine_answers() else "venv")


def run(step: Step, text: str = "") -> int:
    """Run a step in its image or in its virtual environment, which are made first, to its end; gives its exit code."""
    stage, environment, container = step.stage, step.environment, ""
    docker = chosen_runner() == "docker"
    if docker:
        containers.make_folders()
        command, environment, container = containers.command(step)
    else:
        name = "cluster" if containers.on_cluster(stage, environment) else stage.environment
        subprocess.run([containers.ROOT / "scripts" / "venv", name], check=True)
        command = [f".venv/{name}/bin/python", "-m", step.module or stage.module, *step.words]
    print("$", shlex.join(command), file=sys.stderr, flush=True)
    if docker and stage.ports:
        place = f"{setting(os.environ, 'ADDRESS', 'localhost')}:{setting(os.environ, 'PORT', '8000')}"
        print(f"serve: the container's port 8000 is http://{place} here", file=sys.stderr, flush=True)
    code = containers.finish(command, environment, text, container)
    return code if code >= 0 else 128 - code


def stage(name: str, show: bool) -> int:
    """Run the commands of a stage in turn, or only show them; return the first exit code that is not 0."""
    docker = chosen_runner() == "docker"
    for step in steps_of(name):
        if "--help" not in step.words:
            containers.refuse_wrong_paths(step.stage, step.environment)
        if show:
            names = containers.variables_for(step.stage, step.environment) if docker else step.variables
            shown = [f"{key}={value}" for key, value in sorted(names.items())]
            print(shlex.join([*shown, step.module or step.stage.module, *step.words]))
            continue
        text = setting(os.environ, "TEXT") if name == "tokenizer" else ""
        code = run(step, text) or containers.uploaded(step.stage, step.environment)
        if code == KILLED:
            # It could say nothing itself.
            ways = [STAGES[name].killed] if STAGES[name].killed else []
            ways += ["a higher limit (MEMORY=)" if setting(os.environ, "MEMORY") else "more memory"]
            print(
                f"{name}: error: it was killed from outside, most likely for lack of memory; "
                f"the same command resumes, with {' or '.join(ways)}",
                file=sys.stderr,
            )
        if code:
            return code
    return 0


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


def act(module: str, actions: Mapping[str, Callable[[], int]], arguments: list[str]) -> int:
    """Call the action that the only argument names; return its exit code, also for a refusal or a failed command."""
    if len(arguments) != 1 or arguments[0] not in actions:
        print(f"usage: python3 -m {module} {'|'.join(actions)}", file=sys.stderr)
        return 2
    try:
        refuse_unknown_variables()
        return actions[arguments[0]]()
    except Refusal as refusal:
        print(f"{arguments[0]}: error: {refusal}", file=sys.stderr)
        return refusal.code
    except subprocess.CalledProcessError as failed:
        return failed.returncode


if __name__ == "__main__":
    # `--print` shows the commands of a stage instead.
    names = [word for word in sys.argv[1:] if word != "--print"]
    stages = {name: functools.partial(stage, name, names != sys.argv[1:]) for name in STAGES}
    sys.exit(act("scripts.run [--print]", stages, names))
