# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Around every scenario: a machine, a time limit, a look at all logs and for leaks, and a line to run
it again.

Marks: @pytest.mark.limit(seconds), @pytest.mark.allow_log(pattern, ...), and those that T= may name
too: @pytest.mark.advisory("XSA-155", ...), hostile, matrix, slow.
"""

import functools
import os
import re

import pytest

from lab.limit import time_limit
from lab.logs import find_complaints
from lab.steps import LabError
from lab.world import World

DEFAULT_LIMIT = 300


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): the scenario's time limit")
    config.addinivalue_line("markers", "allow_log(pattern, ...): log lines that are expected")
    config.addinivalue_line("markers", "advisory(name, ...): the published problems that it shows")
    config.addinivalue_line("markers", "hostile: a peer, in dom0 or a guest, misbehaves")
    config.addinivalue_line("markers", "matrix: one row of the negotiation matrix")
    config.addinivalue_line("markers", "slow: takes minutes")


@pytest.fixture(scope="session")
def session_world():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    world = World(f"suite-{worker}")
    yield world
    world.lab.stop(clean=False)


@pytest.fixture
def world(session_world, request):
    """The machine, whose logs are checked when the scenario has ended."""
    yield session_world
    name = re.sub(r"[^\w.-]+", "_", request.node.name)
    failed = getattr(request.node, "failed", True)
    try:
        texts = session_world.new_logs()
        leaks = [] if failed else session_world.new_leaks()
    except LabError as error:
        session_world.reset()
        pytest.fail(f"dom0 does not answer after the scenario: {error}", pytrace=False)
    path = session_world.keep(name, texts)
    allowed = [pattern for mark in request.node.iter_markers("allow_log") for pattern in mark.args]
    complaints = [f"{log}: {line}" for log, text in texts.items()
                  for line in find_complaints(text, allowed)]
    if failed or complaints or leaks:
        session_world.reset()
    if complaints:
        pytest.fail("in the logs (" + str(path) + "):\n" + "\n".join(complaints[:20]),
                    pytrace=False)
    if leaks:
        pytest.fail("not given back:\n" + "\n".join(leaks), pytrace=False)


@pytest.fixture
def dom0(world):
    return world.dom0


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    mark = pyfuncitem.get_closest_marker("limit")
    # pytest's own hook calls the function inside of this one: what the limit raises there is the
    # test's, like any other exception.
    function = pyfuncitem.obj

    @functools.wraps(function)
    def limited(*args, **kwargs):
        with time_limit(mark.args[0] if mark else DEFAULT_LIMIT):
            return function(*args, **kwargs)

    pyfuncitem.obj = limited
    yield
    pyfuncitem.obj = function


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if call.when == "call":
        item.failed = report.failed
    if report.failed:
        name = item.name
        report.sections.append(("to run it again", f"make regress T='{name}'"))
        if call.excinfo and call.excinfo.errisinstance(LabError):
            report.longrepr = f"{item.nodeid}: {call.excinfo.value}"
