# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A time limit for a block of code, in whatever thread it runs: pytest-xdist does not promise that
tests run in the main one, and signals reach no other."""

import contextlib
import ctypes
import threading

from lab.steps import LabError


class OutOfTime(LabError):
    def __init__(self):
        super().__init__("the scenario's time limit has passed")


@contextlib.contextmanager
def time_limit(seconds):
    """Raises OutOfTime in the block when it takes longer. A blocking call ends first: all of the
    lab's wait for parts of a second at a time."""
    thread = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()
    over = False

    def interrupt():
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        timer.cancel()
