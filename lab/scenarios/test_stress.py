# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""stress-ng with --verify in the guest: memory management, scheduling, time and signals."""

import pytest

CLASSES = ["cpu", "vm", "fork", "mmap", "pipe", "sem", "switch", "clock", "timer", "signal",
           "futex", "msync", "fault"]
OPTIONS = {"vm": "--vm-bytes 48M", "mmap": "--mmap-bytes 32M", "msync": "--msync-bytes 16M",
           "cpu": "--cpu-method fibonacci"}


@pytest.mark.parametrize("name", CLASSES)
def test_stress(world, name):
    options = OPTIONS.get(name, "")
    result = world.guest().run(
        f"cd /root && stress-ng --{name} 2 {options} --verify --timeout 3s --oomable -v",
        timeout=120)
    assert result.rc == 0, result.out[-3000:]
    assert "fail:" not in result.out, result.out[-3000:]


@pytest.mark.limit(200)
def test_stress_together(world):
    """Several classes at once, so that they meet on the page tables and the run queues."""
    result = world.guest().run(
        "cd /root && stress-ng --fork 1 --vm 1 --vm-bytes 32M --mmap 1 --mmap-bytes 16M --switch 1 "
        "--timer 1 --fault 1 --verify --timeout 10s --oomable", timeout=150)
    assert result.rc == 0, result.out[-3000:]
