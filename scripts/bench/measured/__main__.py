"""The name of a program in this folder and its arguments → its report as JSON. Runs on Python 3.7 as well."""

import importlib
import sys

importlib.import_module("scripts.bench.measured." + sys.argv[1]).main(*sys.argv[2:])
