# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A guest goes to another host and comes back while a client that stays is logged in to it by ssh, and gets
data from it.

That takes a Xen with shadow paging: make xen, then XEN=build/xen/shadow. SOAK=1 does it ten times.
"""

import os
import time

import pytest

from lab import hosts
from lab.load import SHARED, Forks, Heartbeat, Load, Stream, check_clock

TRIPS = 10 if os.environ.get("SOAK") else 1

pytestmark = [pytest.mark.lab_only, pytest.mark.usefixtures("shadow_paging"), pytest.mark.limit(1200 * TRIPS)]


def test_there_and_back(world, dom0):
    with hosts.second_host(world) as second:
        guest = world.boot(**SHARED, disk=[f"phy:{hosts.DISK},xvda1,w"])
        address = guest.address()
        session = hosts.Session(guest)
        parts = [Load(guest, "/root/load"), Stream(guest), Forks(guest), Heartbeat(guest)]
        for _ in range(TRIPS):
            for target in (second, dom0):
                hosts.move(guest, target)
                assert guest.address() == address
                dom0.run(f"ping -c 3 -i 0.3 -W 5 {address}", check=True)
                session.check()
                check_clock(guest)
                time.sleep(1)
        for part in parts:
            part.check()
        session.end()
        guest.shut_down()
