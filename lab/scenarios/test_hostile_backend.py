# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A backend that misbehaves costs its device and nothing else, and an honest one heals it.

backends/evilback serves one more disk and one more interface to a guest. Each scenario makes it
misbehave in one way, and then looks: the device is broken, with one line in the guest's log, or goes
on where the protocol has room for that; the root disk and the other interface work; and after the
device was detached and attached again to an honest backend, it works.
"""

import re

import pytest

from lab.backends import Backend
from lab.disks import AWAIT
from lab.dom0 import await_command
from lab.record import RECORDER

DISK = "xvdn"
DISK_NODE = "device/vbd/51920"
MAC = "00:16:3e:77:00:33"
NET_NODE = "device/vif/3"
BRIDGE = "evilbr0"
DOM0_ADDRESS = "10.99.0.1"
ADDRESS = "10.99.0.2"
# What the guest must do. MAY: whether it notices depends on who is faster.
BROKEN, REFUSED, FINE, MAY, STUCK = "broken", "refused", "fine", "may", "stuck"

pytestmark = [pytest.mark.hostile, pytest.mark.lab_only, pytest.mark.limit(150),
              pytest.mark.allow_log(DISK, r"blkfront", r"x?en_?net", r"vif vif-3")]

NETWORK = f"""[Match]\\nMACAddress={MAC}\\n[Link]\\nRequiredForOnline=no\\n[Network]\\n\
Address={ADDRESS}/24\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n"""
# Others on the same guest: the root disk, without its cache, and the interface that xl made.
OTHERS = "dd if=/dev/xvda1 of=/dev/null bs=64k count=2 iflag=direct 2>/dev/null && " \
         "ping -c 1 -W 5 -q {} >/dev/null && echo others are well"
# A broken disk may keep a reader for as long as it is there.
USE_DISK = f"""rm -f /tmp/used; ( dd if=/dev/{DISK} of=/dev/null bs=4k count=8 iflag=direct
    touch /tmp/used ) >/dev/null 2>&1 &"""
# From the interface's own address: dom0 answers to this one through the other interface as well, and
# udev may still be giving the new interface its name.
PING = f"ping -I {ADDRESS} -W 1 -q {DOM0_ADDRESS}"
USE_NET = f"rm -f /tmp/used; ( {PING} -c 4 -i 0.2; touch /tmp/used ) >/dev/null 2>&1 &"
AWAIT_USE = "for i in $(seq {tries}); do [ -e /tmp/used ] && break; " \
            "dmesg | grep -Eq '{pattern}' && break; sleep 0.1; done"
DISK_WORKS = f"""{AWAIT.format(f"[ -b /dev/{DISK} ]")}
head -c 64k /dev/urandom > /tmp/sent
dd if=/tmp/sent of=/dev/{DISK} bs=64k oflag=direct 2>/dev/null &&
dd if=/dev/{DISK} bs=64k count=1 iflag=direct 2>/dev/null | cmp - /tmp/sent"""
NET_WORKS = await_command(f"{PING} -c 1 >/dev/null 2>&1", 15)


class Device:
    """The disk or the interface, with the backend that serves it and the guest that uses it."""

    def __init__(self, world, kind):
        self.guest = world.guest()
        # Not by GUEST=, which may name our kernel too.
        self.ours = self.guest.run("grep -q ' blkfront_submit$' /proc/kallsyms").rc == 0
        self.qemu = world.lab.qemu
        self.others = OTHERS.format(world.dom0.address())
        self.node, self.use, self.works = \
            (DISK_NODE, USE_DISK, DISK_WORKS) if kind == "blk" else (NET_NODE, USE_NET, NET_WORKS)
        # What the guest's kernel says of a bad backend; upstream's frontends in their own words.
        self.pattern = rf"{self.node}: (broken|refused|not connected)" if self.ours else \
            rf"{DISK}|vbd-51920|vbd vbd" if kind == "blk" else "vif vif-3|xennet|enX3"
        if kind == "net":
            # An address of its own, or it would change with the backend's tap device.
            world.dom0.run(f"ip link add {BRIDGE} address fe:ff:ff:ff:ff:01 type bridge && "
                           f"ip link set {BRIDGE} up && ip addr add {DOM0_ADDRESS}/24 dev {BRIDGE}")
            self.guest.run(f"mkdir -p /run/systemd/network; printf '{NETWORK}' > "
                           "/run/systemd/network/05-evil.network; systemctl restart systemd-networkd", check=True)
        where = {"vdev": DISK, "memory": 8} if kind == "blk" else \
            {"index": 3, "mac": MAC, "bridge": BRIDGE}
        self.backend = Backend(world.dom0, kind, domid=self.guest.domid(), **where)

    def usable(self, world):
        return self.qemu is world.lab.qemu and world.guest() is self.guest

    def lines(self, text):
        return [line for line in text.splitlines() if re.search(self.pattern, line)]

    def try_it(self, tries=20):
        """Uses the device, then the others; what the guest's kernel said of the device meanwhile."""
        out = self.guest.run(f"{self.use}\n" + AWAIT_USE.format(tries=tries, pattern=self.pattern) +
                             f"\n{self.others}\ndmesg -t", timeout=60).out
        assert "others are well" in out, out
        return self.lines(out)

    def renew(self, seconds=5):
        """Detaches and attaches to an honest backend; what became of detaching."""
        answer = self.backend.renew(seconds)
        self.check_it_works()
        return answer

    def check_it_works(self):
        """And what the guest's kernel said until now is forgotten."""
        result = self.guest.run(f"( {self.works}\n) || {{ dmesg -t | tail -n 20; exit 1; }}; dmesg -C",
                                timeout=60)
        assert result.rc == 0, "the device does not work:\n" + result.out

    def judge(self, lines, expected):
        """Whether the guest said of the device what it should."""
        if expected in (BROKEN, REFUSED):
            assert lines, "the guest has not noticed"
            assert not self.ours or len(lines) == 1, "not one line:\n" + "\n".join(lines)
            word = "broken" if expected == BROKEN else "refused|not connected"
            assert not self.ours or re.search(word, lines[0]), lines[0]
        elif expected == MAY:
            assert len(lines) <= 1 or not self.ours, "\n".join(lines)
        else:
            assert not lines or not self.ours, "\n".join(lines)


@pytest.fixture(scope="session")
def devices():
    return {}


@pytest.fixture
def disk(world, devices):
    yield from honest_device(world, devices, "blk")


@pytest.fixture
def net(world, devices):
    yield from honest_device(world, devices, "net")


def honest_device(world, devices, kind):
    """The device, attached, and working when it was looked at last."""
    device = devices.get(kind)
    if device is None or not device.usable(world):
        device = devices[kind] = Device(world, kind)
        device.backend.attach()
        device.check_it_works()
        # What it holds from here on belongs to it.
        world.leaks.check(world.leaks.take(), set(world.guests), seconds=0)
    yield device


def misbehave(device, lies, expected):
    device.backend.ask(*lies)
    patient = expected in (STUCK, MAY)
    try:
        lines = device.try_it(5 if patient else 20)
        if expected == FINE:
            device.check_it_works()
    finally:
        closed = device.renew(1 if patient else 5)
    device.judge(lines, expected)
    assert patient or "forced" not in closed, f"detach: {closed}"


def negotiate(device, keys, expected):
    """The backend offers something that cannot be, from the start."""
    device.backend.ask("detach", f"keys {keys}", "sleep 0.05", "attach")
    device.backend.try_ask("await 5 3")
    try:
        lines = device.try_it(1)
    finally:
        device.backend.ask("keys " + HONEST_KEYS[device.node])
        device.renew(1)
    device.judge(lines, expected)


HONEST_KEYS = {DISK_NODE: "sectors=16384 sector-size=512 info=0 physical-sector-size=512",
               NET_NODE: "feature-rx-copy=1"}


def case(name, lies, expected, *advisories):
    marks = [pytest.mark.advisory(*advisories)] if advisories else []
    return pytest.param(lies.split("; "), expected, id=name, marks=marks)


BAD_RESPONSE = ("XSA-376",)

BLK = [
    case("id_of_32_ones", "at response 1 id=0xffffffff", BROKEN, "XSA-376", "CVE-2026-72380"),
    case("id_of_64_ones", "at response 1 id=-1", BROKEN, "XSA-376", "CVE-2026-72380"),
    case("id_beyond_32_bits", "at response 1 id=0x100000000", BROKEN, *BAD_RESPONSE),
    case("id_not_in_flight", "at response 1 id=31", BROKEN, *BAD_RESPONSE),
    case("answered_twice", "at response 1 dup", BROKEN, *BAD_RESPONSE),
    case("other_operation", "at response 1 op=1", BROKEN, *BAD_RESPONSE),
    case("status_of_none", "at response 1 status=7", BROKEN, *BAD_RESPONSE),
    case("reading_is_not_supported", "at response 1 status=-2", BROKEN, *BAD_RESPONSE),
    case("reading_fails", "at response 1 status=-1", FINE),
    case("producer_ahead", "producer +100", BROKEN, *BAD_RESPONSE),
    case("producer_back", "producer -1", BROKEN, *BAD_RESPONSE),
    case("grants_kept_mapped", "hold on", BROKEN, "XSA-396"),
    case("responses_change_under_the_reader", "mutate on", MAY, "XSA-155"),
    case("no_answers", "silent on", STUCK),
    case("one_answer_missing", "at response 1 drop", STUCK),
    case("event_channel_closed", "unbind", STUCK, "XSA-331"),
    case("directory_vanishes", "vanish", STUCK),
    case("state_out_of_range", "state 77", FINE),
    case("state_is_no_number", "state nonsense", FINE),
    case("state_written_2000_times", "flood 2000", FINE, "XSA-349"),
    case("closed_while_in_use", "state 6", MAY),
]

BLK_KEYS = [
    case("sector_size_0", "sector-size=0", REFUSED),
    case("sector_size_513", "sector-size=513", REFUSED),
    case("sector_size_8192", "sector-size=8192", REFUSED),
    case("sectors_missing", "sectors-", REFUSED),
    case("sectors_overflow", "sectors=18014398509481984", REFUSED),
    case("sectors_is_no_number", "sectors=16384x", REFUSED),
    case("physical_sector_size_3", "physical-sector-size=3", REFUSED),
    case("info_beyond_32_bits", "info=4294967296", REFUSED),
]

NET = [
    case("tx_id_of_16_ones", "at tx 1 id=0xffff", BROKEN, "XSA-376", "CVE-2026-72380"),
    case("tx_id_not_in_flight", "at tx 1 id=128", BROKEN, *BAD_RESPONSE),
    case("tx_answered_twice", "at tx 1 dup", BROKEN, *BAD_RESPONSE),
    case("tx_null_unasked", "at tx 1 null=1", BROKEN, *BAD_RESPONSE),
    case("tx_producer_ahead", "producer tx +300", BROKEN, *BAD_RESPONSE),
    case("tx_producer_back", "producer tx -1", BROKEN, *BAD_RESPONSE),
    case("tx_fails", "at tx 1 status=-1", FINE),
    case("tx_one_answer_missing", "at tx 1 drop", FINE),
    case("rx_id_of_16_ones", "at rx 1 id=0xffff", BROKEN, "XSA-376", "CVE-2026-72380"),
    case("rx_larger_than_a_page", "at rx 1 size=4097", BROKEN, *BAD_RESPONSE),
    case("rx_ends_outside_of_its_page", "at rx 1 offset=4090", BROKEN, "XSA-376", "XSA-405"),
    case("rx_chain_of_30_slots", "at rx 1 chain=30", BROKEN, "XSA-457", "CVE-2026-99057"),
    case("rx_short_first_slot", "at rx 1 chain=2 size=10", FINE, "XSA-522", "CVE-2026-98375"),
    case("rx_extra_info_unasked", "at rx 1 flags=8", BROKEN, *BAD_RESPONSE),
    case("rx_shorter_than_a_header", "at rx 1 size=13", FINE, "XSA-522"),
    case("rx_negative_size", "at rx 1 size=-1", FINE),
    case("rx_checksum_blank_on_a_ping", "at rx 1 flags=2", FINE),
    case("rx_producer_ahead", "producer rx +300", BROKEN, *BAD_RESPONSE),
    case("rx_producer_back", "producer rx -1", BROKEN, *BAD_RESPONSE),
    case("grants_kept_mapped", "hold on", FINE, "XSA-396"),
    case("responses_change_under_the_reader", "mutate on", MAY, "XSA-155"),
    case("no_answers", "silent on", STUCK),
    case("event_channel_closed", "unbind", STUCK, "XSA-331"),
    case("directory_vanishes", "vanish", STUCK),
    case("state_out_of_range", "state 77", MAY),
    case("state_written_2000_times", "flood 2000", FINE, "XSA-349"),
]

NET_KEYS = [
    case("rx_copy_not_offered", "feature-rx-copy-", REFUSED),
    case("rx_copy_is_2", "feature-rx-copy=2", REFUSED),
]


@pytest.mark.parametrize("lies, expected", BLK)
def test_hostile_disk(disk, lies, expected):
    misbehave(disk, lies, expected)


@pytest.mark.parametrize("keys, expected", BLK_KEYS)
def test_disk_with_bad_keys(disk, keys, expected):
    negotiate(disk, keys[0], expected)


@pytest.mark.parametrize("lies, expected", NET)
def test_hostile_interface(net, lies, expected):
    misbehave(net, lies, expected)


@pytest.mark.parametrize("keys, expected", NET_KEYS)
def test_interface_with_bad_keys(net, keys, expected):
    negotiate(net, keys[0], expected)


@pytest.mark.advisory("XSA-403")
def test_interface_shows_nothing_else(net):
    """New rings, buffers to receive into, and what is around a packet, hold zeros."""
    net.backend.ask("detach", "peek on", "sleep 0.05")
    net.backend.attach()
    net.check_it_works()
    net.guest.run(f"{PING} -c 5 -i 0.2 -s 200", check=True)
    seen = net.backend.show()
    net.renew()
    assert seen["pages"] > 2 and (seen["leaked"], seen["ring_leaked"]) == (0, 0), seen


@pytest.mark.advisory("XSA-403")
def test_disk_ring_shows_nothing_else(disk):
    disk.backend.ask("detach", "peek on", "sleep 0.05")
    disk.backend.attach()
    disk.check_it_works()
    seen = disk.backend.show()
    disk.renew()
    assert seen["pages"] > 2 and seen["ring_leaked"] == 0, seen


@pytest.mark.parametrize("kind", ["disk", "net"])
def test_backend_dies_and_another_goes_on(request, world, kind):
    """The process ends without a word; the next one finds its device and heals it."""
    device = request.getfixturevalue(kind)
    lost = device.backend
    device.try_it()
    lost.try_ask("quit")
    lost.process.wait(10)
    device.backend = Device(world, "blk" if kind == "disk" else "net").backend
    device.backend.attach()
    device.check_it_works()


def uptime(machine, before=":"):
    # A line of the kernel's may follow on the same line of the console.
    return float(re.search(r"\d+\.\d\d", machine.run(f"{before}; cat /proc/uptime").out)[0])


# At first as many events as dom0 can send. An emulated machine that is never idle has a slow clock:
# hence no more than so many a second afterwards, and a pause in each round.
BURST_SECONDS, STORM_SECONDS, STORM_RATE, PAUSE = 2, 60, 1000, "sleep 2"
LIES = {"blk": [["at response every status=-1"], ["hold on"], ["silent on"],
                ["silent off", "at response 1 id=0xffffffff"], ["mutate on"], ["producer +100"]],
        "net": [["at rx every size=13"], ["hold on"], ["silent on"],
                ["silent off", "at tx 1 id=0xffff"], ["mutate on"], ["producer rx +300"]]}


@pytest.mark.limit(600)
@pytest.mark.advisory("XSA-332", "XSA-391", "XSA-396")
def test_storm_of_events_and_lies(world, dom0, disk, net):
    """For 60 s both devices get events without end and all kinds of lies. A command on the
    console answers within 2 s of the guest's time, the root disk and the other interface work."""
    both = {"blk": disk, "net": net}
    for device in both.values():
        device.backend.ask(f"storm {BURST_SECONDS}")
    start, slowest, rounds = uptime(dom0), 0.0, 0
    while uptime(dom0, PAUSE if rounds else ":") - start < STORM_SECONDS:
        for kind, device in both.items():
            state = device.backend.show()
            if not state["storm"]:
                device.backend.ask(f"storm {STORM_SECONDS} {STORM_RATE}")
            if state["frontend"] != 4:  # broken: serve it again, to lie again
                device.backend.ask("hold off", "reopen")
            device.backend.try_ask(*LIES[kind][rounds % len(LIES[kind])])
            disk.guest.send(f"({device.use}\n) >/dev/null 2>&1\n")
        before = uptime(disk.guest)
        slowest = max(slowest, uptime(disk.guest) - before)
        assert "others are well" in disk.guest.run(disk.others, timeout=60).out
        rounds += 1
    sent = {kind: device.backend.show()["storm_sent"] for kind, device in both.items()}
    RECORDER.note(f"{rounds} rounds, events sent: {sent}, slowest answer {slowest:.2f} s of guest time")
    for device in both.values():
        device.renew()
    assert slowest < 2, f"a command on the console took {slowest:.2f} s of the guest's time"
    assert all(number > STORM_SECONDS * STORM_RATE / 2 for number in sent.values()), sent
