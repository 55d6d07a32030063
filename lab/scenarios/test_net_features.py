# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What an interface has beyond sending and receiving: its settings under load, XDP, the keys that change
while it is connected, hashes, the multicast filter, and a backend that goes and comes back.
"""

import os
import re

import pytest

from lab import nets, wire
from lab.backends import Backend
from lab.disks import AWAIT
from lab.steps import LabError

SOAK = bool(os.environ.get("SOAK"))
ROUNDS = 100 if SOAK else 2
LOG = "/tmp/xdp.log"

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(1800 if SOAK else 150),
              pytest.mark.allow_log(r"x?en_?net", "vif vif-")]


@pytest.fixture
def vif(world):
    return nets.guest_with_vifs(world).vifs[0]


def numbers(text):
    """NAME: NUMBER of ethtool's output; of two with one name the last, which is what is in force."""
    return {name: int(value) for name, value in re.findall(r"^([\w -]+):\s+(\d+)$", text, re.M)}


def agreed(vif):
    out = vif.run(f"cd /sys/class/net/{vif.name}/xen && grep . *", check=True).out
    return {name: int(value) for name, value in re.findall(r"^(\w+):(\d+)$", out, re.M)}


# ---- what ethtool and sysfs show, and change ----

def test_what_was_agreed_is_visible(vif):
    """sysfs says what both sides wrote into xenstore, which is what each could have at best."""
    seen, (theirs, ours) = agreed(vif), vif.keys()
    assert seen["queues"] == int(ours["multi-queue-num-queues"]) == nets.CPUS
    assert len({key for key in ours if re.fullmatch(r"queue-\d+", key)}) == nets.CPUS
    assert seen["split_events"] == 1 and "queue-0/event-channel-rx" in ours
    assert seen["send_sg"] == int(theirs["feature-sg"]) == 1
    assert seen["receive_gso"] == int(ours["feature-gso-tcpv4"]) == int(ours["feature-gso-tcpv6"]) == 1
    assert seen["receive_checksum"] == 1 and ours.get("feature-no-csum-offload", "0") == "0"
    assert seen["control_ring"] == int("ctrl-ring-ref" in ours) == int(theirs["feature-ctrl-ring"])


def test_settings_are_shown_and_changed(vif):
    shown = vif.run(f"for what in l g c i; do ethtool -$what {vif.name}; done", check=True).out
    figures = numbers(shown)
    assert figures["Combined"] == nets.CPUS and figures["RX"] == figures["TX"] == 256, shown
    vif.run(f"ethtool -G {vif.name} rx 64 tx 50 && ethtool -C {vif.name} tx-frames 32 rx-usecs 200",
            check=True)
    vif.await_carrier()
    vif.ping(count=20)
    figures = numbers(vif.run(f"ethtool -g {vif.name}; ethtool -c {vif.name}", check=True).out)
    assert (figures["RX"], figures["TX"], figures["tx-frames"], figures["rx-usecs"]) == (64, 50, 32, 200)
    for wrong in ("-G {} rx 33", "-G {} tx 8", "-L {} combined 0", f"-L {{}} combined {nets.CPUS + 1}",
                  "-C {} tx-frames 0"):
        assert vif.run("ethtool " + wrong.format(vif.name)).rc, f"ethtool {wrong} was not refused"
    for way in ("", "-R"):
        vif.run("iperf3 -s -1 -D -p 5602", check=True)  # what stands still, now and then, takes minutes
        vif.dom0.run(f"iperf3 -c {vif.address} -p 5602 -n 1M {way}", timeout=30, check=True)
    vif.run(f"ethtool -G {vif.name} rx 256 tx 256 && ethtool -C {vif.name} tx-frames 1 rx-usecs 0",
            check=True)
    vif.set_up()


def test_every_queue_is_counted(vif):
    before = vif.statistics()
    vif.run("for i in $(seq 20); do ping -c 1 -q " + nets.DOM0_ADDRESS + " >/dev/null; done", check=True)
    after = vif.statistics()
    for name in ("tx_packets", "rx_packets"):
        assert 20 <= after[name] - before[name] < 60, (name, before, after)
    assert after["tx_notifications"] > before["tx_notifications"] and after["events"] > before["events"]
    assert not after["tx_errors"] and not after["rx_errors"]


def test_bytes_on_their_way_are_limited(vif):
    """Byte queue limits: the stack counts what the backend has not completed."""
    limits = f"cat /sys/class/net/{vif.name}/queues/tx-*/byte_queue_limits"
    vif.run("iperf3 -s -1 -D -p 5603", check=True)
    client = vif.dom0.spawn(f"exec iperf3 -c {vif.address} -p 5603 -R -t 1000 --forceflush")
    client.expect("connected to", 60)
    vif.run(AWAIT.format(f"{limits}/inflight | grep -qv '^0$'"), check=True)
    client.kill(2)
    assert client.wait(20) is not None
    vif.run(AWAIT.format(f"! {limits}/inflight | grep -qv '^0$'"), check=True)
    assert any(map(int, vif.run(f"{limits}/limit", check=True).out.split()))


def device_events(guest):
    """Of each device's irq the events on each CPU."""
    out = guest.run("cat /proc/interrupts", check=True).out
    return {irq: [int(count) for count in counts.split()]
            for irq, counts in re.findall(r"^ *(\d+):((?: +\d+)+) +xen-device ", out, re.M)}


def test_events_come_to_all_vcpus_or_to_those_that_are_chosen(vif):
    irqs = " ".join(device_events(vif.guest))

    def choose(mask):
        vif.guest.run(f"for i in {irqs}; do echo {mask} > /proc/irq/$i/smp_affinity || exit 1; done", check=True)
        before = device_events(vif.guest)
        vif.ping(count=20)
        after = device_events(vif.guest)
        return [sum(after[irq][cpu] - counts[cpu] for irq, counts in before.items())
                for cpu in range(nets.CPUS)]

    for cpu in (nets.CPUS - 1, 1):
        seen = choose(f"{1 << cpu:x}")
        assert seen[cpu] >= 20 and sum(seen) == seen[cpu], seen
    choose(f"{(1 << nets.CPUS) - 1:x}")
    chosen = vif.guest.run(f"for i in {irqs}; do cat /proc/irq/$i/effective_affinity_list; done", check=True).out
    assert set(chosen.split()) == set(map(str, range(nets.CPUS))), chosen


CHANGES = {"queues": "for n in 1 3 2 4; do ethtool -L {0} combined $n; sleep 0.3; done",
           "down-up": "ip link set {0} down; sleep 0.1; ip link set {0} up; sleep 0.3",
           "mtu": "for n in 68 9000 1280 1500; do ip link set {0} mtu $n; sleep 0.2; done; "
                  "ip addr add {1}/64 dev {0} nodad"}  # an MTU below 1280 ends IPv6


class BothWays:
    """TCP from dom0 to the guest and back, two connections of two programs: iperf3 --bidir takes the one that
    is complete first for what the server receives, and when that is the second, since the queues have no
    order, each end sends on what the other one never reads.
    """

    def __init__(self, vif, port):
        self.vif = vif
        for number in (port, port + 1):
            vif.run(f"iperf3 -s -D -1 -p {number}", check=True)
        # Little enough for the machine's seconds not to become minutes here. Of a block that has begun to
        # arrive, iperf3 waits ten seconds for the rest: so they are small.
        command = f"exec iperf3 -c {vif.address} -t 1000 -i 1 -b 2M -l 4K --forceflush -p "
        self.clients = [vif.dom0.spawn(f"{command} {port}"), vif.dom0.spawn(f"{command} {port + 1} -R")]

    def passes(self, seconds):
        """Waits for so many seconds of either direction in which something passed. The lines of the one that
        dom0 sends are of what its socket took: at -b 2M that is 87 KiB ahead at most, no half of a second's.
        """
        try:
            for client, seen in [(client, len(client.output)) for client in self.clients]:
                for _ in range(seconds):
                    seen = client.expect(r" +sec +(?!0\.00)\S+ \w*Bytes", 60, seen)
        except LabError as error:
            raise LabError(f"{error}\n{self.vif.who_waits()}") from error

    def end(self):
        for client in self.clients:
            client.kill(2)
        assert None not in [client.wait(20) for client in self.clients]
        self.vif.run("pkill -x iperf3; true")


@pytest.mark.parametrize("change", CHANGES)
def test_changed_again_and_again_under_load(vif, change):
    """TCP both ways goes on, whatever it loses; 100 rounds with SOAK=1."""
    vif.dom0.run(f"ip link set {vif.back} mtu 9000", check=True)
    load = BothWays(vif, 5400 + 2 * list(CHANGES).index(change))
    load.passes(1)
    vif.run(f"for round in $(seq {ROUNDS}); do {CHANGES[change].format(vif.name, vif.address6)}; done "
            "2>/dev/null; true", timeout=1200)
    load.passes(3)
    load.end()
    vif.ping()
    vif.dom0.run(f"ip link set {vif.back} mtu 1500", check=True)
    vif.set_up()


@pytest.mark.parametrize("mtu", [68, 1500, 9000])
def test_mtu(vif, mtu):
    """The largest packet of it passes whole, both ways, and none that is larger."""
    vif.dom0.run(f"ip link set {vif.back} mtu {max(mtu, 1500)}; ip link set {nets.BRIDGE} mtu {max(mtu, 1500)}; "
                 f"ip route replace {vif.address} dev {nets.BRIDGE} mtu lock {mtu} src {nets.DOM0_ADDRESS}",
                 check=True)
    vif.run(f"ip link set {vif.name} mtu {mtu}", check=True)
    vif.ping(more=f"-M do -s {mtu - 28}")
    assert vif.run(f"ping -c 1 -W 1 -q -M do -s {mtu - 27} {nets.DOM0_ADDRESS}").rc
    vif.ping(more=f"-s {mtu * 6}", count=2)  # in fragments, not more than dom0's end holds
    vif.dom0.run(f"ip route del {vif.address} dev {nets.BRIDGE}; ip link set {nets.BRIDGE} mtu 1500; "
                 f"ip link set {vif.back} mtu 1500")
    vif.run(f"ip link set {vif.name} mtu 1500; ip addr replace {vif.address6}/64 dev {vif.name} nodad")


def test_vlan(world, dom0):
    """Tags pass, with the largest packet; what has another tag is not seen."""
    vif = nets.guest_with_vifs(world).vifs[0]
    if vif.run(f"ip link add link {vif.name} name tagged type vlan id 7").rc:
        pytest.fail("the guest's kernel has no VLANs")
    vif.run("ip addr add 10.81.0.2/24 dev tagged && ip link set tagged up", check=True)
    dom0.run(f"modprobe 8021q; for id in 7 8; do ip link add link {nets.BRIDGE} name tagged$id type vlan id $id && "
             "ip link set tagged$id up; done; ip addr add 10.81.0.1/24 dev tagged7", check=True)
    vif.ping("10.81.0.1", more="-M do -s 1472")
    vif.run("iperf3 -s -1 -D -p 5600", check=True)
    dom0.run("iperf3 -c 10.81.0.2 -p 5600 -n 3M", check=True)
    assert int(dom0.run("cat /sys/class/net/tagged8/statistics/rx_packets").out) < 3
    dom0.run("ip link del tagged7; ip link del tagged8", check=True)
    vif.run("ip link del tagged", check=True)


# ---- keys of xenstore that change while it is connected ----

def await_word(vif, file, word):
    vif.run(f"for i in $(seq 50); do [ \"$(cat /sys/class/net/{vif.name}/{file})\" = {word} ] && exit 0; "
            f"sleep 0.1; done; cat /sys/class/net/{vif.name}/{file}; exit 1", check=True)


def test_mtu_of_the_toolstack_is_followed_live(vif):
    key = f"/local/domain/{vif.guest.domid()}/{vif.node}/mtu"
    vif.dom0.run(f"xenstore-write {key} 1400", check=True)
    await_word(vif, "mtu", 1400)
    vif.ping()
    vif.dom0.run(f"xenstore-write {key} 1500", check=True)
    await_word(vif, "mtu", 1500)


def test_carrier_of_the_backend_is_followed_live(vif):
    key = f"/local/domain/0/backend/vif/{vif.guest.domid()}/{vif.index}/carrier"
    vif.dom0.run(f"xenstore-write {key} 0", check=True)
    await_word(vif, "carrier", 0)
    vif.dom0.run(f"xenstore-write {key} 1", check=True)
    await_word(vif, "carrier", 1)
    vif.ping()
    vif.dom0.run(f"xenstore-rm {key}", check=True)


# ---- the control ring, the multicast filter ----

def test_backend_hashes_as_told(vif):
    """netback's own view of key, mapping and kinds, and packets that still arrive everywhere."""
    vif.run(f"ethtool -X {vif.name} equal 2", check=True)
    shown = vif.run(f"ethtool -x {vif.name}", check=True).out
    assert "toeplitz: on" in shown, shown
    rows = [line.split()[1:] for line in re.findall(r"^ *\d+: .*$", shown, re.M)]
    assert {word for row in rows for word in row} == {"0", "1"}, shown
    theirs = vif.dom0.run("mountpoint -q /sys/kernel/debug || mount -t debugfs debug /sys/kernel/debug; "
                          f"cat /sys/kernel/debug/xen-netback/{vif.back}/ctrl", check=True).out
    assert re.search("Hash Algorithm: TOEPLITZ", theirs) and "- IPv4 + TCP" in theirs, theirs
    before = vif.queue_counter("rx_packets")
    vif.run("iperf3 -s -1 -D -p 5500", check=True)
    vif.dom0.run(f"iperf3 -c {vif.address} -p 5500 -P 16 -n 300K", check=True)
    grown = [now - then for then, now in zip(before, vif.queue_counter("rx_packets"))]
    assert min(grown[:2]) > 10 and not sum(grown[2:]), grown
    # What netback goes on hashing as it was told, until it is told anew, is no lie of its own.
    flood = f"ping -f -q -w 30 {vif.address} >/dev/null & "
    vif.dom0.run(flood + "echo $! > /tmp/flood", check=True)
    for queues in (4, 2, 3):
        vif.run(f"ethtool -L {vif.name} combined {queues}; sleep 0.5", check=True)
    vif.dom0.run("kill $(cat /tmp/flood)", check=True)
    vif.run(f"ethtool -X {vif.name} default", check=True)
    vif.set_up()
    assert "broken by its backend" not in vif.run("dmesg").out


def test_multicast_that_nobody_wants_stays_outside(world, vif):
    """The backend keeps it, until somebody joins the group or listens to everything. It comes from another
    interface: xen-netback hands on all that dom0 itself sends."""
    other = nets.guest_with_vifs(world).vifs[1]
    send = f"ping -c 5 -i 0.1 -W 1 -q -I {other.name} -t 1 {{}}"
    arrived = []
    for joined in (f"ip maddr add 01:00:5e:07:07:07 dev {vif.name}", "true",
                   f"ip link set {vif.name} promisc on"):
        vif.run(f"{joined}; sleep 0.3", check=True)
        before = sum(vif.queue_counter("rx_packets"))
        other.run(send.format("239.7.7.7" if not arrived else "239.8.8.8"))
        arrived.append(sum(vif.queue_counter("rx_packets")) - before)
    vif.run(f"ip link set {vif.name} promisc off; ip maddr del 01:00:5e:07:07:07 dev {vif.name}", check=True)
    assert arrived[0] >= 5 and arrived[1] < 3 and arrived[2] >= 5, arrived


# ---- XDP ----

class Xdp:
    """A program on the interface, and frames that it sees."""

    def __init__(self, vif, seed, back=None):
        self.vif, self.dom0, self.back = vif, vif.dom0, back or vif.back
        self.program = nets.program(vif.guest, "xdp")
        self.wire = nets.program(vif.dom0, "wire")
        nets.program(vif.guest, "wire")
        self.frames = [frame for frame in wire.plain_frames(seed, b"\x02" + bytes(5), 9, (60, 1000, 1514),
                                                            blank=False) if len(frame.payload) < 1440]
        self.dom0.put(wire.pack(self.frames), "/tmp/frames")

    def attach(self, action):
        """"attached", or why not; both sides have connected anew then."""
        return self.vif.run(f"rm -f {LOG}; {self.program} {self.vif.name} {action} > {LOG} 2>&1 & for i in $(seq 50); do "
                            f"[ -s {LOG} ] && break; sleep 0.1; done; sleep 0.5; "
                            f"{nets.CARRIER.format(self.vif.name)}; cat {LOG}").out.strip()

    def detach(self):
        self.vif.run("pkill -x xdp; sleep 0.5; " + nets.CARRIER.format(self.vif.name), check=True)

    def send(self, where=None):
        """Sends the frames to the guest; what came back to dom0's end of an interface, or to the guest's."""
        if where is None:
            self.vif.run(f"{self.wire} receive {self.vif.name} /tmp/received > {LOG}.wire 2>&1 & "
                         + AWAIT.format(f"grep -q ready {LOG}.wire"), check=True)
        else:
            receiver = self.dom0.spawn(f"exec {self.wire} receive {where} /tmp/received")
            receiver.expect("ready", 20)
        self.dom0.run(f"{self.wire} send {self.back} /tmp/frames", check=True)
        if where is not None:
            assert receiver.wait(60) == 0, receiver.text()
            return wire.read_received(self.dom0.get("/tmp/received"))
        log = self.vif.run(f"for i in $(seq 300); do grep -q received {LOG}.wire && break; sleep 0.1; done; "
                           f"cat {LOG}.wire", timeout=60).out
        return int(re.search(r"received (\d+)", log)[1])

    def judge(self, arrived):
        problems = wire.Judge(self.frames).judge(arrived)
        assert not problems, "\n".join(problems[:12])


def test_xdp_passes_drops_and_sends_back(vif, seed):
    xdp = Xdp(vif, seed)
    before = vif.statistics()
    assert xdp.attach("pass") == "attached"
    assert agreed(vif)["receive_gso"] == agreed(vif)["receive_checksum"] == 0
    assert xdp.send() == len(xdp.frames)
    vif.ping(count=1)
    xdp.detach()
    assert xdp.attach("drop") == "attached"
    assert vif.run(f"ip link set {vif.name} mtu 9000").rc, "an MTU that no program can see was taken"
    vif.dom0.run(f"{xdp.wire} send {vif.back} /tmp/frames", check=True)
    vif.ping(count=1)
    xdp.detach()
    assert xdp.attach("tx") == "attached"
    xdp.judge(xdp.send(vif.back))
    xdp.detach()
    after = vif.statistics()
    for name in ("xdp_drop", "xdp_tx"):
        assert after[name] - before[name] == len(xdp.frames), (name, before, after)
    assert after["xdp_pass"] - before["xdp_pass"] >= len(xdp.frames)
    vif.run(f"ip link set {vif.name} mtu 9000", check=True)
    assert "Invalid argument" in xdp.attach("drop")
    vif.set_up()


def test_xdp_redirects_to_another_interface(world, vif, seed):
    other = nets.guest_with_vifs(world).vifs[1]
    other.run(f"ip link set {other.name} netns {vif.space}", check=True)
    vif.run(f"ip link set {other.name} up", check=True)
    xdp = Xdp(vif, seed)
    assert xdp.attach(f"redirect {other.name}") == "attached"
    # Or the bridge would hand on to the first what the second sends, round and round.
    vif.dom0.run(f"ip link set {other.back} nomaster", check=True)
    xdp.judge(xdp.send(other.back))
    xdp.detach()
    vif.dom0.run(f"ip link set {other.back} master {nets.BRIDGE}", check=True)
    vif.run(f"ip link set {other.name} netns {other.space}", check=True)
    other.address_it()
    other.ping()


# ---- backends ----

def test_new_connection_is_announced(vif):
    """By ARP and ND, to everybody: the switches may know of another way to the interface."""
    dump = vif.dom0.spawn(f"exec tcpdump --immediate-mode -l -n -i {nets.BRIDGE} "
                          f"'ether src {vif.mac} and (arp or icmp6)'")
    dump.expect("listening on", 20)
    vif.run(f"ethtool -L {vif.name} combined 2", check=True)
    address, address6 = re.escape(vif.address), re.escape(vif.address6)
    dump.expect(rf"ARP, (Announcement|Request who-has) {address}\b(?! tell (?!{address}))", 20)
    dump.expect(rf"> ff02::1: ICMP6, neighbor advertisement, tgt is {address6}\b", 20)
    dump.kill(2)
    assert dump.wait(20) is not None
    vif.set_up()


def test_backend_that_is_bound_anew_heals_the_interface(vif):
    """The same name, index and addresses; and more than once. libxl has run its script for this backend and
    does not again, without which the backend never says that it is connected."""
    before = vif.run(f"cat /sys/class/net/{vif.name}/ifindex", check=True).out
    device = f"vif-{vif.guest.domid()}-{vif.index}"
    driver = "/sys/bus/xen-backend/drivers/vif"
    script = f"XENBUS_PATH=/local/domain/0/backend/vif/{vif.guest.domid()}/{vif.index} vif={vif.back} " \
             "/etc/xen/scripts/vif-bridge online type_if=vif"
    for _ in range(2):
        vif.dom0.run(f"echo {device} > {driver}/unbind && sleep 0.2 && echo {device} > {driver}/bind && "
                     f"for i in $(seq 50); do [ -e /sys/class/net/{vif.back} ] && break; sleep 0.1; done; "
                     f"{script}", check=True)
        vif.ping_until_it_works()
    assert vif.run(f"cat /sys/class/net/{vif.name}/ifindex", check=True).out == before
    vif.ping(address=nets.DOM0_ADDRESS6)
    vif.set_up()


def test_backend_without_headroom_and_its_replacement(world, vif, seed):
    """XDP works or is refused, never neither; and a backend that takes over what another one left behind
    finds the interface working under its old name."""
    guest = vif.guest
    here = dict(domid=guest.domid(), index=7, mac=nets.mac(7), bridge=nets.BRIDGE)
    backend = Backend(world.dom0, "net", **here)
    backend.attach()
    evil = nets.Vif(guest, 7, back=f"evil{guest.domid()}.7").settle()
    evil.ping()
    xdp = Xdp(evil, seed)
    answer = xdp.attach("tx")
    if answer == "attached":
        xdp.judge(xdp.send(evil.back))
        xdp.detach()
    else:
        assert re.search(r"xdp: enX7: .+", answer), answer
    backend.ask("quit")
    backend.process.wait(10)
    backend = Backend(world.dom0, "net", **here)
    backend.attach()
    evil.ping_until_it_works()
    backend.ask("detach 5")
    backend.end()
    evil.forget()
