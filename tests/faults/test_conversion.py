"""A conversion that is killed, or finds its disk full or its folder taken: its weights are written by a library."""

import json
import signal
from pathlib import Path

import pytest

from tests.faults.stopping import StoppingRun
from tests.torture.faults import small_disk
from tests.torture.runs import compare, files, finish, kill, python, refused, run


@pytest.fixture(scope="module")
def checkpoint(checkpoints: Path) -> list[object]:
    """What the conversion is told of a small checkpoint, but for `--out`."""
    if not python("convert").exists():
        pytest.skip(f"{python('convert')} is missing; run make venv")
    files = ("--config", checkpoints / "plain.json", "--vocab", checkpoints / "vocab.txt")
    return ["--checkpoint", checkpoints / "plain", *files]


@pytest.fixture(scope="module")
def clean(checkpoint: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed conversion. Read only."""
    out = tmp_path_factory.mktemp("clean") / "out"
    finish("convert", [*checkpoint, "--out", out])
    return out


def test_a_full_disk_is_told_and_the_conversion_goes_on(checkpoint: list[object], clean: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 20_000) as grow:
        if grow is None:
            pytest.skip("this user may not mount a small disk")
        out = tmp_path / "disk" / "out"
        refused(run("convert", [*checkpoint, "--out", out]), 75, f"cannot write to {out}", "No space left on device")
        assert [name for name in files(out) if not name.startswith(".")] == ["run.json"]
        grow(1 << 26)
        finish("convert", [*checkpoint, "--out", out])
        compare(out, files(clean), clean)


def test_a_killed_conversion_owned_its_folder_and_goes_on(
    checkpoint: list[object], clean: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with StoppingRun("convert", [*checkpoint, "--out", out], out / ".*" / "model.safetensors") as first:
        first.stands_still()
        refused(run("convert", [*checkpoint, "--out", out]), 75, f"is being written by process {first.process.pid} on")
        kill(first.process.pid)
        assert first.end().code == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    finish("convert", [*checkpoint, "--out", out])
    compare(out, files(clean), clean)


def test_other_options_and_inputs_are_refused(checkpoint: list[object], clean: Path, tmp_path: Path) -> None:
    before = files(clean)
    assert "finished already" in run("convert", [*checkpoint, "--out", clean]).said
    refused(run("convert", [*checkpoint, "--out", clean, "--subwords", "character"]), 2, "options.subwords was")
    config = Path(str(checkpoint[3]))
    changed = tmp_path / "config.json"
    changed.write_text(json.dumps({**json.loads(config.read_text()), "gap_size": 1}))
    arguments = [changed if word == config else word for word in checkpoint]
    refused(run("convert", [*arguments, "--out", clean]), 2, "inputs.config was")
    assert files(clean) == before


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_byte_turned_over_in_a_checkpoint_is_refused(checkpoint: list[object], tmp_path: Path, share: float) -> None:
    """Anywhere: also in what only training needs, which is not read for the model."""
    prefix = Path(str(checkpoint[1]))
    for path in prefix.parent.glob(f"{prefix.name}.[di]*"):
        data = bytearray(path.read_bytes())
        if ".data" in path.name:
            data[int(share * len(data))] ^= 4
        (tmp_path / path.name).write_bytes(data)
    arguments = [tmp_path / prefix.name if word == prefix else word for word in checkpoint]
    refused(run("convert", [*arguments, "--out", tmp_path / "out"]), 2, f"{tmp_path / prefix.name}.data", "damaged")
    assert not (tmp_path / "out").exists()
