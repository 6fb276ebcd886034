"""Two runs into one folder, and a folder whose options or inputs are no longer those of its run."""

from pathlib import Path

import pytest

from tests.faults.stopping import StoppingRun
from tests.torture.flow import Flow
from tests.torture.runs import compare, finish, refused, run, stamps

STAGES = ["corpus", "corpus of bzip2", "vocab", "tfrecords"]
# What is there as soon as the folder of a run is its own.
CLAIMED = "**/run.json"


@pytest.mark.parametrize("name", STAGES)
def test_of_two_runs_one_owns_the_folder_and_the_other_says_so(flow: Flow, out: Path, name: str) -> None:
    command, clean = flow.commands[name], flow.clean(name)
    # It stands still as soon as the folder is its own, for as long as the second one tries.
    with StoppingRun(command.stage, command.line(out), out / CLAIMED) as first:
        first.stands_still()
        second = run(command.stage, command.line(out))
        first.goes_on()
        refused(second, 75, "is being written by process", "wait for its end")
        assert f"process {first.process.pid} on" in second.said
        assert first.end().code == 0
    compare(out, clean.files, clean.out)
    # Now that it is finished, the second one has nothing to do.
    before = stamps(out)
    assert "finished already" in finish(command.stage, command.line(out)).said
    assert stamps(out) == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("name", "flag", "said"),
    [
        ("corpus", ("--shards", 9), "options.shards was 8 and is now 9"),
        ("corpus", ("--min-length", 11), "options.min_length was 10 and is now 11"),
        ("vocab", ("--seed", 7), "options.seed was 12345 and is now 7"),
        ("vocab", ("--vocab-size", 2001), "options.vocab_size was 2000 and is now 2001"),
        ("tfrecords", ("--seq-length", 65), "options.seq_length was 64 and is now 65"),
        ("tfrecords", ("--ngram", 2), "options.ngram was 3 and is now 2"),
    ],
)
def test_other_options_are_refused_with_the_first_difference(
    flow: Flow, out: Path, name: str, flag: tuple[object, ...], said: str, finished: bool
) -> None:
    """Of a finished run and of one that was killed; what is there stays as it is."""
    command = flow.commands[name]
    place = flow.clean(name).out if finished else out
    if not finished:
        with StoppingRun(command.stage, command.line(out), out / CLAIMED) as running:
            running.stands_still()
    before = stamps(place)
    refused(run(command.stage, [*command.line(place), *flag]), 2, "was made with other options or inputs", said)
    assert stamps(place) == before


def test_another_corpus_or_vocabulary_under_an_output_is_refused(flow: Flow, tmp_path: Path) -> None:
    """The same options, on inputs that were made anew with others."""
    for name in ("vocab", "tfrecords"):
        flow.clean(name)
    other = tmp_path / "corpus"
    finish("corpus", ["--dump", flow.dump, "--shards", 8, "--max-length", 249, "--out", other])
    words = tmp_path / "vocab"
    finish(
        "vocab", ["--corpus", flow.clean("corpus").out, "--vocab-size", 1990, "--alphabet-size", 1000, "--out", words]
    )
    for name, flag, place, said in (
        ("corpus", "--dump", flow.dump.with_name("parts"), "inputs.files was"),
        ("vocab", "--corpus", other, "inputs.corpus was"),
        ("tfrecords", "--corpus", other, "inputs.corpus was"),
        ("tfrecords", "--vocab", words, "inputs.vocabulary was"),
    ):
        clean = flow.clean(name)
        arguments = flow.commands[name].line(clean.out)
        arguments[arguments.index(flag) + 1] = place
        refused(run(flow.commands[name].stage, arguments), 2, "was made with other options or inputs", said)
        compare(clean.out, clean.files, clean.out)
