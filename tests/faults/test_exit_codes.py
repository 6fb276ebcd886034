"""What a stage ends with: the codes of make help, and make, which says them and ends with 2."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.stopping import BREAKPOINT, stopped
from tests.torture.flow import Flow
from tests.torture.runs import ROOT, kill, members, python, wait_for


def told(stage: str, words: list[str], **variables: object) -> "subprocess.Popen[str]":
    """`python3 -m scripts.run` or make, as a person runs it in a terminal of its own."""
    environment = {"PATH": os.environ["PATH"], "RUNNER": "venv", **{name: str(v) for name, v in variables.items()}}
    return subprocess.Popen(
        [*words, stage], cwd=ROOT, env=environment, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )  # fmt: skip


def stage_process(session: int) -> int:
    """The process of the stage itself, among those that `scripts.run` has started; 0: it has not yet."""
    for process in members(session):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"stages.vocab" in words:
            return process
    return 0


@pytest.mark.parametrize("words", [[sys.executable, "-m", "scripts.run"], ["make", "--no-print-directory"]])
@pytest.mark.parametrize(
    ("signum", "code", "line"),
    [
        (signal.SIGKILL, 137, "vocab: error: it was killed from outside, most likely for lack of memory; "
         "the same command resumes, with fewer processes (JOBS=1) or more memory"),
        (signal.SIGTERM, 143, "vocab: interrupted; the same command resumes"),
    ],
)  # fmt: skip
def test_a_stage_that_is_ended_from_outside_is_told_in_one_line(
    flow: Flow, tmp_path: Path, words: list[str], signum: int, code: int, line: str
) -> None:
    flow.clean("corpus")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corpus").symlink_to(flow.clean("corpus").out)
    begun = {"PYTHONPATH": BREAKPOINT, "MAIN_STOPS_AT": tmp_path / "data/vocab/run.json"}
    with told("vocab", words, DATA=tmp_path / "data", VOCAB_SIZE=2000, ALPHABET_SIZE=1000, **begun) as process:
        wait_for(lambda: stopped(stage_process(process.pid)), "it has not begun", 60)
        stage = stage_process(process.pid)
        kill(stage, signum)
        kill(stage, signal.SIGCONT)
        _, said = process.communicate(timeout=60)
    assert line in said.splitlines()
    assert "Traceback" not in said
    if words[0] == "make":
        assert process.returncode == 2
        assert f"Error {code}" in said
    else:
        assert process.returncode == code


def test_the_codes_are_documented_where_people_look() -> None:
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    section = text[text.index("Exit codes") : text.index("Variables of the flow")]
    assert re.findall(r"(?:^  |· )([\d, ]+) ", section, re.M) == ["0", "1", "2", "75", "130, 143", "137"]


@pytest.mark.parametrize("stage", ["corpus", "vocab", "tfrecords", "tpu-train", "train", "convert", "tokenizer"])
def test_every_stage_says_its_codes(stage: str) -> None:
    if not python(stage).exists():
        pytest.skip(f"{python(stage)} is missing; run make venv")
    command = [str(python(stage)), "-m", f"stages.{stage.replace('-', '_')}", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    assert "exit codes: 0 done, 1 a bug, 2 usage or bad input, 75 try again" in said
