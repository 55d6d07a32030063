# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Around every scenario: a machine, a time limit, a look at all logs and for leaks, and a line to run
it again.
"""

import functools
import os

import pytest

from lab.limit import time_limit
from lab.logs import find_complaints
from lab.record import RECORDER, file_name
from lab.steps import LabError, RECORDS
from lab.world import World

DEFAULT_LIMIT = 300


MARKS = ["limit(seconds): the scenario's time limit",
         "allow_log(pattern, ...): log lines that are expected",
         "advisory(name, ...): the published problems that it shows",
         "hostile: a peer, in dom0 or a guest, misbehaves",
         "matrix: one row of the negotiation matrix",
         "slow: takes minutes",
         "host: runs host tests, which make test has run already",
         "lab_only: uses what only the lab's own dom0 has; left out with TARGET=ssh://..."]


def pytest_configure(config):
    for mark in MARKS:
        config.addinivalue_line("markers", mark)


def pytest_itemcollected(item):
    """T= finds a scenario by the advisories that it shows, too."""
    for name in advisories_of(item):
        item.extra_keyword_matches.add(name)


def advisories_of(item):
    return [name for mark in item.iter_markers("advisory") for name in mark.args]


def left_out(item, config):
    mark = "lab_only" if (os.environ.get("TARGET") or "qemu") != "qemu" else None
    return (item.get_closest_marker("host") and not config.option.keyword) or \
        (mark and item.get_closest_marker(mark))


def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if left_out(item, config)])
    items[:] = [item for item in items if not left_out(item, config)]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Records what the scenario does, and what the results say of it."""
    RECORDER.begin()
    item.record = file_name(item.nodeid) + ".json"
    item.user_properties += [("record", item.record)]
    item.user_properties += [("advisory", name) for name in advisories_of(item)]
    item.measured = {}
    yield
    RECORDER.write(RECORDS / item.record, measured=item.measured,
                   worker=os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


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
    name = file_name(request.node.nodeid)
    failed = getattr(request.node, "failed", True)
    try:
        with RECORDER.step("check", "logs and leaks"):
            texts = session_world.new_logs()
            leaks = [] if failed else session_world.new_leaks()
    except LabError as error:
        session_world.reset()
        pytest.fail(f"dom0 does not answer after the scenario: {error}", pytrace=False)
    path = session_world.keep(name, texts)
    request.node.measured.update(session_world.measure(), logs=str(path))
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
