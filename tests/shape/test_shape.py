"""The repository keeps its shape: what one stage has, every stage has, and images differ only where stages do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert", "tokenizer", "serve"]
LOCKS = [*ROOT.glob("stages/*/*.lock"), ROOT / "stages" / "compiler.lock", ROOT / "tests" / "requirements.lock"]
# Services and images that are no stage: what they are for is in compose.yaml.
# Services that are no stage → their profile.
OTHERS = {
    "serve": "serve", "train-cuda": "cuda",
    "ray-head": "cluster", "ray-worker": "cluster", "ray-driver": "driver", "mount": "mount",
}  # fmt: skip
# Commands with a folder and tests of their own, in the image and environment of a stage that has all they need.
ELSEWHERE = {"evaluate": "train", "finetune": "train"}


def folder(stage: str) -> str:
    """The name of a stage where Python has to import it."""
    return stage.replace("-", "_")


def compose() -> Any:
    """compose.yaml with the services of the files that it includes."""
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for included in composed["include"]:
        composed["services"].update(yaml.safe_load((ROOT / included["path"]).read_text())["services"])
    return composed


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_parts(stage: str) -> None:
    for path in (
        f"stages/{folder(stage)}/__init__.py",
        f"stages/{folder(stage)}/__main__.py",
        f"stages/{folder(stage)}/options.py",
        f"stages/{folder(stage)}/README.md",
        f"stages/{folder(stage)}/requirements.in",
        f"stages/{folder(stage)}/requirements.lock",
    ):
        assert (ROOT / path).is_file(), path
    assert list((ROOT / "tests" / folder(stage)).glob("test_*.py"))


@pytest.mark.parametrize(("command", "stage"), ELSEWHERE.items())
def test_a_command_in_the_image_of_another_stage_has_its_parts(command: str, stage: str) -> None:
    assert (ROOT / "stages" / command / "__main__.py").is_file()
    assert list((ROOT / "tests" / command).glob("test_*.py"))
    assert command in compose()["services"][stage]["build"]["args"]["PARTS"].split()


def test_there_are_no_other_stages() -> None:
    folders = {*map(folder, STAGES), *ELSEWHERE}
    assert {path.parent.name for path in ROOT.glob("stages/*/__main__.py")} == folders
    images = {path.name.removesuffix(".Dockerfile") for path in (ROOT / "docker").glob("*.Dockerfile")}
    assert images == {"stage", "tpu-train", "mount"}
    assert set(compose()["services"]) == {*STAGES, *OTHERS}


@pytest.mark.parametrize("service", OTHERS)
def test_other_services_have_a_profile_and_few_rights(service: str) -> None:
    """Nothing but the stages starts by itself; only the mount is root, with what mounting takes."""
    said = compose()["services"][service]
    assert said["profiles"] == [OTHERS[service]]
    assert said["cap_drop"] == ["ALL"]
    assert said["read_only"] is True
    assert "no-new-privileges:true" in said["security_opt"]
    assert "privileged" not in said
    is_root = {"user": "0:0", "cap_add": ["SYS_ADMIN", "DAC_OVERRIDE"], "devices": ["/dev/fuse"]}
    rights = {name: said[name] for name in is_root if name in said}
    assert rights == (is_root if service == "mount" else {"user": "${RUN_AS:-1000:1000}"})


def test_training_on_gpus_is_training_with_another_build_of_pytorch() -> None:
    services = compose()["services"]
    other = {"image", "build", "profiles", "shm_size", "deploy"}
    assert {name: said for name, said in services["train-cuda"].items() if name not in other} == {
        name: said for name, said in services["train"].items() if name not in other
    }
    arguments = services["train"]["build"]["args"]
    assert services["train-cuda"]["build"] == {**services["train"]["build"], "args": {**arguments, "TORCH": "-cuda"}}
    pinned = [versions(ROOT / "stages" / "train" / f"{name}.lock") for name in ("torch", "requirements", "torch-cuda")]
    assert pinned[0]["torch"] == pinned[2]["torch"]
    # What both locks have is the same, so that one does not undo the other.
    assert {"sympy", "filelock"} < set(pinned[1]) & set(pinned[2])
    assert {name: pinned[1][name] for name in set(pinned[1]) & set(pinned[2])}.items() <= pinned[2].items()


def versions(lock: Path) -> dict[str, str]:
    """The packages of a lock."""
    return dict(re.findall(r"^([\w.\-]+)(?:\[.*\])?==(\S+)", lock.read_text(), re.M))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in OTHERS])
def test_a_service_is_its_image_with_few_rights(stage: str) -> None:
    service = compose()["services"][stage]
    assert service["image"] == f"albert-ja/{stage}"
    dockerfile = "docker/tpu-train.Dockerfile" if stage == "tpu-train" else "docker/stage.Dockerfile"
    assert service["build"]["dockerfile"] == dockerfile
    assert stage == "tpu-train" or service["build"]["args"]["STAGE"] == folder(stage)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["network_mode"] == "${NETWORK:-none}"
    assert service["secrets"] == ["credentials"]
    # Who reads may not write: a folder is writable for the one stage that makes it.
    writable = [mount["target"] for mount in service["volumes"] if not mount.get("read_only")]
    made = {
        "corpus": ["/app/data/downloads", "/app/data/corpus"],
        "vocab": ["/app/data/vocab"],
        "tfrecords": ["/app/data/tfrecords"],
        "tpu-train": ["/app/data/checkpoints"],
        "train": ["/app/data/runs", "/app/data/evaluations", "/app/data/finetuned"],
        "convert": ["/app/models"],
        "tokenizer": [],
    }
    assert writable == made[stage]


@pytest.mark.parametrize("stage", [*(stage for stage in STAGES if stage != "tpu-train"), "ray-head"])
def test_an_image_has_what_its_code_imports(stage: str) -> None:
    """Of the folders of stages. Modules beside them and the rooms below are in every image of Python 3.11."""
    arguments = compose()["services"][stage]["build"]["args"]
    inside = {*arguments.get("PARTS", "").split(), arguments["STAGE"]}
    assert "for part in command handover engine formats words $PARTS" in " ".join(instructions("stage"))
    for part in inside:
        for module in (ROOT / "stages" / part).rglob("*.py"):
            imported = re.findall(r"^\s*(?:from|import) stages\.(\w+)", module.read_text(), re.MULTILINE)
            folders = {name for name in imported if (ROOT / "stages" / name).is_dir()}
            assert folders <= {*inside, "command", "handover", "engine", "formats", "words"}, module


def instructions(image: str) -> list[str]:
    text = (ROOT / "docker" / f"{image}.Dockerfile").read_text().replace("\\\n", " ")
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("image", ["stage", "tpu-train"])
def test_an_image_gets_the_lock_first_and_runs_without_rights(image: str) -> None:
    copies = [line for line in instructions(image) if line.startswith("COPY")]
    assert copies[0].split()[1].endswith(".lock")
    assert copies[-2:] == ["COPY --from=builder /venv /venv", "COPY --from=builder /app /app"]
    assert instructions(image)[-2] == "USER 1000:1000"
    froms = [line.split()[1] for line in instructions(image) if line.startswith("FROM")]
    assert froms == {"stage": ["python:3.11-slim-bookworm"] * 3, "tpu-train": ["python:3.7-slim-bookworm"] * 2}[image]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_locks_pin_versions_and_hashes_and_no_index(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines)
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|file:", text)
    for requirement in re.split(r"\n(?=\S)", text):
        assert re.match(r"[\w.\-\[\]]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_image_and_environment_install_by_the_same_line() -> None:
    script = (ROOT / "scripts" / "venv").read_text()
    (address,) = re.findall(r"torch_wheels=(\S+)", script)
    assert "install --require-hashes" in script
    lines = " ".join(instructions("stage"))
    assert "--require-hashes --no-deps --retries 1" in lines
    assert f"--find-links {address} -r" in lines


def test_help_lists_every_target() -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    (phony,) = re.findall(r"\.PHONY: (.*?)\n\n", (ROOT / "Makefile").read_text(), re.S)
    targets = {*re.sub(r"\$\([^)]*\)|\\", "", phony).split(), *STAGES}
    for target in targets - {"first", "help", "tokenizer"}:
        assert re.search(rf"(make |, |and ){target}\b", helped), target


def test_make_types_no_number_of_the_recipe() -> None:
    recipe = r"32,?768|6,?129|3,?000,?000|25,?000|40,?000|1,?000,?000|2\.2e-4|\b(640|512|250)\b"
    for path in ("Makefile", "compose.yaml", "scripts/run.py"):
        assert not re.findall(recipe, (ROOT / path).read_text()), path


def test_shell_scripts_stop_at_errors() -> None:
    scripts = [p for p in [*ROOT.glob("scripts/*"), ROOT / ".ci/run"] if p.is_file() and p.read_text().startswith("#!")]
    assert len(scripts) >= 7
    for script in scripts:
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/usr/bin/env bash"
        assert "set -euo pipefail" in lines, script
        assert script.stat().st_mode & 0o111 == 0o111, script


def test_images_are_built_from_stages_only() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    kinds = ["!stages/**/*.py", "!stages/**/*.c", "!stages/**/*.h", "!stages/**/*.lock", "!stages/**/*.patch"]
    kinds += ["!stages/cluster/head.sh"]
    folders = ["!stages/convert/model_card.jinja", "!stages/evaluate/cloze.tsv", "!stages/evaluate/report.html"]
    folders += ["!stages/serve/page/*", "!stages/released/*/tiny/*", "!stages/tpu_train/configs/*.json"]
    assert rules == ["*", *kinds, *folders]
