# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Around every scenario: a machine, a time limit, a look at all logs and for leaks, and a line to run
it again.
"""

import functools
import os
import random
import re

import pytest

from lab.limit import time_limit
from lab.logs import find_complaints
from lab.record import RECORDER, file_name
from lab.steps import LabError, RECORDS, end_in_good_order, replay
from lab.world import World

DEFAULT_LIMIT = 300
CHECK_LIMIT = 120
# A fixture may have to boot dom0 for its snapshot, or to wait while another worker does.
FIXTURE_LIMIT = 600
LONGEST_FILES = ["test_life", "test_hostile_frontend", "test_hostile_backend", "test_integrity", "test_commands",
                 "test_fio", "test_hotplug", "test_disk_features", "test_net_features", "test_net_load",
                 "test_net_frames", "test_net", "test_ssh", "test_xl", "test_sizes", "test_disk",
                 "test_kernel", "test_stress", "test_matrix"]

MARKS = ["limit(seconds): the scenario's time limit",
         "allow_log(pattern, ...): log lines that are expected",
         "advisory(name, ...): the published problems that it shows",
         "hostile: a peer, in dom0 or a guest, misbehaves",
         "matrix: one row of the negotiation matrix",
         "slow: may take more than the usual time, as its limit says",
         "host: runs host tests, which make test has run already",
         "lab_only: uses what only the lab's own dom0 has; left out with TARGET=ssh://..."]


def pytest_configure(config):
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    # A worker is ended by the process that started it.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        end_in_good_order()


def pytest_itemcollected(item):
    """T= finds a scenario by the advisories that it shows, too."""
    for name in advisories_of(item):
        item.extra_keyword_matches.add(name)
    if limit_of(item) > DEFAULT_LIMIT:
        item.add_marker("slow")


def limit_of(item):
    mark = item.get_closest_marker("limit")
    return mark.args[0] if mark else DEFAULT_LIMIT


def advisories_of(item):
    return [name for mark in item.iter_markers("advisory") for name in mark.args]


def left_out(item, config):
    mark = "lab_only" if (os.environ.get("TARGET") or "qemu") != "qemu" else None
    return (item.get_closest_marker("host") and not config.option.keyword) or \
        (mark and item.get_closest_marker(mark))


def pytest_collection_modifyitems(config, items):
    # Two workers take a file each, and end at about the same time if the longest come first.
    items.sort(key=lambda item: (LONGEST_FILES.index(item.path.stem)
                                 if item.path.stem in LONGEST_FILES else len(LONGEST_FILES)))
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
    failed, problem = getattr(request.node, "failed", True), "the check did not end"
    try:
        with time_limit(CHECK_LIMIT), RECORDER.step("check", "logs and leaks"):
            problem = find_problem(session_world, request.node, failed)
    except Exception as error:  # Whatever it is: the machine is not to be trusted.
        problem = f"the logs and leaks could not be looked at after the scenario: {error!r}"
    finally:
        if failed or problem:
            session_world.reset()
    if problem:
        pytest.fail(problem, pytrace=False)


def find_problem(world, node, failed):
    """What the logs and Xen's counts say against a scenario that has ended, or None."""
    texts = world.new_logs()
    leaks = [] if failed else world.new_leaks()
    path = world.keep(file_name(node.nodeid), texts)
    node.measured.update(world.measure(), logs=str(path))
    allowed = [pattern for mark in node.iter_markers("allow_log") for pattern in mark.args]
    complaints = [f"{log}: {line}" for log, text in texts.items()
                  for line in find_complaints(text, allowed)]
    if complaints:
        return f"in the logs ({path}):\n" + "\n".join(complaints[:20])
    return "not given back:\n" + "\n".join(leaks) if leaks else None


@pytest.fixture
def dom0(world):
    return world.dom0


@pytest.fixture
def shadow_paging(request):
    """A Xen that can move PV guests while they run, which Debian's cannot: no machine is started to see that."""
    if not os.environ.get("XEN") or not re.search(
            r"^virt_caps .*\bshadow\b", request.getfixturevalue("dom0").run("xl info", check=True).out, re.M):
        pytest.skip("needs a Xen with shadow paging: make xen, then XEN=build/xen/shadow")


@pytest.fixture
def seed():
    """SEED=, or one that the command which runs a failed scenario again names."""
    os.environ["SEED"] = os.environ.get("SEED") or str(random.randrange(1 << 32))
    return int(os.environ["SEED"])


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef):
    with time_limit(FIXTURE_LIMIT):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    # pytest's own hook calls the function inside of this one: what the limit raises there is the
    # test's, like any other exception.
    function = pyfuncitem.obj

    @functools.wraps(function)
    def limited(*args, **kwargs):
        with time_limit(limit_of(pyfuncitem)):
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
        seed = f" SEED={os.environ['SEED']}" if "seed" in item.fixturenames else ""
        report.sections.append(("to run it again", replay(item.name) + seed))
        if call.excinfo and call.excinfo.errisinstance(LabError):
            report.longrepr = f"{item.nodeid}: {call.excinfo.value}"
