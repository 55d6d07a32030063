# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What a guest can do without: lab/small.cfg is a whole Debian in 47 MiB."""

import re

import pytest

from lab.record import RECORDER
from lab.steps import SOURCE

CONFIG = SOURCE / "lab/small.cfg"


@pytest.mark.limit(420)
def test_debian_in_47_mib(world, dom0):
    """systemd up to the log-in on hvc0, its services, the network and a file; nothing killed for it."""
    guest = world.make()
    guest.config = CONFIG
    guest.create().log_in(300)
    assert dom0.run("xl list xendemo", check=True).out.splitlines()[1].split()[2:4] == ["47", "1"]
    assert guest.run("cat /proc/1/comm").out.strip() == "systemd"
    guest.address()
    guest.run("head -c 16M /dev/urandom > /root/one && cp /root/one /root/two && sync && "
              "echo 3 > /proc/sys/vm/drop_caches && cmp /root/one /root/two && rm /root/one /root/two",
              timeout=120, check=True)
    meminfo = guest.run("cat /proc/meminfo", check=True).out
    total, free = [int(re.search(rf"{name}: +(\d+) kB", meminfo)[1])
                   for name in ("MemTotal", "MemAvailable")]
    RECORDER.note(f"of 47 MiB the kernel leaves {total} KiB, and {free} KiB of that are available")
    assert free >= 4 << 10, meminfo
    failed = guest.run("systemctl --failed --no-pager").out
    assert re.search(r"(?<!\d)0 loaded units", failed), failed
    log = guest.run("dmesg -t", check=True).out
    assert not re.search("Out of memory|oom|allocation failure", log), log
    # systemd-shutdown locks itself and its libraries, 12 MiB, into memory, which may not be there.
    guest.run("sync; echo u > /proc/sysrq-trigger; sleep 2; ! touch /root", check=True)
    guest.destroy()
