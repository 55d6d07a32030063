# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The test guest `hostile` towards dom0's backends: the device that misbehaves is alone broken.

A case is "TITLE | DEVICE WORD...", test-guests/hostile/README.md. After each the guest itself has
to get honest work done on the same device, unless it says "broken", and on others of its own; at
the end so has another guest.
"""

import pytest

from lab import tap
from lab.scenarios.test_guests import image
from lab.steps import LabError

pytestmark = [pytest.mark.hostile, pytest.mark.lab_only, pytest.mark.limit(500)]
SECONDS = 400

# A known problem of blkback, in Linux 6.1 and still in later ones: where a connection fails after a ring
# was made and before all of it was set up, xen_blkif_disconnect() finds fewer requests than it wants
# and warns. A guest can so fill dom0's log, and panic a dom0 with panic_on_warn.
BLKBACK_WARNS = [r"WARNING: CPU: \d+ PID: \d+ at drivers/block/xen-blkback/xenbus\.c:\d+ "
                 r"xen_blkif_disconnect\+", "Call Trace:"]

# What a disk's connection can have wrong, for both backends of disks.
DISK_KEYS = """
no ring | -key:ring-ref expect=refused
a ring that was never granted | key:ring-ref=never expect=refused
a ring beyond the grant table | key:ring-ref=huge expect=refused
a ring that is granted read-only | key:ring-ref=readonly expect=refused
a ring that is granted to another domain | key:ring-ref=foreign expect=refused
a ring whose grant is revoked | key:ring-ref=revoked expect=refused
a ring that is no number | key:ring-ref=garbage expect=refused
an empty ring reference | key:ring-ref= expect=refused
no event channel | -key:event-channel expect=refused
an event channel beyond all | key:event-channel=4294967295 expect=refused
an event channel of nobody | key:event-channel=100 expect=refused
an event channel that is no number | key:event-channel=-x expect=refused
a huge ring order | key:ring-page-order=31 expect=refused
a ring order that wraps | key:ring-page-order=4294967296 expect=refused,ok
two ring pages, one of them missing | key:ring-page-order=1 key:ring-ref0=ring expect=refused
two ring pages, one never granted | key:ring-page-order=1 key:ring-ref0=ring key:ring-ref1=never expect=refused
the same page twice as a ring | key:ring-page-order=1 key:ring-ref0=ring key:ring-ref1=ring expect=any
"""

# And what is wrong with its requests.
DISK_REQUESTS = """
a page that was never granted | gref=never expect=error
a page beyond the grant table | gref=huge expect=error
a read into a read-only page | gref=readonly expect=error
a write from a read-only page | op=1 gref=readonly expect=ok
a page of another domain | gref=foreign expect=error
a revoked page | gref=revoked expect=error
a grant that is revoked at work | op=1 revoke expect=ok,error
12 segments | segs=12 expect=error
255 segments | segs=255 expect=error
first sector behind the last | first=5 last=2 expect=error
a segment that leaves its page | first=0 last=8 expect=error
a segment far outside of its page | first=200 last=255 expect=error
sectors behind the end | sector=sectors expect=error
a sector number that overflows | sector=0x7fffffffffffffff expect=error
the last sector number | sector=-1 expect=error
operation 77 | op=77 expect=unsupported,error
operation 255 without segments | op=255 segs=0 expect=unsupported,error
operation 4, which is reserved | op=4 expect=unsupported,error
a discard behind the end | op=5 sector=sectors count=8 expect=error,unsupported
a discard that overflows | op=5 sector=8 count=-1 expect=error,unsupported
32 requests with one identifier | requests=32 id=7 expect=ok
bad references in a full ring | requests=32 gref=never segs=11 expect=error
segment counts that change while they are read | requests=32 segs=255 flip expect=any
references that change while they are read | requests=32 gref=never flip expect=any
sectors that change while they are read | requests=32 first=7 last=0 sector=sectors flip expect=any
operations that change while they are read | requests=32 op=6 inner=6 segs=65535 flip expect=any
requests behind the producer's back | ahead=-1 expect=dead,ok
a storm of events | storm=30000 expect=ok
"""

# State by state: what an honest frontend never does.
DISK_STATES = """
connected before it is initialised | states=4 -key:ring-ref expect=refused
connected at once | states=4 expect=ok
initialised again and again | states=3,3,3,3 expect=ok
a flapping state | states=3,1,3,6,1,3,1,4,3 expect=any
a slowly flapping state | slowly states=3,6,1,3,4 expect=any
closed and back | slowly states=3,6,1 expect=refused,ok
an unknown state | states=99 expect=refused
a negative state | states=-1 expect=refused,any
"""

BLKBACK_ONLY = """
an unknown protocol | key:protocol=sparc-abi expect=refused
no queues | key:multi-queue-num-queues=0 expect=refused
too many queues | key:multi-queue-num-queues=4294967295 expect=refused
queues without keys | key:multi-queue-num-queues=2 expect=refused
a ring with more requests than it has slots | req_prod=33 expect=refused
a ring whose indices ran away | req_prod=0x80000000 expect=refused
a ring in which responses are ahead | rsp_prod=5 req_prod=4 expect=refused
no segments | segs=0 expect=error
indirect, no segments | op=6 segs=0 expect=error
indirect, 257 segments | op=6 segs=257 expect=error
indirect, 65535 segments | op=6 segs=65535 expect=error
indirect, its page never granted | op=6 segs=8 igref=never expect=error
indirect, its page beyond the grant table | op=6 segs=256 igref=huge expect=error
indirect, its segments never granted | op=6 segs=256 gref=never expect=error
indirect, a segment outside of its page | op=6 segs=8 first=3 last=200 expect=error
indirect in indirect | op=6 inner=6 segs=8 expect=error
an indirect flush | op=6 inner=3 segs=8 expect=error
the producer far ahead | ahead=1000 expect=dead,ok,error
the producer half a world ahead | ahead=0x7fffffff expect=dead
"""

# QEMU takes a protocol that it does not know for its own.
QDISK_ONLY = """
an unknown protocol | key:protocol=sparc-abi expect=ok
no segments | segs=0 expect=ok,error
indirect segments, which were not offered | op=6 segs=8 expect=error
the producer ahead | ahead=100 expect=any
"""

# The backend takes it for the end of the device.
LAST = "a state that is no state | states=reconnect broken expect=refused"

NET_KEYS = """
no transmit ring | -key:tx-ring-ref
no receive ring | -key:rx-ring-ref
a transmit ring that was never granted | key:tx-ring-ref=never
a receive ring that was never granted | key:rx-ring-ref=never
a transmit ring beyond the grant table | key:tx-ring-ref=huge
a receive ring that is read-only | key:rx-ring-ref=readonly
a ring of another domain | key:tx-ring-ref=foreign
a ring that is no number | key:tx-ring-ref=garbage
no event channel | -key:event-channel
an event channel of nobody | key:event-channel=100
an event channel beyond all | key:event-channel=4294967295
split event channels, one of them bad | key:event-channel-tx=port key:event-channel-rx=4294967295
no queues | key:multi-queue-num-queues=0
too many queues | key:multi-queue-num-queues=4294967295
queues without keys | key:multi-queue-num-queues=2
a control ring that was never granted | key:ctrl-ring-ref=never key:event-channel-ctrl=port
"""

NET_FRAMES = """
one event channel in two places | key:event-channel-tx=port key:event-channel-rx=port expect=any
no copying to be done | -key:request-rx-copy expect=any
one ring in two places | key:rx-ring-ref=ring expect=any
an absurd headroom | key:xdp-headroom=4000000000 expect=any
a page that was never granted | gref=never expect=error
a page beyond the grant table | gref=huge expect=error
a page of another domain | gref=foreign expect=error
a frame of 0 bytes | size=0 expect=error
a frame of 13 bytes | size=13 expect=error
a chain that is shorter than its parts | slots=3 size=60 total=61 expect=error
a chain of 19 slots | slots=19 expect=error,ok
receive buffers that were never granted | rxgref=never expect=ok
receive buffers beyond the grant table | rxgref=huge expect=ok
receive buffers of one identifier | rxid=9 expect=ok
more receive buffers than the ring has | rxahead=5000 expect=any
a storm of events | storm=30000 expect=ok
connected twice | states=4,4 expect=ok
a flapping state | states=4,6,1,4,1,4,3,4 expect=any
closed and back | slowly states=4,6,1 expect=any
an unknown state | states=99 expect=refused
"""

# Disables its device if the backend happens to read the wrong one of two sizes.
NET_FLIP = "a frame whose size changes while it is read | flip broken expect=any"

# Each of these disables its device for good: netback never takes back that verdict.
NET_FATAL = """
a chain of 23 slots | slots=23
a chain that never ends | slots=4 endless
a frame that leaves its page | size=100 offset=4090
a frame larger than a page | size=5000
a part that leaves its page | slots=2 size=100 total=200 offset=4090
an extra info that is missing | flags=8
extra infos without end | extras=8 endless
an extra info of type 0 | extras=1 type=0
an extra info of type 200 | extras=1 type=200
segmentation into nothing | extras=1 type=1 gsosize=0
segmentation of an unknown kind | extras=1 type=1 gsosize=1400 gsotype=77
the producer far ahead | ahead=1000
the producer going back | ahead=-2
"""


# For an interface that nobody is to hear of. xl's own script starts some thirty programs each time.
NO_BRIDGE = b"""#!/bin/sh
[ "$1" = online ] && ip link set "$vif" up && xenstore-write "$XENBUS_PATH/hotplug-status" connected
exit 0
"""

# Another guest's: each second a block to the disk and back, and a packet to dom0 and back.
HONEST_WORK = """rm -f /run/stop /run/work
while ! [ -e /run/stop ]; do
    head -c 64k /dev/urandom > /run/data
    dd if=/run/data of=/root/data bs=64k oflag=direct,sync
    dd if=/root/data bs=64k iflag=direct | cmp - /run/data && ping -c 1 -W 5 10.77.0.1 >/dev/null &&
        echo same >> /run/work || echo different >> /run/work
    sleep 1
done >/dev/null 2>&1 &"""


def lines(device, text, words=""):
    return [f"{line.replace('|', '| ' + device)} {words}".rstrip()
             for line in text.strip().splitlines()]


def loop_disks(dom0, count):
    """New loop devices of 16 MiB each."""
    command = f"for i in $(seq {count}); do f=$(mktemp /root/hostile.XXXX) && truncate -s 16M $f " \
              "&& losetup -f --show $f && rm $f; done"
    return dom0.run(command, check=True).out.split()


def run_script(world, script, devices):
    """Boots the hostile guest with a script and judges its report."""
    dom0 = world.dom0
    other = world.guest()
    other.run(HONEST_WORK)
    dom0.put(image("hostile"), "/lab/hostile.elf")
    dom0.put("\n".join([*script, ""]).encode(), "/lab/hostile.script")
    config = ['name = "hostile"', 'type = "pv"', 'kernel = "/lab/hostile.elf"', "memory = 32",
              'ramdisk = "/lab/hostile.script"', "vcpus = 1", 'on_poweroff = "destroy"',
              'on_crash = "destroy"', *devices]
    dom0.put("\n".join([*config, ""]).encode(), "/root/hostile.cfg")
    console = dom0.spawn("exec xl create -c /root/hostile.cfg", pty=True)
    console.wait(SECONDS)
    # xl destroys it when it has ended, in the background.
    if dom0.run("for i in $(seq 50); do xl domid hostile >/dev/null 2>&1 || exit 0; sleep 1; done; "
                "xl destroy hostile; exit 1", timeout=150).rc:
        raise LabError(f"hostile is still there after {SECONDS} s\n{console.text()[-3000:]}")
    problem = tap.parse(console.text()).problem()
    assert problem is None, f"{problem}\n{console.text()[-6000:]}"
    done = other.run("touch /run/stop; sleep 3; cat /run/work; rm /root/data", timeout=60).out.split()
    assert len(done) > 3 and set(done) == {"same"}, done


def disk_list(disks):
    return "disk = [ " + ", ".join(f'"{disk}"' for disk in disks) + " ]"


@pytest.mark.allow_log(*BLKBACK_WARNS)
def test_blkback_meets_a_hostile_frontend(world, dom0):
    bad, good = loop_disks(dom0, 2)
    script = ["also vbd/51728"]
    for text in (DISK_KEYS, DISK_REQUESTS, DISK_STATES, BLKBACK_ONLY, LAST):
        script += lines("vbd/51712", text)
    try:
        run_script(world, script, [disk_list([f"phy:{bad},xvda,w", f"phy:{good},xvdb,w"])])
    finally:
        dom0.run(f"losetup -d {bad} {good}")


def test_qdisk_meets_a_hostile_frontend(world, dom0):
    dom0.run("truncate -s 16M /root/bad.img /root/good.img", check=True)
    script = ["also vbd/51728"]
    for text in (DISK_KEYS, DISK_REQUESTS, DISK_STATES, QDISK_ONLY, LAST):
        script += lines("vbd/51712", text)
    disks = [f"format=raw,vdev={vdev},access=rw,backendtype=qdisk,target=/root/{name}.img"
             for vdev, name in (("xvda", "bad"), ("xvdb", "good"))]
    run_script(world, script, [disk_list(disks)])


def test_netback_meets_a_hostile_frontend(world, dom0):
    fatal = NET_FATAL.strip().splitlines()
    script = ["also vif/0"]
    script += lines("vif/1", NET_KEYS, "expect=refused,dead impatient")
    script += lines("vif/1", NET_FRAMES)
    for number, line in enumerate(fatal):
        script += lines(f"vif/{2 + number}", line, "expect=dead impatient broken")
    script += lines(f"vif/{2 + len(fatal)}", NET_FLIP)
    dom0.put(NO_BRIDGE, "/lab/no-bridge")
    dom0.run("chmod +x /lab/no-bridge", check=True)
    where = ["bridge=xenbr0"] * 2 + ["script=/lab/no-bridge"] * len(fatal) + ["bridge=xenbr0"]
    vifs = ", ".join(f'"mac=00:16:3e:77:01:{number:02x},{bridge}"'
                     for number, bridge in enumerate(where))
    before = dom0.run("dmesg | grep -c 'fatal error; disabling device'").out
    run_script(world, script, [f"vif = [ {vifs} ]"])
    after = dom0.run("dmesg | grep -c 'fatal error; disabling device'").out
    assert int(after) - int(before) >= len(fatal)
