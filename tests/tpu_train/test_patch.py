"""The patch of the installed albert package: applied once, found again, refused on any other source."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".venv" / "tpu-train" / "lib" / "python3.7" / "site-packages" / "albert"
APPLY = ("-m", "stages.tpu_train.patch_albert")


@pytest.fixture
def package(tmp_path: Path, training_python: Any) -> Path:
    """A folder with an albert package as it came from the index: our two lines taken out again."""
    source = (INSTALLED / "run_pretraining.py").read_text()
    lines = (ROOT / "stages" / "tpu_train" / "compression_type.patch").read_text().splitlines()
    before = [line[1:] for line in lines if line.startswith("-") and not line.startswith("---")]
    after = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert source.count(new) == 1
        source = source.replace(new, old)
    (tmp_path / "albert").mkdir()
    (tmp_path / "albert" / "__init__.py").touch()
    (tmp_path / "albert" / "run_pretraining.py").write_text(source)
    return tmp_path


def test_applies_and_says_so_the_second_time(package: Path, training_python: Any) -> None:
    module = package / "albert" / "run_pretraining.py"
    env = {"PYTHONPATH": str(package)}
    assert training_python(*APPLY, env=env).stderr == f"tpu-train: {module} patched\n"
    assert module.read_bytes() == (INSTALLED / "run_pretraining.py").read_bytes()
    assert training_python(*APPLY, env=env).stderr == f"tpu-train: {module} already patched\n"
    assert module.read_bytes() == (INSTALLED / "run_pretraining.py").read_bytes()


@pytest.mark.parametrize("where", ["import time\n", "      d = tf.data.TFRecordDataset(input_files)\n"])
def test_refuses_any_other_source(package: Path, training_python: Any, where: str) -> None:
    module = package / "albert" / "run_pretraining.py"
    altered = module.read_text().replace(where, where.rstrip() + "  # mine\n")
    module.write_text(altered)
    error = training_python(*APPLY, env={"PYTHONPATH": str(package)}, code=2).stderr
    assert error.startswith(f"tpu-train: error: {module} is not the file that the patch was made for")
    assert error.count("\n") == 1
    assert module.read_text() == altered


def test_training_refuses_an_unpatched_package(
    package: Path, tfrecords: Path, config: Path, run_stage: Any, tmp_path: Path
) -> None:
    (package / "albert" / "modeling.py").symlink_to(INSTALLED / "modeling.py")
    (package / "albert" / "optimization.py").symlink_to(INSTALLED / "optimization.py")
    (package / "albert" / "lamb_optimizer.py").symlink_to(INSTALLED / "lamb_optimizer.py")
    arguments = ["--tfrecords", tfrecords, "--config", config, "--out", tmp_path / "out", "--device", "cpu"]
    refused = run_stage("tpu_train", *arguments, env={"PYTHONPATH": str(package)}, code=2)
    assert "the albert package is not patched; run python -m stages.tpu_train.patch_albert once" in refused.stderr
