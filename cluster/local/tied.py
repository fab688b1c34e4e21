"""Becomes another program, which the kernel asks to end when the process that started it ends.

Usage: `python tied.py PARENT_PID PROGRAM ARGUMENT...`. Linux keeps the wish (PR_SET_PDEATHSIG)
over `exec`, so a server that was started this way does not outlive a demo or test run that was
killed.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Make the wish, then replace this process by the program."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):  # else it ended before the wish was made
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
