"""A command → a JSON file with its exit code, wall and CPU time in seconds, and peak memory in bytes.

On Linux a new process begins with the peak of its parent, so this small process starts the command.
"""

import json
import os
import sys
import time

report, *command = sys.argv[1:]
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
costs = {
    "wall": time.perf_counter() - start,
    "cpu": usage.ru_utime + usage.ru_stime,
    "peak": usage.ru_maxrss * 1024,  # Linux counts in KiB.
    "code": os.waitstatus_to_exitcode(status),
}
with open(report, "w") as stream:
    json.dump(costs, stream)
