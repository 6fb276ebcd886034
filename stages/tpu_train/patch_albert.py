"""The installed albert package + compression_type.patch → an albert package that reads compressed TFRecords.

The build of the virtual environment or image runs it once: ``python -m stages.tpu_train.patch_albert``.
"""

import argparse
import hashlib
import importlib.util
import os
import sys
from typing import List

import whatthepatch  # type: ignore[import-untyped]

from stages.command.options import HelpFormatter
from stages.command.refusal import Refusal
from stages.command.running import run
from stages.handover.storage import whole_file

PATCH = os.path.join(os.path.dirname(__file__), "compression_type.patch")
# SHA-256 of run_pretraining.py in albert-tensorflow 1.1, and of the same file with the patch.
UPSTREAM = "e8443150567383cd3c0a7f4f3aa03fae9649afc6f437ef716299938ecbd8746a"
PATCHED = "43bf1380f21155ebc0c58c7c2bf3fbe7f8483d6a32370a00d9d2424ce1b88326"


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
        raise Refusal(f"cannot read {module}: {error.strerror}")
    digest = hashlib.sha256(source.encode("utf-8")).hexdigest()
    if digest == PATCHED:
        print(f"tpu-train: {module} already patched", file=sys.stderr)
        return
    if digest != UPSTREAM:
        raise Refusal(f"{module} is not the file that the patch was made for; reinstall albert-tensorflow==1.1")
    try:
        with open(PATCH, encoding="utf-8") as stream:
            (diff,) = whatthepatch.parse_patch(stream.read())
        lines = whatthepatch.apply_diff(diff, source)
    except (ValueError, whatthepatch.exceptions.HunkApplyException):
        raise Refusal(f"{PATCH} does not apply to {module}; reinstall albert-tensorflow==1.1")
    with whole_file(module, "w") as stream:
        stream.write("\n".join(lines) + "\n")
    print(f"tpu-train: {module} patched", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run("tpu-train", main))
