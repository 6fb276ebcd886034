"""kill -9 at moments that are the same every time: the same command, run again, ends in the same bytes.

`make torture` kills at random moments, all stages, many times.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.stopping import StoppingRun
from tests.torture.faults import AT_WORK
from tests.torture.flow import Flow
from tests.torture.runs import Run, compare, files, finish, kill, stamps, wait_for

PARALLEL = ["corpus", "corpus of bzip2", "vocab", "tfrecords"]


@pytest.mark.parametrize("name", PARALLEL)
def test_a_run_that_is_killed_when_it_has_begun_goes_on_to_the_same_bytes(flow: Flow, out: Path, name: str) -> None:
    """The folder is claimed, and no more."""
    killed_at(out / "**" / "run.json", flow, out, name)
    goes_on(flow, out, name)


@pytest.mark.parametrize("name", ["corpus", "corpus of bzip2"])
def test_a_killed_corpus_goes_on_to_the_same_bytes(flow: Flow, out: Path, name: str) -> None:
    """Its files, which get their names together, have begun."""
    killed_at(out / ".corpus_*.partial", flow, out, name)
    goes_on(flow, out, name)


def test_killed_tfrecords_go_on_to_the_same_bytes(flow: Flow, out: Path) -> None:
    """The first files have their names: these are not made again."""
    killed_at(out / "*" / "pretrain_00001.*", flow, out, "tfrecords", workers=True)
    assert 2 <= len(stamps(out)) < 16
    goes_on(flow, out, "tfrecords")


def killed_at(moment: Path, flow: Flow, out: Path, name: str, workers: bool = False) -> None:
    """Kill the main process when there is such a file; its workers end by themselves."""
    flow.clean(name)
    command = flow.commands[name]
    with StoppingRun(command.stage, command.line(out), moment, workers) as running:
        running.stands_still()
        kill(running.process.pid)
        running.goes_on()
        assert running.end().code == -signal.SIGKILL


def goes_on(flow: Flow, out: Path, name: str) -> None:
    """The same command, run again, ends in the bytes of an undisturbed run, and leaves alone what was finished."""
    command, clean = flow.commands[name], flow.clean(name)
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
