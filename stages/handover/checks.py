"""The checks before a long run: all of them run, so that one error lists every problem. Python 3.7 or later."""

import os
import tempfile
from typing import Any, Callable, List, Tuple

from stages.command.refusal import Refusal, Retryable, unwritable
from stages.handover import storage
from stages.handover.manifests import MANIFEST
from stages.handover.storage import PARTIAL


class Checks:
    """Runs the checks of ``stage`` one after the other; keeps their findings and refusals."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.found: List[Tuple[str, str]] = []
        self.refusals: List[Refusal] = []

    def of(self, check: Callable[..., Any], *arguments: Any) -> Any:
        """The result of ``check``; None if it raises a ``Refusal``."""
        try:
            return check(*arguments)
        except Refusal as refusal:
            self.refusals.append(refusal)
            return None

    def report(self, name: str, check: Callable[..., str], *arguments: Any) -> None:
        """Keep the sentence that ``check`` returns as a finding, unless it is empty."""
        sentence = self.of(check, *arguments)
        if sentence:
            self.found.append((name, sentence))

    def end(self) -> None:
        """Raise all refusals as one, a line each."""
        if self.refusals:
            retryable = all(isinstance(refusal, Retryable) for refusal in self.refusals)
            lines = ("\n%s: error: " % self.stage).join(map(str, self.refusals))
            raise (Retryable if retryable else Refusal)(lines)


def check_writable(out: str) -> str:
    """Write and remove a file in OUT, or in its nearest parent that exists. ``Refusal`` if that fails."""
    if MANIFEST in storage.names(out):
        return "%s holds a finished run" % out
    if storage.remote(out):
        probe = storage.join(out, ".probe.%s%s" % (os.urandom(4).hex(), PARTIAL))
        with storage.whole_file(probe) as stream:
            stream.write(b"x")
        storage.remove(probe)
    else:
        try:
            with tempfile.TemporaryFile(dir=storage.nearest_folder(out)) as stream:
                stream.write(b"x")
        except OSError as error:
            raise unwritable(out, error)
    return "%s can be written" % out
