"""The Ray engine on a cluster of several nodes: the same bytes as without, and one clear line where it cannot go on."""

import bz2
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import (
    ENVIRONMENT,
    PYTHON,
    Completed,
    Nodes,
    bytes_of,
    free_port,
    kill,
    mapped,
    told_of,
    until,
)

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "scripts/sample/jasample-cirrussearch-content.json"
Run = Callable[..., Completed]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a newer dump: a folder of two .bz2 files."""
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    folder = tmp_path_factory.mktemp("parts")
    middle = len(lines) // 4 * 2
    for number, part in enumerate((lines[:middle], lines[middle:])):
        (folder / f"jasample-{number}.json.bz2").write_bytes(bz2.compress(b"".join(part)))
    return folder


def test_corpus_vocab_and_tfrecords_have_the_bytes_of_the_local_engine(
    on_cluster: Run, run_stage: Run, parts: Path, tmp_path: Path
) -> None:
    for run, out in ((run_stage, tmp_path / "local"), (on_cluster, tmp_path / "ray")):
        run("corpus", "--dump", SAMPLE, "--out", out / "one", "--shards", 3)
        run("corpus", "--dump", parts, "--out", out / "corpus", "--shards", 5)
        run("vocab", "--corpus", out / "corpus", "--out", out / "vocab", "--vocab-size", 3000, "--alphabet-size", 1200)
        run("tfrecords", "--corpus", out / "corpus", "--vocab", out / "vocab", "--out", out / "tfrecords",
            "--seq-length", 64, "--dupe-factor", 2)  # fmt: skip
    local, ray = bytes_of(tmp_path / "local"), bytes_of(tmp_path / "ray")
    assert len(local) == 3 + 1 + 5 + 1 + 2 + 1 + 2 * 6
    assert sorted(local) == sorted(ray)
    assert [name for name in local if local[name] != ray[name]] == []


def test_files_that_were_read_are_not_read_again(on_cluster: Run, nodes: Nodes, tmp_path: Path) -> None:
    """The spool of the first file outlives its run, though that is killed: what is in it goes into the corpus."""
    dump, out = tmp_path / "dump", tmp_path / "corpus"
    dump.mkdir()
    (dump / "0.bz2").write_bytes(bz2.compress("最初の文書には文が一つだけある。\n\n".encode()))
    text = "".join(f"{number}番目の文書には文が一つだけある。\n\n" for number in range(900_000))
    (dump / "1.bz2").write_bytes(bz2.compress(text.encode(), 1))
    words = ["--dump", str(dump), "--out", str(out), "--shards", "2"]
    command = [str(PYTHON), "-m", "stages.corpus", *words, "--engine", "ray"]
    with subprocess.Popen(command, env={**ENVIRONMENT, "RAY_ADDRESS": nodes.address}, cwd=ROOT) as process:
        spool = out / ".input_00000.spool"
        until(spool.exists, 90)
        process.kill()
    assert not (out / "manifest.json").exists()
    kept = spool.read_bytes()
    assert "最初の文書".encode() in kept
    spool.write_bytes(kept.replace("最初".encode(), "途中".encode()))
    on_cluster("corpus", *words)
    made = (out / "corpus_00000.txt").read_text(encoding="utf-8")
    assert made.startswith("途中の文書には文が一つだけある。\n")
    assert made.count("\n\n") == 450_001
    assert not list(out.glob(".input_00000*"))


def test_results_come_in_order_and_no_more_items_are_taken_than_four_for_each_processor(nodes: Nodes) -> None:
    code, output, error = told_of(mapped(nodes.address, "trial.slow", "trial.taken(20)"))
    assert (code, error) == (0, "")
    lines = output.splitlines()
    assert [line for line in lines if "taken" not in line] == [str(number) for number in range(20)]
    for number in range(20):
        before = lines[: lines.index(str(number))]
        assert sum("taken" in line for line in before) <= number + 4 * 2


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        ("trial.refuse_even", 2, "corpus: error: no shard 0\n"),
        ("trial.die_at_three", 75, "the workers at shard 3 were lost 5 times, most likely for lack of memory; "),
        ("trial.full", 1, "OSError: [Errno 28] No space left on device: '/data/0'\n"),
        ("trial.wrong", 1, "ValueError: a bug at 0\n"),
    ],
)
def test_what_a_task_raises_arrives(nodes: Nodes, function: str, code: int, words: str) -> None:
    ended, _, error = told_of(mapped(nodes.address, function, "range(6)"))
    assert ended == code, error
    assert words in error
    assert code == 1 or error.count("\n") == 1, error


def test_what_a_killed_worker_had_is_done_by_another(nodes: Nodes) -> None:
    with mapped(nodes.address, "trial.process", "range(12)") as run:
        assert run.stdout is not None
        os.kill(int(run.stdout.readline()), signal.SIGKILL)
        code, output, error = told_of(run)
    assert (code, error) == (0, "")
    assert len(output.split()) == 11


def test_an_interrupted_run_says_so_and_ends_its_tasks(nodes: Nodes, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    function = f"functools.partial(trial.beat, path={str(beats)!r})"
    with mapped(nodes.address, function, "range(2)") as run:
        until(beats.exists, 60)
        run.terminate()
        code, _, error = told_of(run)
    assert code == 128 + signal.SIGTERM
    assert error == "corpus: interrupted; the same command resumes\n"

    def still() -> bool:
        before = beats.stat().st_size
        time.sleep(1)
        return beats.stat().st_size == before

    until(still, 20)


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("", 2, "RAY_ADDRESS is not set; --engine ray takes the address of a cluster's head, such as ray://HOST:10001"),
        ("auto", 2, "RAY_ADDRESS is auto; "),
        ("ray://127.0.0.1:{port}", 75, "no cluster answers at ray://127.0.0.1:"),
        ("ray://no-such-host.invalid:10001", 75, "no cluster answers at ray://no-such-host.invalid:10001"),
    ],
)
def test_where_there_is_no_cluster_one_line_says_so(nodes: Nodes, address: str, code: int, words: str) -> None:
    ended, output, error = told_of(mapped(address.format(port=free_port()), "trial.slow", "range(2)"))
    assert (ended, output, error.count("\n")) == (code, "", 1), error
    assert words in error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("import ray; ray.__version__ = '2.9.0'", "has another version of Ray or Python than this driver's Ray 2.9.0"),
        (
            "from stages.engine import ray; ray.ingredients = lambda: (('stages.handover.storage', 'other'),)",
            "has another stages.handover.storage than this driver; use one image for both",
        ),
    ],
)
def test_a_cluster_that_would_make_other_bytes_is_refused(nodes: Nodes, change: str, words: str) -> None:
    with mapped(nodes.address, "trial.slow", "range(2)", before=change) as run:
        code, output, error = told_of(run)
    assert (code, output, error.count("\n")) == (2, "", 1), error
    assert words in error


def test_a_machine_that_is_lost_costs_nothing_but_time_and_the_head_ends_the_run(nodes: Nodes) -> None:
    """Last, since it takes the cluster down. Results lie on the machine that is lost, too."""
    # Enough for a processor to be at it until the loss is noticed: Ray takes 16 s, and is asked every 5.
    with mapped(nodes.address, "trial.large", "range(120)") as run:
        assert run.stdout is not None
        lines = [run.stdout.readline() for _ in range(8)]
        kill(nodes.workers[1])
        code, output, error = told_of(run)
    assert (code, error) == (0, "the cluster has lost 1 of 2 CPUs; others try again what was under way there\n")
    assert [*lines, *output.splitlines(keepends=True)] == [f"{number} 1048576\n" for number in range(120)]
    with mapped(nodes.address, "trial.slow", "range(400)") as run:
        assert run.stdout is not None
        run.stdout.readline()
        kill(nodes.head)
        code, _, error = told_of(run)
    assert (code, error.count("\n")) == (75, 1), error
    assert "was lost; once it is up again, the same command resumes from what is written" in error
