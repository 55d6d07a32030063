# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Ways into the guest's kernel and back, from programs in its user space (lab/programs)."""

import os

import pytest

from lab import programs, tap
from lab.load import SHARED


def enter(guest, name):
    guest.put(programs.build(name), f"/tmp/{name}")
    result = guest.run(f"/tmp/{name}", timeout=120)
    tap.keep(name, result.out)
    assert tap.parse(result.out).problem() is None, result.out
    assert result.rc == 0, result.out


@pytest.mark.advisory("XSA-171", "XSA-174", "XSA-274", "XSA-329")
@pytest.mark.allow_log(r"entry\[\d+\]|traps: entry|x86: Booted")
@pytest.mark.parametrize("name", ["entry", "entry32"])
def test_entry(world, name):
    """System calls, exceptions, failing returns, descriptor tables, ports; 64 and 32 bit."""
    enter(world.guest(), name)


@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes too long for every run: SOAK=1")
@pytest.mark.allow_log(r"entry\[\d+\]|traps: entry|x86: Booted")
@pytest.mark.parametrize("name", ["entry", "entry32"])
def test_entry_of_a_restored_guest(world, name):
    """The same when all entries were registered by another domain, and only saved."""
    guest = world.guest(**SHARED)
    guest.save("/root/saved")
    guest.restore("/root/saved")
    enter(guest, name)
