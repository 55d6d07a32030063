# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Numbers of processors and sizes of memory, odd ones too: all of it is there and works."""

import re

import pytest

# A shell as init shows the sizes without a minute of services; the two ends run everything.
SIZES = [(1, 128, True), (4, 2048, True), (2, 256, True), (1, 131, False), (2, 257, False),
         (4, 1023, False)]


@pytest.mark.parametrize("vcpus,memory,services", SIZES,
                         ids=[f"{vcpus}vcpu-{memory}MiB" for vcpus, memory, _ in SIZES])
def test_size(world, dom0, vcpus, memory, services):
    if services:
        guest = world.guest() if (vcpus, memory) == (2, 256) else \
            world.boot(vcpus=vcpus, memory=memory)
    else:
        guest = world.make(vcpus=vcpus, memory=memory, extra="init=/bin/bash")
        guest.create()
        guest.expect(r"# $", 180)
        guest.start_shell()
        guest.run("mount -t proc proc /proc", check=True)
    assert int(guest.run("nproc").out) == vcpus
    total = int(re.search(r"MemTotal: +(\d+)", guest.run("cat /proc/meminfo").out).group(1)) >> 10
    assert memory - 56 - memory // 16 <= total <= memory
    fill_memory(guest)
    # Each processor takes work and interrupts of its own.
    for cpu in range(vcpus):
        out = guest.run(f"taskset -c {cpu} sh -c 'cut -d\" \" -f39 /proc/self/stat; sleep 0.1'").out
        assert int(out) == cpu
    assert dom0.run("xl list xendemo").out.splitlines()[1].split()[2:4] == [str(memory), str(vcpus)]
    if not services:
        guest.run("mount -o remount,ro /", check=True)
        guest.destroy()


def fill_memory(guest):
    """Fills most of what is free with copies of 8 MiB and compares them: each page has a frame."""
    free = int(re.search(r"MemAvailable: +(\d+)", guest.run("cat /proc/meminfo").out).group(1))
    copies = min(free * 7 // 10, 400 << 10) // (8 << 10) - 1
    assert copies > 1
    guest.run("mount -t tmpfs -o size=95% fill /mnt && cd /mnt && head -c 8M /dev/urandom > one && "
              f"for i in $(seq {copies}); do cp one copy$i || exit 1; done && "
              f"for i in $(seq {copies}); do cmp one copy$i || exit 1; done && cd / && umount /mnt",
              timeout=120, check=True)
