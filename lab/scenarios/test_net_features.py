# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What an interface has beyond sending and receiving: its settings, XDP, the keys that change
while it is connected, and hashes.
"""

import re

import pytest

from lab import nets, wire

LOG = "/tmp/xdp.log"

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(150),
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
    vif.run(f"ethtool -G {vif.name} rx 256 tx 256 && ethtool -C {vif.name} tx-frames 256 rx-usecs 0",
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


# ---- the control ring ----

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
    vif.run(f"ethtool -X {vif.name} default", check=True)


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
                         f"for i in $(seq 100); do grep -q ready {LOG}.wire && exit 0; sleep 0.1; done; exit 1",
                         check=True)
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
