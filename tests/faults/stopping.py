"""A stage's command that stands still at a moment that is the same every time."""

import signal
from collections.abc import Sequence
from pathlib import Path

from tests.torture.runs import Broken, Run, kill, wait_for

BREAKPOINT = Path(__file__).resolve().parent / "breakpoint"


class StoppingRun(Run):
    """`stops_at`: the main process, or else all its `workers`, stop as soon as a file matches this pattern."""

    def __init__(self, stage: str, arguments: Sequence[object], stops_at: Path, workers: bool = False) -> None:
        variable = "WORKERS_STOPS_AT" if workers else "MAIN_STOPS_AT"
        super().__init__(stage, arguments, variables={"PYTHONPATH": str(BREAKPOINT), variable: str(stops_at)})
        self._workers_stop = workers

    def stands_still(self) -> None:
        """Wait until it has stopped at its pattern."""

        def stands() -> bool:
            if self.process.poll() is not None:
                raise Broken(f"it has ended before it stopped at its pattern: {self.end().said.strip()[-2000:]}")
            processes = self.workers() if self._workers_stop else [self.process.pid]
            return bool(processes) and all(map(stopped, processes))

        wait_for(stands, "it has not stopped at its pattern")

    def goes_on(self) -> None:
        """Continue all its stopped processes."""
        for process in self.members():
            kill(process, signal.SIGCONT)


def stopped(process: int) -> bool:
    """Whether a process is stopped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
