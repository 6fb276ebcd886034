"""A stage's command in its container: what is mounted, which variables it gets, whether it has a network.

Needs nothing but Python 3.9.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from stages.command.folders import Environment, data, models, remote, setting, training
from stages.command.refusal import RETRYABLE, Refusal
from stages.pipeline import STAGES, Stage, in_cloud

ROOT = Path(__file__).resolve().parent.parent
# Where a container sees the folder that DATASET names.
DATASET = "/dataset"
# Variables of compose.yaml → the folders below them that it mounts.
_OUTPUTS = {stage.makes: stage.per_model for stage in STAGES.values() if stage.makes not in ("", "models")}
MOUNTED = {
    "DATA": ("downloads", *(folder for folder, per_model in _OUTPUTS.items() if not per_model)),
    "TRAINING": tuple(folder for folder, per_model in _OUTPUTS.items() if per_model),
    "MODELS": ("",),
    "DOWNLOADS": ("",),
}


class Step(NamedTuple):
    """One command of a stage: `python -m module words…`."""

    stage: Stage
    words: list[str]
    variables: dict[str, str] = {}  # noqa: RUF012 - beside those of this process
    module: str = ""  # if not the stage's own
    volumes: tuple[str, ...] = ()  # of its container, beside the stage's own

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


def engine_answers() -> bool:
    """Whether a Docker engine and the compose command can be used here, now."""
    questions = (["docker", "version"], ["docker", "compose", "version"])
    try:
        return all(subprocess.run(question, capture_output=True, timeout=20).returncode == 0 for question in questions)
    except (OSError, subprocess.TimeoutExpired):
        return False


def require_engine() -> None:
    """Refuse a machine without a Docker engine."""
    if not engine_answers():
        raise Refusal("this needs a Docker engine with compose, and none answers; make doctor says what is missing")


def on_cluster(stage: Stage, environment: Environment) -> bool:
    """Whether the machines of a Ray cluster work for a stage."""
    engine = setting(environment, "ENGINE", "local")
    if stage.spreads and engine not in ("local", "ray"):
        raise Refusal(f"ENGINE={engine} is neither local nor ray")
    return stage.spreads and engine == "ray"


def local_dump(environment: Environment) -> Path | None:
    """The dump that DUMP names on this machine; None for `latest`, an address and gs://…"""
    dump = setting(environment, "DUMP", "latest")
    return None if dump == "latest" or "://" in dump else Path(dump)


def refuse_wrong_paths(stage: Stage, environment: Environment) -> None:
    """Refuse what a stage needs and is not named or not there, before anything is built or started."""
    variables = {each.variable: each.required for each in stage.options if each.variable}
    missing = [name for name, required in variables.items() if required and not setting(environment, name)]
    if missing:
        raise Refusal(f"{stage.name} needs {' and '.join(missing)}; make {stage.name} FLAGS=--help says more")
    stage.paths(environment)
    for name, kind in (("DUMP", "a file, a folder, an address, or latest"), ("DATASET", "a folder of a task's files")):
        path = setting(environment, name)
        if name in variables and path and path != "latest" and "://" not in path and not Path(path).exists():
            raise Refusal(f"there is no {path}; {name} is {kind}")


def variables_for(stage: Stage, environment: Environment) -> dict[str, str]:
    """The variables that a stage gets in its container: its options, the model, and folders in a bucket."""
    names = {each.variable for each in stage.options if each.variable} | {"MODEL", "SIZE", "TRAINER"}
    values = {name: value for name in sorted(names) if (value := setting(environment, name))}
    folders = {"DATA": data(environment), "WORK_DIR": training(environment), "MODELS": models(environment)}
    if any(map(remote, folders.values())):
        mounted = {"DATA": "data", "WORK_DIR": "data", "MODELS": "models"}
        values.update({name: path if remote(path) else mounted[name] for name, path in folders.items()})
    if "DUMP" in names:
        dump = local_dump(environment)
        values["DUMP"] = f"/dump/{dump.resolve().name}" if dump else values.get("DUMP", "latest")
    if "DATASET" in values and not remote(values["DATASET"]):
        values["DATASET"] = DATASET
    if "COMPARE" in values and not remote(values["COMPARE"]):
        compared, parent = Path(values["COMPARE"]).resolve(), Path(folders["MODELS"]).resolve()
        if parent not in (compared, *compared.parents):
            raise Refusal(
                f"COMPARE={values['COMPARE']} is not inside MODELS={folders['MODELS']}, which is all that a container "
                "sees; or RUNNER=venv"
            )
        values["COMPARE"] = f"models/{compared.relative_to(parent)}"
    return values


def command(step: Step) -> tuple[list[str], dict[str, str], str]:
    """The command that runs a step in its image, its variables, and the name of the container.

    The image is built first, in half a second when nothing has changed.
    """
    stage, environment = step.stage, step.environment
    service, words = stage.environment, step.words
    if on_cluster(stage, environment):
        service = "ray-driver"
    elif service == "train" and on_gpus(environment):
        service = "train-cuda"
    variables = compose_variables(stage, words, environment)
    subprocess.run(["docker", "compose", "build", "--quiet", service], check=True, cwd=ROOT, env=variables)
    name = f"albert-ja-{stage.environment}-{os.getpid()}"
    run = ["docker", "compose", "run", "--rm", "--no-deps", "--name", name, *([] if on_terminal() else ["-T"])]
    run += ["--service-ports"] if stage.ports else []
    run += [word for volume in step.volumes for word in ("--volume", volume)]
    if in_cloud(stage.paths(environment), words) or mounted_bucket():
        # Files of a bucket pass through a temporary folder of the disk. A container's own /tmp is memory.
        run += ["--volume", f"{temporary_folder('scratch')}:/scratch", "--env", "TMPDIR=/scratch"]
    values = variables_for(stage, environment)
    run += [word for secret in stage.secrets for word in ("--env", secret)]
    run += [word for key, value in values.items() for word in ("--env", f"{key}={value}")]
    if values.get("DATASET") == DATASET:
        run += ["--volume", f"{Path(setting(environment, 'DATASET')).resolve()}:{DATASET}:ro"]
    module = step.module or stage.module
    if service == "ray-driver":
        words = [module, *words]
    elif module != "stages." + stage.environment.replace("-", "_"):
        run += ["--entrypoint", f"python -m {module}"]
    return [*run, service, *words], variables, name


def on_terminal() -> bool:
    return all(os.isatty(stream) for stream in (0, 1, 2))


def on_gpus(environment: Environment) -> bool:
    """Whether the image is the one for GPUs: as TORCH says, else by DEVICE, else where engine and driver have one."""
    torch, device = setting(environment, "TORCH"), setting(environment, "DEVICE", "auto")
    if torch not in ("", "cpu", "cuda"):
        raise Refusal(f"TORCH={torch} is neither cpu nor cuda")
    if torch or device != "auto":
        return (torch or device) == "cuda"
    runtimes = subprocess.run(["docker", "info", "--format", "{{json .Runtimes}}"], capture_output=True, text=True)
    driver = shutil.which("nvidia-smi")
    if '"nvidia"' not in runtimes.stdout or not driver:
        return False
    return subprocess.run([driver, "-L"], capture_output=True).returncode == 0


def folder_variables(environment: Environment = os.environ, empty: Path | None = None) -> dict[str, str]:
    """The variables of compose.yaml that name what to mount, and whose the files are to be.

    In place of a folder in a bucket an empty one is mounted: `empty`, or a temporary one.
    """
    # MODELS comes last: it is the folder itself that becomes unwritable.
    folders = {"DATA": data(environment), "TRAINING": training(environment), "MODELS": models(environment)}
    variables = {**environment, "RUN_AS": f"{os.getuid()}:{os.getgid()}"}
    for name, path in folders.items():
        if not remote(path):
            variables[name] = str(Path(path).resolve())
            continue
        variables[name] = str(empty or temporary_folder(name))
        for mounted in MOUNTED[name]:
            folder = Path(variables[name], mounted)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o555)
    if remote(folders["DATA"]):
        variables["DOWNLOADS"] = str(Path(setting(environment, "DOWNLOADS", "data/downloads")).resolve())
    dump = local_dump(environment)
    if dump:
        variables.update(DUMP_FOLDER=str(dump.resolve().parent), DUMP_NAME=dump.resolve().name)
    return variables


def compose_variables(stage: Stage, words: list[str], environment: Environment) -> dict[str, str]:
    """The variables of compose.yaml for a stage's command: `folder_variables`, its network and credentials."""
    cloud = "--help" not in words and in_cloud(stage.paths(environment), words)
    reaches = stage.network(environment)
    variables = folder_variables(environment)
    variables["NETWORK"] = network() if cloud or reaches else "none"
    # A Cloud TPU is reached by Google's client, like a bucket.
    variables["CREDENTIALS"] = credentials() if cloud or (reaches and stage == STAGES["tpu-train"]) else ""
    if cloud or reaches or setting(environment, "RAY_ADDRESS"):
        variables.update(CLUSTER_INTERNAL="false", SERVE_OUTWARD="true")
    return variables


@functools.cache
def temporary_folder(name: str) -> str:
    """An empty folder that is gone when this process ends; one for each name."""
    folder = tempfile.mkdtemp(prefix=f"albert-ja-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def network() -> str:
    """The network of a container that needs one: this machine's own where the emulator of the storage listens on it."""
    emulator = setting(os.environ, "STORAGE_EMULATOR_HOST")
    name = urllib.parse.urlsplit(emulator if "://" in emulator else f"//{emulator}").hostname or ""
    return "host" if name in ("localhost", "::1") or name.startswith("127.") else "bridge"


def credentials() -> str:
    """The file with the application default credentials; nothing for an emulator, or where there is no file.

    A machine of Google's has none: there the client asks the machine.
    """
    if setting(os.environ, "STORAGE_EMULATOR_HOST"):
        return ""
    path = setting(os.environ, "GOOGLE_APPLICATION_CREDENTIALS")
    if path and not Path(path).is_file():
        raise Refusal(f"GOOGLE_APPLICATION_CREDENTIALS names {path}, which is no file")
    folder = Path(setting(os.environ, "CLOUDSDK_CONFIG") or os.path.expanduser("~/.config/gcloud"))
    file = Path(path) if path else folder / "application_default_credentials.json"
    return str(file.resolve()) if file.is_file() else ""


def make_folders() -> None:
    """Make the folders that are mounted: the engine would make missing ones itself, and they would be root's."""
    variables = folder_variables()
    for name, folders in MOUNTED.items():
        for folder in folders if name in variables else ():
            try:
                Path(variables[name], folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                variable = "WORK_DIR" if name == "TRAINING" else name
                raise Refusal(f"{error.filename} cannot be made ({error.strerror}); say {variable}= a folder of yours")


def finish(words: list[str], environment: Environment, text: str = "", container: str = "") -> int:
    """Run a command to its end and return its exit code; signals are the command's to answer.

    Its standard input is `text`, or this process's own without one. `container`: the name of the one that it starts.
    """
    # `docker compose run` answers a signal by leaving its container alone, still running. So the container gets it from
    # here, and compose none: its end follows the container's. Only a terminal's own Ctrl-C goes through compose.
    apart = bool(container) and not on_terminal()

    def pass_on(signum: int, frame: object) -> None:
        kill = ["docker", "kill", "--signal", str(signum), container]
        if not container or subprocess.run(kill, capture_output=True).returncode:
            process.send_signal(signum)

    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=subprocess.PIPE if text else None, text=True, encoding="utf-8",
        start_new_session=apart,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, pass_on)
    # Without a container, or with a terminal of its own, the terminal sends it to the stage as well.
    signal.signal(signal.SIGINT, pass_on if apart else signal.SIG_IGN)
    if text:
        process.communicate(text + "\n")
    return process.wait()


def mounted_bucket() -> Path | None:
    """The folder that `make mount` has made of a bucket, while it is there."""
    mounted = Path(setting(os.environ, "MOUNT", "mount"), "data").resolve()
    return mounted if os.path.ismount(mounted) else None


def uploaded(stage: Stage, environment: Environment) -> int:
    """Wait until the files of a stage are in the bucket, if its folder is inside the folder of `make mount`.

    Files written in one pass are uploaded when the stage ends. Files that were appended to are uploaded later.
    """
    mounted = mounted_bucket()
    out = Path(stage.paths(environment)["out"]).resolve() if mounted and stage.makes else Path()
    if not mounted or mounted not in out.parents:
        return 0
    question = ["docker", "compose", "--profile", "mount", "exec", "-T", "mount", "mount-bucket", "uploaded"]
    question.append(str(out.relative_to(mounted)))
    if not subprocess.run(question, cwd=ROOT, env=folder_variables(environment)).returncode:
        return 0
    print(f"{stage.name}: the mount does not say whether {out} is in the bucket; make mount resumes", file=sys.stderr)
    return RETRYABLE
