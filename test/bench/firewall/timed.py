"""Runs a command and prints how long it took from its start to its end, in milliseconds.

    timed.py BEFORE COMMAND [ARGUMENT…]

BEFORE is a shell command that is run first and not counted. Exits with 1 where the command fails.
"""
import os
import subprocess
import sys
import time

before, command = sys.argv[1], sys.argv[2:]
subprocess.run(before, shell=True, check=True)
quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
start = time.monotonic()
pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
_, status = os.waitpid(pid, 0)
print((time.monotonic() - start) * 1000)
sys.exit(status != 0)
