"""What OpenAPI promises, asked for at random by schemathesis: valid requests, and invalid ones."""

import os
import subprocess
import sys
from pathlib import Path

from tests.serve.conftest import Service


def test_schemathesis_finds_no_failure(service: Service, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    # To be too large is one more way to be refused.
    refused = [400, 404, 405, 408, 413, 415, 422]
    (tmp_path / "schemathesis.toml").write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {refused}\n")
    done = subprocess.run(
        [
            str(program), "run", service.address + "/openapi.json", "--checks", "all", "--max-examples", "40",
            "--seed", "1", "--workers", "2", "--suppress-health-check", "all", "--no-color",
        ],
        cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, env={**os.environ, "CI": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [line for line in service.lines() if line["event"] == "bug"]
