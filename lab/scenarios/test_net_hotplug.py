# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Interfaces come and go while the guest runs, and there are nine at once; what is not given back is seen
after each scenario. SOAK=1 makes 504 cycles of the 6.
"""

import os

import pytest

from lab import nets
from lab.disks import AWAIT

SOAK = bool(os.environ.get("SOAK"))
MORE = range(3, 9)  # besides the three that the guest has
PARTS, ROUNDS = (12, 7) if SOAK else (1, 1)
NAMES = " ".join(f"enX{index}" for index in MORE)

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(120 + 150 * ROUNDS)]


@pytest.mark.parametrize("part", range(PARTS))
def test_nine_interfaces_come_and_go(world, dom0, part):
    """Each one has its own address and network, and works while all others are there. xl gives a guest
    16384 grants, of which each queue takes 514: the later ones get fewer queues."""
    guest = nets.guest_with_vifs(world)
    name, domid = guest.name, guest.domid()
    attach = " && ".join(f"xl network-attach {name} mac={nets.mac(index)} bridge={nets.BRIDGE}"
                         for index in MORE)
    use = "for i in {}; do ip netns add at$i && ip link set enX$i netns at$i && " \
          "ip netns exec at$i ip addr add 10.79.0.10$i/24 dev enX$i && " \
          "ip netns exec at$i ip link set enX$i up || exit 1; done; for i in {}; do " \
          "ip netns exec at$i ping -c 3 -i 0.2 -W 5 -q {} | grep -q ' [123] received' || exit 1; done"
    numbers = " ".join(map(str, MORE))
    for _ in range(ROUNDS):
        dom0.run(attach, timeout=150, check=True)
        guest.run(AWAIT.format(f"[ $(ls -d /sys/class/net/enX* | wc -l) = {1 + len(MORE)} ]"), check=True)
        macs = guest.run(f"for name in {NAMES}; do cat /sys/class/net/$name/address; done", check=True).out
        assert macs.split() == [nets.mac(index) for index in MORE]
        guest.run(use.format(numbers, numbers, nets.DOM0_ADDRESS), timeout=90, check=True)
        dom0.run(" && ".join(f"xl network-detach {name} {index}" for index in MORE), timeout=150, check=True)
        guest.run(AWAIT.format(f"! ip -all netns exec ip link 2>/dev/null | grep -Eq 'enX[{MORE[0]}-9]:'"),
                  check=True)
        guest.run(f"for i in {numbers}; do ip netns del at$i; done", check=True)
    assert domid == guest.domid()
    for vif in guest.vifs:
        vif.ping()
