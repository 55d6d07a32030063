# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""iperf3 between guest and dom0: TCP and UDP, one to eight streams, one to four queues, each offload on and
off, both ways. Nothing stalls, and every packet that is lost was counted somewhere.

A row is what the interface is set to, and loads that it has one after the other. Every two values meet in
one row at least; with SOAK=1 each row has the load for a minute.
"""

import itertools
import json
import os
import re

import pytest

from lab import nets
from lab.pairwise import pairwise

SOAK = bool(os.environ.get("SOAK"))
TCP_BYTES, UDP_BYTES = (("256M", "40M") if SOAK else ("12M", "2M"))
PORTS = itertools.count(5301)  # A port that was closed lately cannot be listened on again.
FEATURES = ["tx", "sg", "tso", "gso", "gro", "rx"]
LOADS = {"protocol": ["tcp", "udp"], "streams": [1, 2, 4, 8], "to": ["dom0", "guest"]}
SETTINGS = {"queues": [1, 2, 3, 4], "off": [None, *FEATURES]}

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(900 if SOAK else 200)]

# Who may have dropped a packet: the interface, its queue, the receiver's socket; of one namespace.
COUNTERS = "cat /sys/class/net/{0}/statistics/*_dropped /sys/class/net/{0}/statistics/*_errors; " \
           "tc -s qdisc show dev {0}; grep Udp: /proc/net/snmp"


def dropped(text):
    """The sum of what COUNTERS shows."""
    total = sum(int(line) for line in text.splitlines() if line.isdecimal())
    # The first line of a device with several queues is the sum of the others.
    queues = [int(number) for number in re.findall(r"\(dropped (\d+),", text)]
    total += max(queues[:1] + [sum(queues[1:])], default=0)
    names, values = re.findall(r"^Udp: (.*)$", text, re.M)[:2]
    udp = dict(zip(names.split(), values.split()))
    return total + int(udp["RcvbufErrors"]) + int(udp["SndbufErrors"])


def count_drops(vif):
    return dropped(vif.run(COUNTERS.format(vif.name)).out) + \
        dropped(vif.dom0.run(COUNTERS.format(vif.back)).out)


def measure(vif, load):
    """One load; iperf3's own report."""
    port = next(PORTS)
    udp = load["protocol"] == "udp"
    size = f"-n {UDP_BYTES} -u -b 40M -l 1400" if udp else f"-n {TCP_BYTES}"
    way = "-R" if load["to"] == "dom0" else ""
    vif.run(f"iperf3 -s -1 -D -p {port}", check=True)
    out = vif.dom0.run(f"iperf3 -c {vif.address} -p {port} -J -i 0.5 -P {load['streams']} {size} {way}",
                       timeout=300 if SOAK else 60)
    assert out.rc == 0, out.out[-1500:]
    return json.loads(out.out)


def judge(report, load, counted):
    sizes = [interval["sum"]["bytes"] for interval in report["intervals"]]
    # The first interval begins, and the last one ends, wherever they like.
    assert all(sizes[1:-1]), f"{load}: it stalled: bytes in each half second: {sizes}"
    total = report["end"]["sum" if load["protocol"] == "udp" else "sum_received"]
    assert total["bytes"] > 0, report["end"]
    if load["protocol"] == "udp":
        assert total["lost_packets"] <= counted, \
            f"{load}: {total['lost_packets']} packets were lost, and {counted} counted"


def rows():
    loads = pairwise(LOADS)
    # Every feature is off once, every number of queues comes up; the rest are for long runs.
    settings = pairwise(SETTINGS) if SOAK else \
        [{"queues": 1 + at % 4, "off": off} for at, off in enumerate(SETTINGS["off"])]
    for at, row in enumerate(settings):
        some = loads if SOAK else loads[at::len(settings)] or loads[at % len(loads):][:1]
        yield pytest.param(row, some, id=f"{row['queues']}-{'all' if not row['off'] else 'no-' + row['off']}")


@pytest.mark.parametrize("setting, loads", rows())
def test_load(world, setting, loads):
    vif = nets.guest_with_vifs(world).vifs[0]
    vif.set_up(f"{setting['off']} off" if setting["off"] else "", setting["queues"],
               more=f"ping -c 1 -W 5 -q {nets.DOM0_ADDRESS} >/dev/null")
    before = count_drops(vif)
    for load in loads:
        report = measure(vif, load)
        after = count_drops(vif) if load["protocol"] == "udp" else before
        judge(report, load, after - before)
        before = after
    vif.set_up()
