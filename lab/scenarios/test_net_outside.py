# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Where an interface can lead: to a host outside of dom0 that gives it its address, and by a route
instead of a bridge.
"""

import socket

import pytest

from lab import nets
from lab.disks import AWAIT
from lab.dom0 import await_command

OUTSIDE = "outbr0"
PORT = 7007
LENGTH = 300_000

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(150)]


@pytest.fixture
def outside(world, dom0):
    """A bridge that a network card leads out of, and the port of this machine that is the guest's."""
    qemu = world.lab.qemu
    if not hasattr(qemu, "outside_port"):
        qemu.outside_port = world.lab.add_network_card(f"10.0.2.15:{PORT}")
        dom0.run(f"ip link add {OUTSIDE} type bridge stp_state 0 forward_delay 0 && "
                 f"ip link set eth0 master {OUTSIDE} up && ip link set {OUTSIDE} up", check=True)
        # The card's interrupts are dom0's from here on.
        world.leaks.check(world.leaks.take(), set(world.guests), seconds=0)
    return qemu.outside_port


def talk(port, data):
    """Sends data to the guest, which sends it back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        back = b""
        for at in range(0, len(data), 10_000):
            connection.sendall(data[at:at + 10_000])
            while len(back) < min(len(data), at + 10_000):
                part = connection.recv(65536)
                assert part, "the guest ended the connection"
                back += part
        return back


def test_host_outside_of_dom0(world, dom0, outside):
    """QEMU's own network, which knows nothing of Xen: its DHCP server gives the guest an address, and this
    machine talks with the guest."""
    guest = nets.guest_with_vifs(world)
    dom0.run(f"xl network-attach {guest.name} mac={nets.mac(3)} bridge={OUTSIDE}", check=True)
    guest.run(await_command("ip -4 -o addr show dev enX3 2>/dev/null | grep -q 'inet 10.0.2.15/24'", 30),
              timeout=100, check=True)
    guest.run(f"rm -f /tmp/echo; mkfifo /tmp/echo; (nc -l -p {PORT} 0<> /tmp/echo > /tmp/echo 2>/dev/null &); "
              + AWAIT.format(f"ss -Hltn | grep -q :{PORT}"), check=True)
    data = bytes(at * at % 251 for at in range(LENGTH))
    assert talk(outside, data) == data
    dom0.run(f"xl network-detach {guest.name} 3", check=True)
    guest.run(AWAIT.format("[ ! -e /sys/class/net/enX3 ]"), check=True)


def test_routed(world, dom0):
    """dom0 routes to the interface, as xl's vif-route has it, instead of a bridge."""
    vif = nets.guest_with_vifs(world).vifs[1]
    host = dom0.address()
    dom0.run(f"ip link set {vif.back} nomaster && ip addr add {host}/32 dev {vif.back} && "
             f"ip route add 10.82.0.2 dev {vif.back} src {host} && ip link set {vif.back} up && "
             f"echo 1 > /proc/sys/net/ipv4/conf/{vif.back}/proxy_arp", check=True)
    # No other address: packets would come from that one.
    vif.run(f"ip addr flush dev {vif.name} && ip addr add 10.82.0.2/32 dev {vif.name} && "
            f"ip route add {host} dev {vif.name} && ip route add default via {host}", check=True)
    vif.ping(host)
    out = dom0.run("ping -c 3 -i 0.2 -W 5 10.82.0.2").out
    assert " 3 received" in out, out
    # Another network of dom0's, by the default route.
    vif.run("iperf3 -s -1 -D -p 5601", check=True)
    dom0.run(f"iperf3 -c 10.82.0.2 -B {nets.DOM0_ADDRESS} -p 5601 -n 3M", check=True)
    vif.run(f"ip addr flush dev {vif.name}", check=True)
    dom0.run(f"ip addr del {host}/32 dev {vif.back}; ip route del 10.82.0.2; "
             f"ip link set {vif.back} master {nets.BRIDGE}", check=True)
    vif.address_it()
    vif.ping()
