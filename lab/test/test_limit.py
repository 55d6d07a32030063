# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The time limit of a scenario, in the main thread and in another."""

import threading
import time

import pytest

from lab.limit import OutOfTime, time_limit


def sleep_long():
    start = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.2):
        while time.monotonic() < start + 5:
            time.sleep(0.01)
    return time.monotonic() - start


def test_limit_in_the_main_thread():
    assert sleep_long() < 2


def test_limit_in_another_thread():
    took = []
    thread = threading.Thread(target=lambda: took.append(sleep_long()))
    thread.start()
    thread.join()
    assert took and took[0] < 2


def test_limit_that_is_kept():
    with time_limit(0.05):
        pass
    time.sleep(0.1)
