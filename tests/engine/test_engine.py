"""Whatever is killed, the results of all items come in order, once; or one line names the item."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stages.command.refusal import Refusal, Retryable
from stages.engine import ray
from stages.engine.ordered import in_order
from stages.handover.lock import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


class Piece(NamedTuple):
    """An item with bytes, as the corpus has them."""

    number: int
    data: bytes


def doubled(piece: Piece) -> Piece:
    time.sleep(0.02 * (piece.number % 3))
    return Piece(piece.number, piece.data * 2)


def refuse_even(number: int) -> int:
    time.sleep(0.2 / (1 + number))
    if number % 2 == 0:
        raise Refusal(f"no shard {number}")
    return number


def die_at(number: int, deadly: dict[int, int], record: Path) -> int:
    """Ends its own process as often as `deadly` says for this number; every call leaves a line in `record`."""
    with open(record, "a", encoding="utf-8") as stream:
        stream.write(f"{number}\n")
    calls = record.read_text(encoding="utf-8").split().count(str(number))
    if calls <= deadly.get(number, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number * 10


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    pieces = [Piece(number, bytes([number]) * size) for number, size in enumerate((0, 9, 5 << 20, 3 << 20, 1, 7))]
    assert list(in_order(doubled, pieces, jobs)) == [Piece(number, data * 2) for number, data in pieces]
    assert list(in_order(abs, [], jobs)) == []


def test_no_more_items_are_taken_than_two_for_each_job() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(abs, items(), 3)
    for number in range(20):
        assert next(results) == number
        assert len(taken) <= number + 6
    results.close()
    assert len(taken) <= 26


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_first_error_in_the_order_of_the_items_is_reported(jobs: int) -> None:
    """Item 2 is refused sooner than item 0, and the items themselves end in a refusal."""

    def items() -> Iterator[int]:
        yield from (1, 3)
        raise Refusal("no more items")

    with pytest.raises(Refusal, match="no shard 0"):
        list(in_order(refuse_even, [0, 1, 2], jobs))
    results = in_order(refuse_even, items(), jobs)
    assert [next(results), next(results)] == [1, 3]
    with pytest.raises(Refusal, match="no more items"):
        next(results)


@pytest.mark.parametrize("jobs", [2, 4])
def test_the_item_of_a_killed_worker_is_tried_again_with_fewer_jobs(
    jobs: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deadly = functools.partial(die_at, deadly={5: 1}, record=tmp_path / "calls")
    assert list(in_order(deadly, range(12), jobs)) == [number * 10 for number in range(12)]
    message = capfd.readouterr().err
    assert message.count("\n") == 1
    assert "a worker was killed, most likely for lack of memory" in message
    assert f"with {jobs // 2} job" in message
    calls = (tmp_path / "calls").read_text().split()
    # What had a result is not done again.
    assert all(calls.count(str(number)) == 1 for number in range(6 - 2 * jobs))
    assert calls.count("5") == 2


def test_an_item_that_ends_every_worker_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    deadly = functools.partial(die_at, deadly={3: 99}, record=tmp_path / "calls")
    results = in_order(deadly, range(12), 4, name=lambda number: f"shard_{number}.txt")
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    with pytest.raises(Retryable, match=r"the worker at shard_3\.txt was killed 2 times"):
        next(results)
    assert capfd.readouterr().err.count("a worker was killed") == 3
    assert (tmp_path / "calls").read_text().split().count("3") == 4


def test_all_results_come_though_a_worker_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from stages.command.running import run\n"
        "from stages.engine.ordered import in_order\n"
        "from tests.engine.test_engine import waiting\n"
        "def main(arguments):\n"
        "    for result in in_order(waiting, range(20), 2): print(result, flush=True)\n"
        "sys.exit(run('corpus', main))"
    )
    with started(program, UNTIL=str(tmp_path / "killed")) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(children(process.pid)[0], signal.SIGKILL)
        (tmp_path / "killed").touch()
        assert process.stderr is not None
        stdout, stderr = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0
    assert stdout.split() == [str(number) for number in range(1, 20)]
    assert stderr.count("\n") == 1


def waiting(number: int) -> int:
    """All but the first item take until a worker is killed."""
    while number and not os.path.exists(os.environ["UNTIL"]):
        time.sleep(0.01)
    return number


def killed_while_it_answers(number: int, record: Path) -> dict[int, str]:
    """More than a pipe holds. The first time nobody reads while it is sent, and then its process is killed."""
    if not record.exists():
        record.touch()
        parent = os.getppid()

        def strike() -> None:
            os.kill(parent, signal.SIGCONT)
            os.kill(os.getpid(), signal.SIGKILL)

        os.kill(parent, signal.SIGSTOP)
        threading.Timer(1.0, strike).start()
    return {number: "x" * (6 << 20)}


def test_a_worker_that_is_killed_while_it_answers_is_not_waited_for(tmp_path: Path) -> None:
    """What it had begun to send would never come to its end."""
    program = (
        "import functools, pathlib, sys; from stages.engine.ordered import in_order\n"
        "from tests.engine.test_engine import killed_while_it_answers\n"
        "deadly = functools.partial(killed_while_it_answers, record=pathlib.Path(sys.argv[1]))\n"
        "print([len(result[number]) for number, result in enumerate(in_order(deadly, range(4), 2))])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "called")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, cwd=ROOT)
    assert done.stdout == f"{[6 << 20] * 4}\n", done.stderr


@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_is_killed_when_all_is_done_is_not_waited_for(killed: int) -> None:
    """It may hold the lock behind which the other one waits for being told to end."""
    program = (
        "import os, signal, sys, threading, time\n"
        "from stages.engine.local import Processes\n"
        "from tests.engine.test_engine import children\n"
        "killed = int(sys.argv[1])\n"
        "def strike():\n"
        "    os.kill(workers[killed], signal.SIGKILL)\n"
        "    os.kill(workers[1 - killed], signal.SIGCONT)\n"
        "with Processes(abs, 2, str) as pool:\n"
        "    print([pool.end(task) for task in [pool.begin(-1), pool.begin(-2)]])\n"
        "    workers = children(os.getpid())\n"
        "    for worker in workers: os.kill(worker, signal.SIGSTOP)\n"
        "    threading.Timer(1.0, strike).start()\n"
    )
    command = [sys.executable, "-c", program, str(killed)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=30, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


def test_workers_end_when_their_parent_is_killed() -> None:
    program = (
        "import time; from stages.engine.ordered import in_order\n"
        "for done in in_order(time.sleep, [0, 0, 0, 60, 60, 60], 3): print('one', flush=True)\n"
    )
    with started(program) as process:
        assert process.stdout is not None
        process.stdout.readline()
        workers = children(process.pid)
        assert len(workers) == 3
        process.kill()
        process.wait()
        end = time.monotonic() + PATIENCE
        while any(alive(worker) for worker in workers):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_an_error_while_workers_start_ends_all_of_them() -> None:
    """A worker that is told to end before it has begun must not be waited for without end."""
    program = (
        "import sys; from stages.command.refusal import Refusal; from stages.command.running import run\n"
        "from stages.engine.ordered import in_order\n"
        "def refuse(shard): raise Refusal('no shard %d' % shard)\n"
        "def main(arguments):\n"
        "    for _ in range(60):\n"
        "        try: list(in_order(refuse, range(40), 8))\n"
        "        except Refusal as refusal: print(refusal)\n"
        "sys.exit(run('corpus', main))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=120, cwd=ROOT)
    assert done.returncode == 0
    assert done.stdout == "no shard 0\n" * 60
    assert done.stderr == ""


def test_a_terminated_run_says_so_and_takes_its_workers_with_it() -> None:
    program = (
        "import sys, time; from stages.command.running import run\n"
        "from stages.engine.ordered import in_order\n"
        "def main(arguments):\n"
        "    for done in in_order(time.sleep, [0, 0, 60, 60], 2): print('one', flush=True)\n"
        "sys.exit(run('corpus', main))"
    )
    with started(program) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic()
        process.terminate()
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr == "corpus: interrupted; the same command resumes\n"
    assert time.monotonic() - start < 20


def started(program: str, **variables: str) -> "subprocess.Popen[Any]":
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, **variables},
    )


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended may still be listed until its parent asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("changed", ["module_of_a_trial.py", "rules.c", "rules.h"])
def test_the_identity_of_a_module_depends_on_the_c_sources_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("module_of_a_trial.py", "rules.c", "rules.h"):
        (tmp_path / name).touch()
    before = ray._identity("module_of_a_trial")
    assert before == ray._identity("module_of_a_trial") != "none"
    (tmp_path / changed).write_text("\n")
    assert ray._identity("module_of_a_trial") != before
