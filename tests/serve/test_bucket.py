"""Models of a bucket: the command and the service read them as they read those of a folder."""

import shutil
from pathlib import Path

from stages.handover import storage
from tests.conftest import Run
from tests.emulator import BUCKET, Proxy
from tests.serve.conftest import serving


def test_models_of_a_bucket(models_with_onnx: Path, bucket: Proxy, tmp_path: Path, run_stage: Run) -> None:
    address = f"gs://{BUCKET}/published/models"
    copied = shutil.copytree(models_with_onnx / "character/tiny", tmp_path / "copy")
    for file in sorted(copied.iterdir()):
        storage.put(str(file), f"{address}/character/tiny/{file.name}")
    with serving(tmp_path / "log", "--models", address) as service:
        [model] = service.get("/v1/models").json["models"]
        assert (model["name"], model["fill_mask"], model["max_length"]) == ("character/tiny", True, 64)
        assert service.post("/v1/fill-mask", {"text": "[MASK]"}).status == 200
    here, there = models_with_onnx / "character/tiny", f"{address}/character/tiny"
    fills = [
        run_stage("tokenizer", "fill-mask", "--model", model, "--top-k", 3, stdin="山と[MASK]。\n").stdout
        for model in (here, there)
    ]
    assert fills[0] == fills[1]
    refused = run_stage("serve", "--models", f"gs://{BUCKET}/none", code=2).stderr
    assert "no folder below gs://a-bucket/none has vocab.txt and tokenizer_config.json" in refused
