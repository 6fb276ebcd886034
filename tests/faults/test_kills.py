"""kill -9 at moments that are the same every time: the same command, run again, ends in the same bytes.

`make torture` kills at random moments, all stages, many times.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.torture.faults import AT_WORK
from scripts.torture.flow import Flow
from scripts.torture.runs import Run, compare, files, finish, kill, stamps, wait_for

PARALLEL = ["corpus", "corpus of bzip2", "vocab", "tfrecords"]


def begun(out: Path) -> bool:
    """The folder is claimed."""
    return any(out.rglob("run.json"))


def written(out: Path) -> bool:
    """The first files have their names; of corpus, whose files get theirs together, they have begun."""
    return len(stamps(out)) >= 4 or any(out.glob(".*.partial"))


@pytest.mark.parametrize(
    ("name", "moment"),
    [(name, moment) for name in PARALLEL for moment in (begun, written) if (name, moment) != ("vocab", written)],
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    flow: Flow, out: Path, name: str, moment: Callable[[Path], bool]
) -> None:
    """Its workers end by themselves; what was finished is not done again."""
    command, clean = flow.commands[name], flow.clean(name)
    with Run(command.stage, command.line(out)) as running:
        wait_for(lambda: moment(out) or running.process.poll() is not None, "the moment has not come")
        kill(running.process.pid)
        ended = running.end()
    assert ended.code == -signal.SIGKILL
    before = stamps(out)
    assert {file: digest for file, digest in files(out).items() if file in before}.items() <= clean.files.items()
    finish(command.stage, command.line(out, 3))
    compare(out, clean.files, clean.out)
    after = stamps(out)
    again = [file for file in before if after[file] != before[file]]
    assert name != "tfrecords" or len(again) <= AT_WORK, again


@pytest.mark.parametrize("name", PARALLEL)
def test_a_killed_worker_is_no_end(flow: Flow, out: Path, name: str) -> None:
    command, clean = flow.commands[name], flow.clean(name)
    with Run(command.stage, command.line(out)) as running:
        wait_for(lambda: running.workers() or running.process.poll() is not None, "it has started no workers")
        for worker in running.workers()[:1]:
            kill(worker)
        ended = running.end()
    assert ended.code == 0, ended.said
    assert "Traceback" not in ended.said
    compare(out, clean.files, clean.out)


def test_a_machine_that_goes_down_three_times_loses_nothing(flow: Flow, out: Path) -> None:
    """All processes at once, each time a few files later."""
    command, clean = flow.commands["tfrecords"], flow.clean("tfrecords")
    for number in (2, 4, 6):
        with Run(command.stage, command.line(out)) as running:
            while len(stamps(out)) < number and running.process.poll() is None:
                time.sleep(0.005)
            if running.process.poll() is None:
                os.killpg(running.process.pid, signal.SIGKILL)
            running.end()
    finish(command.stage, command.line(out))
    compare(out, clean.files, clean.out)
