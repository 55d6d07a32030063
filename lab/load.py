# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What a guest does while something happens to it as a whole, and how one sees that nothing was lost."""

import re
import time

from lab import programs
from lab.disks import Disk
from lab.dom0 import await_command

# A guest that the scenarios share which do something to it as a whole.
SHARED = {"vcpus": 4, "memory": 256}
CLOCK = 0.05  # seconds by which a guest's date may be wrong
LOAD = """[global]
ioengine=libaio
direct=1
iodepth=8
bsrange=4k-64k
rw=randrw
verify=crc32c
verify_fatal=1
verify_backlog=256
time_based=1
runtime=5
size=16M
offset_increment=16M
numjobs=2
thread=1
exitall_on_error=1
[load]
"""


def check_clock(guest):
    """The guest's wall clock is dom0's, as exactly as the console allows to see."""
    before, now, after = (float(machine.run("date +%s.%N", check=True).out)
                          for machine in (guest.dom0, guest, guest.dom0))
    assert before - CLOCK <= now <= after + CLOCK, (before, now, after)


def total(guest):
    """Its memory in MiB, as it sees it."""
    return int(guest.run("awk '/MemTotal/ { print $2 }' /proc/meminfo", check=True).out) // 1024


class Heartbeat:
    """lab/programs/heartbeat.cc in the guest's background."""

    def __init__(self, guest):
        self.guest = guest
        guest.put(programs.build("heartbeat"), "/tmp/heartbeat")
        guest.run("(/tmp/heartbeat > /tmp/beats) >/dev/null 2>&1 </dev/null &")

    def check(self):
        """It went on all the time, and no clock went back. Returns the longest gap in seconds."""
        out = self.guest.run("pkill -TERM -x heartbeat && sleep 0.5 && cat /tmp/beats", check=True).out
        print(out)
        beats, longest, backwards = map(int, re.findall(r"\d+", out))
        assert beats > 100 and backwards == 0, out
        return longest / 1e6


class Forks:
    """Programs that start and end all the time, so that some are halfway when the guest stops."""

    def __init__(self, guest, count=2):
        self.guest, self.count = guest, count
        guest.run(f"rm -f /tmp/stop-forks /tmp/bad-fork; : > /tmp/rounds; for i in $(seq {count}); do (n=0; "
                  "while [ ! -e /tmp/stop-forks ]; do /bin/true || touch /tmp/bad-fork; sleep 0.02; n=$((n + 1)); "
                  "done; echo $n >> /tmp/rounds) & done >/dev/null 2>&1 </dev/null")

    def check(self):
        """Each of them went on until it was told to stop, and none of its programs failed."""
        rounds = self.guest.run("touch /tmp/stop-forks; " +
                                await_command(f"[ $(wc -l < /tmp/rounds) = {self.count} ]") +
                                "; [ ! -e /tmp/bad-fork ] && cat /tmp/rounds",
                                check=True).out.split()
        assert len(rounds) == self.count and min(map(int, rounds)) > 5, rounds


class Stream:
    """Bytes over TCP from the guest to dom0, for as long as nobody ends it; both ends sum them up."""

    def __init__(self, guest, port=5003):
        self.guest, self.dom0 = guest, guest.dom0
        guest.address()
        self.dom0.run(f"(nc -l -p {port} | sha256sum > /lab/stream) >/dev/null 2>&1 </dev/null & "
                      f"until ss -Hltn | grep -q :{port}; do sleep 0.1; done", check=True)
        guest.run("rm -f /tmp/stop; (while [ ! -e /tmp/stop ]; do head -c 64K /dev/urandom; "
                  "sleep 0.05; done | tee >(sha256sum > /tmp/stream) | "
                  f"nc -N {self.dom0.address()} {port}) >/dev/null 2>&1 </dev/null &")

    def check(self):
        """What arrived is what was sent, over one connection."""
        self.guest.run("touch /tmp/stop")
        wait = "for i in $(seq 300); do [ -s {0} ] && break; sleep 0.1; done; cat {0}"
        sent = self.guest.run(wait.format("/tmp/stream"), check=True).out
        received = self.dom0.run(wait.format("/lab/stream"), check=True).out
        assert sent and sent == received, (sent, received)


class Load:
    """fio on a file or a disk of its own, again and again; what it writes it verifies."""

    def __init__(self, guest, path=None):
        self.guest = guest
        self.disk = None if path else Disk(guest, "xvdp", 64).attach()
        guest.run(f"cat > /tmp/load <<'EOF'\n{LOAD}filename={path or self.disk.device}\nEOF", check=True)
        guest.run("rm -f /tmp/enough /tmp/bad; (until [ -e /tmp/enough ]; do "
                  "fio /tmp/load > /tmp/fio || { cp /tmp/fio /tmp/bad; break; }; done; "
                  "touch /tmp/done) >/dev/null 2>&1 </dev/null &")

    def check(self):
        """Nothing was lost; the disk goes."""
        out = self.guest.run("touch /tmp/enough; until [ -e /tmp/done ]; do sleep 0.2; done; "
                             "cat /tmp/bad 2>/dev/null; rm -f /tmp/done", timeout=120).out
        assert not out, out[-3000:]
        if self.disk:
            self.disk.detach()
            self.disk.remove()


def under_load(guest, times, step):
    """Does it so many times while the guest works; nothing is lost, and it answers after each."""
    parts = [Load(guest), Stream(guest), Forks(guest), Heartbeat(guest)]
    for _ in range(times):
        step()
        assert guest.run("echo here", timeout=120).out.strip() == "here"
        time.sleep(1)
    check_clock(guest)
    for part in parts:
        part.check()
