"""Runs a command that dies with its parent: the last step before a training process becomes the user's program.

The agent starts this file as a script, isolated and without site packages, in place of a `preexec_fn` (which would
run Python between fork and exec in a process that has gRPC threads). `python agent_exec.py PARENT_PID PROGRAM
ARGUMENT…` asks the kernel for SIGKILL at the parent's death (prctl(2), PR_SET_PDEATHSIG), makes sure that the parent
still lives, and becomes the program. It knows nothing of training.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_EXIT_NOT_FOUND = 127
_EXIT_NOT_EXECUTABLE = 126


def main(arguments: list[str]) -> int:
    """Becomes the program; returns an exit code, as a shell gives it, only where it could not."""
    parent, command = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked: nobody would ever end us
        return 128 + signal.SIGKILL
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.stderr.write(f"ringyard: spec.command: there is no program {command[0]!r} on PATH\n")
        return _EXIT_NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"ringyard: spec.command: {command[0]!r} cannot be run: {error.strerror}\n")
        return _EXIT_NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
