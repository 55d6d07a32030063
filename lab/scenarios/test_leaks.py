# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The leak check can fail: something holds a port, a grant, a dead domain, and is seen."""

import contextlib

import pytest

from lab.steps import SOURCE

XENSTORE_PAGE = 1  # The grant by which every guest shares its xenstore ring with dom0.


@pytest.fixture
def guest(world):
    """Its disk maps grants for a request's time: with persistent ones, one mapping more is no news."""
    return world.guest(extra="xen_blkfront.feature_persistent=N")


@contextlib.contextmanager
def held(dom0, *what):
    dom0.put(SOURCE / "lab/programs/hold.py", "/lab/hold.py")
    process = dom0.spawn(f"exec python3 /lab/hold.py {' '.join(map(str, what))}")
    try:
        process.expect("held", 20)
        yield
    finally:
        process.kill()
        process.wait(10)


def seen_by(world):
    return world.leaks.leaks(world.leaks.take(), set(world.guests))


def settle(world):
    """Makes what is there now the state that leaks are judged against."""
    return world.leaks.check(world.leaks.take(), set(world.guests))


def test_port_that_is_kept(world, dom0):
    assert settle(world) == []
    with held(dom0, "port", 0):
        assert [line for line in seen_by(world) if "event ports (unbound to d0" in line]
    assert settle(world) == []


def test_grant_that_is_kept(world, dom0, guest):
    assert settle(world) == []
    with held(dom0, "grant", guest.domid(), XENSTORE_PAGE):
        assert [line for line in seen_by(world) if "mappings of grants by d0" in line]
    assert settle(world) == []


def test_domain_that_cannot_go(world, dom0, guest):
    domid = guest.domid()
    assert settle(world) == []
    with held(dom0, "grant", domid, XENSTORE_PAGE):
        guest.destroy()
        assert f"d{domid}: the domain has ended, but something of it is still held" in seen_by(world)
    assert settle(world) == []


def test_domain_that_is_left_running(world, dom0, guest):
    assert settle(world) == []
    world.guests.clear()
    world.leaks.last = world.leaks.last._replace(domains={0: world.leaks.last.domains[0]})
    assert f"d{guest.domid()}: the scenario left the domain xendemo running" in seen_by(world)
    world.guests["xendemo"] = guest
    assert settle(world) == []
