# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The leak check on censuses that are made up: what it must see, and what it must let pass."""

import pytest

from lab import leaks

GUEST = 3
GRANTS = """(XEN) grant-table for remote d{0} (v1)
(XEN)   32 frames (64 max), {2} maptrack frames (1024 max)
(XEN) [0x000]      0 0x13bc18 0x00000002          0 0x13bc18 0x19
(XEN) [0x001]      0 0x13bc17 {1}          0 0x13bc17 0x19
"""
PORTS = """(XEN) Event channel information for domain 0:
(XEN)     port [p/m/s]
(XEN)        1 [0/0/  -   ]: s=5 n=0 x=0 v=0
(XEN)       21 [0/0/  -   ]: s=4 n=1 x=0 p=415 i=24
{0}(XEN) Event channel information for domain {1}:
(XEN)        1 [0/0/0]: s=3 n=0 x=0 d=0 p=34
"""
TO_GUEST = "(XEN)       34 [0/0/  -   ]: s=3 n=0 x=0 d={0} p=1\n"


def census(domid=GUEST, pin="0x00000001", ports=1, free=1000, maptrack=0, dom0=1048576,
           persistent=False, name="xendemo"):
    log = "(XEN) gnttab_usage_print_all [ key 'g' pressed\n" + GRANTS.format(domid, pin, maptrack) + \
        "(XEN) gnttab_usage_print_all ] done\n(XEN) 'e' pressed -> dumping event-channel info\n" + \
        PORTS.format(TO_GUEST.format(domid) * ports, domid) + \
        f"(XEN) heap[node=0][zone=0] -> {free} pages\n(XEN) heap[node=0][zone=1] -> 5 pages\n"
    domains = f"Name ID Mem\nDomain-0 0 1024 2 r----- 1.0\n{name} {domid} 256 2 -b---- 1.0\n" \
              f"{dom0}\n"
    return leaks.parse("(XEN) before\n" + log + "(XEN) after\n", domains, lambda: persistent)


def found(*arguments, **changes):
    return leaks.compare(census(), census(**changes), *arguments)


def test_census_is_read():
    read = census()
    assert read.mapped == {(GUEST, 0): 3}
    assert read.ports[0, "interdomain", GUEST] == 1 and read.ports[0, "virtual interrupt", None] == 1
    assert (read.free, read.frames, read.dom0) == (1005, 32, 262144)
    assert read.domains == {0: ("Domain-0", 1024), GUEST: ("xendemo", 256)}


def test_census_is_no_part_of_the_log():
    text = "(XEN) one\n(XEN) gnttab_usage_print_all [ key 'g' pressed\n(XEN) x\n" \
           "(XEN) heap[node=0][zone=0] -> 1 pages\n(XEN) heap[node=0][zone=1] -> 1 pages\n(XEN) two\n"
    assert leaks.strip(text + text) == "(XEN) one\n(XEN) two\n" * 2


def test_key_that_somebody_else_pressed():
    other = "(XEN) gnttab_usage_print_all [ key 'g' pressed\n(XEN) x\n(XEN) Oops\n"
    block = "(XEN) gnttab_usage_print_all [ key 'g' pressed\n(XEN) heap[node=0][zone=0] -> 1 pages\n"
    assert leaks.strip(other + block) == other


def test_log_without_a_census():
    assert leaks.parse("(XEN) one\n", "1\n", None) is None
    block = "(XEN) gnttab_usage_print_all [ key 'g' pressed\n(XEN) heap[node=0][zone=0] -> 1 pages\n"
    assert leaks.parse(block, "1\n", None) is not None
    assert all(leaks.parse(block, bad, None) is None for bad in ("", "1", "1\nno such file\n"))
    assert leaks.LeakWatch(None, census()).check(None)


def test_nothing_leaked():
    assert not found()
    assert not found(pin="0x00000000", ports=0)
    assert not found(free=998), "pages of Xen's small objects"
    assert not found(free=990, maptrack=10), "Xen keeps what tracks mappings"
    assert not found(free=900, dom0=1048576 + 400), "dom0 took them back from its balloon"


@pytest.mark.parametrize("changes,words", [
    ({"pin": "0x00000002"}, "d3 (xendemo): 4 mappings of grants by d0 (Domain-0), 3 before"),
    ({"pin": "0x01000001"}, "4 mappings of grants"),
    ({"ports": 2}, "d0 (Domain-0): 2 event ports (interdomain to d3 (xendemo)), 1 before"),
    ({"free": 997}, "Xen's memory: 3 pages less"),
    ({"dom0": 1048576 - 12}, "3 pages less"),
])
def test_leak_is_seen(changes, words):
    lines = found(**changes)
    assert len(lines) == 1 and words in lines[0]


def test_new_guest_has_its_own():
    assert not leaks.compare(census(), census(domid=4, ports=3, free=500), {"xendemo"})
    assert leaks.compare(census(), census(domid=4), {"other"}) == \
        ["d4: the scenario left the domain xendemo running"]


def test_domain_that_cannot_go():
    lines = leaks.compare(census(), census(domid=4, name="(null)"))
    assert lines == ["d4: the domain has ended, but something of it is still held"]


def test_end_of_a_connection_to_a_dead_domain():
    after = census(domid=4)
    after.ports[0, "unbound", GUEST] = 1
    assert leaks.compare(census(), after, {"xendemo"}) == \
        ["d0 (Domain-0): 1 event ports (unbound to d3 (gone)), 0 before"]


def test_persistent_grants_stay_mapped():
    assert not found(pin="0x000000ff", persistent=True)


class Later:
    """A dom0 whose next census is as given."""

    def __init__(self, *after):
        self.after = list(after)

    def take(self):
        return self.after.pop(0)


def test_what_is_given_back_late_is_no_leak(monkeypatch):
    monkeypatch.setattr(leaks.time, "sleep", lambda _: None)
    watch = leaks.LeakWatch(None, census())
    watch.take = Later(census(ports=2), census()).take
    assert not watch.check(census(ports=3))
    watch.take = lambda: census(ports=2)
    assert watch.check(census(ports=2), seconds=0)
