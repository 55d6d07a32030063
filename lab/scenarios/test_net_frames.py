# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What arrives is what was sent, byte by byte, with valid checksums: TCP, UDP, ICMP and none of them, over
IPv4 and IPv6, of every size around the edges, TCP packets of up to 65535 bytes to be cut up on the way,
from guest to dom0 and, over the bridge, to another interface of a guest's, and from dom0 to guest.

The receivers and tcpdump in dom0 take down what they see, and dpkt says what it should be. A packet whose
checksum was left blank by its sender is seen so until somebody has to fill it in: a receiver is told by its
kernel, and must not be told wrong; tcpdump's files do not say it, so that there both will do.
With SOAK=1 every size from 14 to 9014, a row for each kind. SEED= repeats the content.
"""

import os

import pytest

from lab import nets, wire
from lab.dom0 import await_command

SOAK = bool(os.environ.get("SOAK"))
MTU = 9000
SIZES = range(wire.ETHERNET, MTU + wire.ETHERNET + 1) if SOAK else wire.EDGES
NOBODY = "02:00:00:00:00:77"  # whose frames the bridge shows to everybody, and no stack takes up
FRAMES, RECEIVED, DUMPED = "/tmp/frames", "/tmp/received", "/tmp/dumped"
LOOK = f"exec tcpdump --immediate-mode -i {{}} -w {DUMPED} -B 32768 'ether[6:2] = 0x0277'"
PORT = 5004
ALL = [*wire.KINDS, "segments"]
BATCH = 6 << 20  # bytes
# sg stays, without which there are no large frames.
OFFLOADS = "tx {0} tso {0} gso {0} gro {0} rx {0}"

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(3600 if SOAK else 200)]


class Wire:
    """Two interfaces of a guest, their ends in dom0, and what is sent and seen there."""

    def __init__(self, guest):
        self.guest, self.dom0 = guest, guest.dom0
        self.first, self.second = guest.vifs
        self.program = nets.program(self.dom0, "wire")
        assert nets.program(guest, "wire") == self.program
        self.host = self.dom0.address()

    def prepare(self, offloads, mtu):
        """Both sides of both interfaces. dom0's ends hold 32 packets otherwise: too few for what the
        bridge hands on at once."""
        features = OFFLOADS.format(offloads)
        self.dom0.run("; ".join(f"ip link set {vif.back} mtu {mtu} txqueuelen 1000; "
                                f"ethtool -K {vif.back} {features} 2>&1" for vif in self.guest.vifs))
        for vif in self.guest.vifs:
            vif.set_up(features, mtu=mtu)

    def load(self, frames):
        """Puts what is to be sent into dom0 and the guest."""
        self.dom0.put(wire.pack(frames), FRAMES)
        self.dom0.run(f"(timeout 60 nc -N -l -p {PORT} < {FRAMES}) >/dev/null 2>&1 </dev/null & sleep 0.3")
        self.guest.run(f"nc -w 30 {self.host} {PORT} > {FRAMES} </dev/null", timeout=60, check=True)

    def listen(self, *commands):
        """Starts programs in dom0 that take something down; the last one waits for the guest's file."""
        started = [self.dom0.spawn(command) for command in commands]
        for process in started:
            process.expect("listening on|ready", 20)
        return [*started, self.dom0.spawn(f"exec timeout 100 nc -l -p {PORT} > {RECEIVED}")]

    def receive(self, vif):
        """The start of a receiver in the guest."""
        return f"rm -f {RECEIVED}.log; {vif.inside} {self.program} receive {vif.name} {RECEIVED} " \
               f"> {RECEIVED}.log 2>&1 & " + await_command(f"grep -q ready {RECEIVED}.log")

    def finish(self):
        """Waits for it and sends its file to dom0."""
        return await_command(f"grep -q received {RECEIVED}.log", 60) + \
            f"; cat {RECEIVED}.log; nc -N -w 30 {self.host} {PORT} < {RECEIVED}"

    def taken_down(self, dump, file, log):
        dump.kill(2)
        assert dump.wait(20) is not None and "\n0 packets dropped by kernel" in dump.text(), dump.text()
        assert "lost 0" in log, log
        assert file.wait(30) == 0
        return {"receiver": wire.read_received(self.dom0.get(RECEIVED)),
                "tcpdump": wire.read_pcap(self.dom0.get(DUMPED))}

    def from_guest(self):
        """Sent by one interface, to dom0 and to the other interface."""
        own, dump, file = self.listen(f"exec {self.program} receive {self.first.back} {RECEIVED}.own",
                                      LOOK.format(self.first.back))
        send = f"{self.first.inside} {self.program} send {self.first.name} {FRAMES}"
        log = self.guest.run(f"{self.receive(self.second)}; {send}; {self.finish()}", timeout=150).out
        assert own.wait(60) == 0 and "lost 0" in own.text(), own.text()
        return {**self.taken_down(dump, file, log),
                "dom0": wire.read_received(self.dom0.get(f"{RECEIVED}.own"))}

    def from_dom0(self):
        dump, file = self.listen(LOOK.format(self.first.back))
        self.guest.run(self.receive(self.first))
        self.dom0.run(f"{self.program} send {self.first.back} {FRAMES}", timeout=100, check=True)
        return self.taken_down(dump, file, self.guest.run(self.finish(), timeout=100).out)


def batches(seed, kinds):
    """Lists of frames, each of which fits into the memory on its way."""
    address = bytes.fromhex(NOBODY.replace(":", ""))
    batch, size = [], 0
    for frame in [*wire.plain_frames(seed, address, 0, SIZES), *wire.segmented_frames(seed, address, 0)]:
        if ("segments" if frame.segment else frame.kind) not in kinds:
            continue
        if size > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(frame)
        size += len(frame.payload)
    yield batch


@pytest.mark.parametrize("kinds", [[kind] for kind in ALL] if SOAK else [ALL],
                         ids=ALL if SOAK else ["all"])
@pytest.mark.parametrize("offloads", ["on", "off"])
def test_what_arrives_is_what_was_sent(world, seed, offloads, kinds):
    line = Wire(nets.guest_with_vifs(world))
    line.prepare(offloads, MTU)
    for frames in batches(seed, kinds):
        line.load(frames)
        for way, send in {"from the guest": line.from_guest, "from dom0": line.from_dom0}.items():
            for who, arrived in send().items():
                judge = wire.Judge(frames)
                problems = judge.judge(arrived)
                assert not problems, f"{way}, as {who} saw it, {len(problems)}:\n" + "\n".join(problems[:12])
                assert offloads == "on" or not judge.blank, f"{way}, {who} saw a checksum left blank"
    line.prepare("on", 1500)
