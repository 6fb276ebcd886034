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


def main(arguments: List[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.tpu_train.patch_albert", description=__doc__, formatter_class=HelpFormatter
    )
    parser.parse_args(arguments)
    package = importlib.util.find_spec("albert")
    if package is None or not package.origin:
        raise Refusal("the package albert-tensorflow is not installed here; install stages/tpu_train/requirements.lock")
    module = os.path.join(os.path.dirname(package.origin), "run_pretraining.py")
    try:
        with open(module, encoding="utf-8", newline="") as stream:
            source = stream.read()
    except OSError as error:
        raise Refusal("cannot read %s: %s" % (module, error.strerror))
    if _is_upstream(_apply_patch(source, reverse=True)):
        print("tpu-train: %s already patched" % module, file=sys.stderr)
        return
    if not _is_upstream(source):
        raise Refusal("%s is not the file that the patch was made for; reinstall albert-tensorflow==1.1" % module)
    patched = _apply_patch(source)
    if patched is None:
        raise Refusal("%s does not apply to %s; reinstall albert-tensorflow==1.1" % (PATCH, module))
    with whole_file(module, "w") as stream:
        stream.write(patched)
    print("tpu-train: %s patched" % module, file=sys.stderr)


def _apply_patch(source: str, reverse: bool = False) -> Optional[str]:
    """``source`` with the patch applied (or reverted); None if a line of the patch is missing."""
    try:
        with open(PATCH, encoding="utf-8") as stream:
            (diff,) = whatthepatch.parse_patch(stream.read())
        return "\n".join(whatthepatch.apply_diff(diff, source, reverse=reverse)) + "\n"
    except (ValueError, whatthepatch.exceptions.HunkApplyException):
        return None


def _is_upstream(source: Optional[str]) -> bool:
    return source is not None and hashlib.sha256(source.encode("utf-8")).hexdigest() == UPSTREAM


if __name__ == "__main__":
    sys.exit(run("tpu-train", main))
