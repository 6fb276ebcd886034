"""The options of every stage whose work an engine shares out. Runs on Python 3.7 as well."""

import os
from typing import Any

from stages.command.options import option

ENGINES = ("local", "ray")


def cores() -> int:
    """The number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def jobs_option() -> Any:
    return option(cores, "processes; no influence on the result", unit="J", least=1, most=10_000)


def engine_option() -> Any:
    return option("local", "ray: the cluster at RAY_ADDRESS does the work, not --jobs", choices=ENGINES)
