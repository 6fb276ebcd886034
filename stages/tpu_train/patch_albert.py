"""The installed albert package + compression_type.patch → an albert package that reads compressed TFRecords.

The build of the virtual environment or image runs it once: ``python -m stages.tpu_train.patch_albert``.
"""

import argparse
import hashlib
import importlib.util
import os
import sys
from typing import List, Optional

import whatthepatch  # type: ignore[import-untyped]

from stages.command.options import HelpFormatter
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.handover.storage import whole_file

PATCH = os.path.join(os.path.dirname(__file__), "compression_type.patch")
# SHA-256 of run_pretraining.py in albert-tensorflow 1.1.
UPSTREAM = "e8443150567383cd3c0a7f4f3aa03fae9649afc6f437ef716299938ecbd8746a"


def patch_albert(module: str) -> bool:
    """Patch the file ``module`` in place. False if it has the patch already; ``Refusal`` for any other source."""
    try:
        with open(module, encoding="utf-8", newline="") as stream:
            source = stream.read()
    except OSError as error:
        raise Refusal("cannot read %s: %s" % (module, error.strerror))
    if _sha256(_apply_patch(source, reverse=True)) == UPSTREAM:
        return False
    if _sha256(source) != UPSTREAM:
        raise Refusal("%s is not the file that the patch was made for; reinstall albert-tensorflow==1.1" % module)
    patched = _apply_patch(source)
    if patched is None:
        raise Refusal("%s does not apply to %s; reinstall albert-tensorflow==1.1" % (PATCH, module))
    with whole_file(module, "w") as stream:
        stream.write(patched)
    return True


def _apply_patch(source: str, reverse: bool = False) -> Optional[str]:
    """``source`` with the patch applied (or reverted); None if a line of the patch is missing."""
    with open(PATCH, encoding="utf-8") as stream:
        diffs = list(whatthepatch.parse_patch(stream.read()))
    try:
        (diff,) = diffs
        lines: List[str] = whatthepatch.apply_diff(diff, source, reverse=reverse)
    except (ValueError, whatthepatch.exceptions.HunkApplyException):
        return None
    return "\n".join(lines) + "\n"


def _sha256(text: Optional[str]) -> Optional[str]:
    return None if text is None else hashlib.sha256(text.encode("utf-8")).hexdigest()


def main(arguments: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.tpu_train.patch_albert", description=__doc__, formatter_class=HelpFormatter
    )
    parser.parse_args(arguments)
    package = importlib.util.find_spec("albert")
    if package is None or not package.origin:
        raise Refusal("the package albert-tensorflow is not installed here; install stages/tpu_train/requirements.lock")
    module = os.path.join(os.path.dirname(package.origin), "run_pretraining.py")
    result = "patched" if patch_albert(module) else "already patched"
    print("tpu-train: %s %s" % (module, result), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("tpu-train", main))
