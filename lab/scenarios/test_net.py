# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The network: ping and TCP with dom0 and with a second guest, both ways, bytes intact."""

import itertools

import pytest

from lab.world import SECOND

MAKE = "head -c 8M /dev/urandom > /tmp/sent; sha256sum < /tmp/sent"
PORTS = itertools.count(5001)  # A port that was closed lately cannot be listened on again.


def ping(machine, address):
    out = machine.run(f"ping -c 5 -i 0.2 -W 5 {address}", timeout=30)
    assert out.rc == 0 and "5 received" in out.out, out.out


def transfer(sender, receiver, address):
    """Sends 8 MiB over TCP; both are a Guest or a Dom0."""
    sent = sender.run(MAKE, timeout=90).out.split()[0]
    port = next(PORTS)
    receiver.run(f"(nc -l -p {port} > /tmp/received) >/dev/null 2>&1 </dev/null & "
                 f"until ss -Hltn | grep -q :{port}; do sleep 0.1; done", check=True)
    sender.run(f"timeout 100 nc -v -N -w 60 {address} {port} < /tmp/sent", timeout=150, check=True)
    receiver.run("for i in $(seq 50); do pgrep -x nc >/dev/null || break; sleep 0.2; done")
    assert receiver.run("sha256sum < /tmp/received", timeout=60).out.split()[0] == sent
    for machine in (sender, receiver):
        machine.run("rm -f /tmp/sent /tmp/received", check=True)


def pair(world):
    """Two guests with a root disk each, on one bridge."""
    return world.guest(), world.guest(**SECOND)


def test_dom0_pings_the_guest(world, dom0):
    ping(dom0, world.guest().address())


def test_guest_pings_dom0(world, dom0):
    ping(world.guest(), dom0.address())


def test_large_pings(world, dom0):
    out = world.guest().run(f"ping -c 3 -i 0.2 -s 20000 -W 5 {dom0.address()}", timeout=30)
    assert "3 received" in out.out, out.out


@pytest.mark.limit(400)
def test_tcp_from_guest_to_dom0(world, dom0):
    transfer(world.guest(), dom0, dom0.address())


@pytest.mark.limit(400)
def test_tcp_from_dom0_to_guest(world, dom0):
    guest = world.guest()
    transfer(dom0, guest, guest.address())


@pytest.mark.limit(400)
def test_two_guests_ping_each_other(world):
    first, second = pair(world)
    assert first.address() != second.address()
    ping(first, second.address())
    ping(second, first.address())


@pytest.mark.limit(600)
def test_tcp_between_two_guests(world):
    first, second = pair(world)
    transfer(first, second, second.address())
    transfer(second, first, first.address())


def test_no_receive_errors_were_counted(world):
    guest = world.guest()
    out = guest.run("cat /sys/class/net/e*/statistics/{rx_errors,tx_errors,rx_crc_errors}").out
    assert set(out.split()) == {"0"}
