"""A command → a JSON file with its exit code, wall and CPU time in seconds, and peak memory in bytes.

Linux lets a new process begin with the peak of the one that started it, so this one, which is small, must do that.
"""

import json
import os
import sys
import time


def main(report: str, *command: str) -> None:
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    told = {
        "wall": time.perf_counter() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,  # Linux counts in KiB.
        "code": os.waitstatus_to_exitcode(status),
    }
    with open(report, "w") as stream:
        json.dump(told, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
