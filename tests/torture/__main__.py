"""Random faults, done to the stages' real commands → a table of those injected and survived.

Every stage runs once undisturbed, on a small dump made on the fly. Then processes are killed, disks fill,
files are damaged and commands run twice concurrently, at random moments and places. After each fault the same
command is run again, and its files are compared with those of the undisturbed run.

Exit code 0: every promise was kept. 1: one was broken; its seed, round and differences are shown, and its
folder is kept.
"""

import argparse
import math
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

from stages.command.options import HelpFormatter
from stages.command.progress import duration
from stages.command.refusal import Refusal
from stages.command.running import run
from tests.torture import faults
from tests.torture.faults import Case, Fault, Survived
from tests.torture.flow import Flow
from tests.torture.runs import Broken, python

ARTICLES = 6000
ALL = ("corpus", "corpus of bzip2", "vocab", "tfrecords")
# Each fault, its number in a hundred rounds, and its commands in turn. Half of the rounds kill.
DECK: dict[str, tuple[Fault, int, tuple[str, ...]]] = {
    "kill -9 of the main process": (faults.main_killed, 21, ALL),
    "kill -9 of a worker": (faults.worker_killed, 16, ALL),
    "kill -9 of all processes": (faults.all_killed, 8, ALL),
    "kill -9 of a conversion": (faults.main_killed, 4, ("convert",)),
    "kill -9 of a training run": (faults.main_killed, 1, ("tpu-train",)),
    "SIGTERM or SIGINT": (faults.stopped, 8, ALL),
    "disk full": (faults.disk_full, 10, (*ALL, "convert")),
    "dump damaged": (faults.damaged, 18, ("corpus", "corpus of bzip2")),
    "input damaged": (faults.damaged, 6, ("vocab", "tfrecords", "convert")),
    "two concurrent runs": (faults.two_together, 8, ALL),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("torture", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--seed", type=int, metavar="S", help="of the faults, as a run shows it (default: any)")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="faults to inject")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no round later than this (default: no limit)")
    parser.add_argument("--only", metavar="WORDS", help="faults and stages whose names hold these words")
    parser.add_argument("--out", default="torture", metavar="DIR", help="folder for the runs; removed when all is well")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or (options.minutes is not None and options.minutes <= 0):
        parser.error("--rounds and --minutes must be more than 0")
    return options


def deck(rounds: int, stages: set[str], only: str, draw: random.Random) -> list[tuple[str, str]]:
    """The faults of a run and their commands in random order, each fault as often as in DECK."""
    cards: list[tuple[str, str]] = []
    while len(cards) < rounds:
        hand = []
        for fault, (_, number, targets) in DECK.items():
            usable = [target for target in targets if target in stages and (only in fault or only in target)]
            hand += [(fault, target) for target in islice(cycle(usable), number)]
        if not hand:
            raise Refusal(f"--only {only}: no fault and no stage has these words")
        draw.shuffle(hand)
        cards += hand
    return cards[:rounds]


def main(arguments: list[str]) -> None:
    """Run, report, and end with 1 at the first broken promise."""
    options = parse(arguments)
    start = time.monotonic()
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    for stage in ("corpus", "vocab", "tfrecords"):
        if not python(stage).exists():
            raise Refusal(f"there is no environment of {stage}; make venv makes it")
    training = python("tpu-train").exists() and python("convert").exists()
    targets = {*ALL, *(("tpu-train", "convert") if training else ())}
    note = "" if training else "; without training and conversion, whose environments are not here"
    log(f"--seed {seed}{note}")
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{seed}-", dir=out))

    flow = Flow(folder / "clean", ARTICLES, log=log)
    survived: list[tuple[str, str, Survived]] = []
    rounds = deck(options.rounds, targets, options.only or "", random.Random(seed))
    for number, (fault, target) in enumerate(rounds, 1):
        if time.monotonic() - start > 60 * (options.minutes or math.inf):
            log(f"{number - 1} of {len(rounds)} rounds in {options.minutes:g} minutes")
            break
        place = folder / f"round-{number}"
        place.mkdir()
        try:
            flow.clean(target)
            # From seed and number alone: a round does not depend on the others.
            end = DECK[fault][0](Case(flow, target, place / "out", random.Random(f"{seed} {number}")))
        except Broken as broken:
            print_table(survived)
            # Last, since readers look at the end of a log.
            log(f"round {number}, {fault}, {target}: {broken}")
            log(f"--seed {seed} --rounds {options.rounds} does it again; {place} is kept")
            sys.exit(1)
        survived.append((fault, target, end))
        elapsed = duration(time.monotonic() - start)
        log(f"round {number} of {len(rounds)}: {fault}, {target}: {end.how} ({elapsed})")
        shutil.rmtree(place)
    shutil.rmtree(folder)
    if not any(out.iterdir()):
        out.rmdir()
    print_table(survived)
    log(f"{len(survived)} faults survived in {duration(time.monotonic() - start)}, seed {seed}")


def log(line: str) -> None:
    """A line on standard error."""
    print(f"torture: {line}", file=sys.stderr, flush=True)


def print_table(survived: list[tuple[str, str, Survived]]) -> None:
    """A line for each fault and command, and the sum."""
    print("| fault | stage | injected | ended | files compared |\n| --- | --- | ---: | --- | ---: |")
    for fault, (_, _, targets) in DECK.items():
        for target in targets:
            if ends := [end for *row, end in survived if row == [fault, target]]:
                counts = sorted(Counter(end.how for end in ends).items())
                how = ", ".join(f"{name} {number}" for name, number in counts)
                print(f"| {fault} | {target} | {len(ends)} | {how} | {sum(end.files for end in ends):,} |")
    print(f"| all | | {len(survived)} | | {sum(end.files for *_, end in survived):,} |", flush=True)


if __name__ == "__main__":
    sys.exit(run("torture", main, resumes=False))
