"""A program of this folder (`module.function`, or a module with `main`) and its arguments → its report as JSON.

Runs on Python 3.7 as well.
"""

import importlib
import sys

module, _, function = sys.argv[1].partition(".")
getattr(importlib.import_module("scripts.bench.measured." + module), function or "main")(*sys.argv[2:])
