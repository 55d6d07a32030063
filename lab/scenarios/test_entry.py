# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Ways into the guest's kernel and back, from programs in its user space (lab/programs)."""

import pytest

from lab import programs, tap


@pytest.mark.advisory("XSA-171", "XSA-174", "XSA-274", "XSA-329")
@pytest.mark.allow_log(r"entry\[\d+\]|traps: entry|x86: Booted")
@pytest.mark.parametrize("name", ["entry", "entry32"])
def test_entry(world, name):
    """System calls, exceptions, failing returns, descriptor tables, ports; 64 and 32 bit."""
    guest = world.guest()
    guest.put(programs.build(name), f"/tmp/{name}")
    result = guest.run(f"/tmp/{name}", timeout=120)
    tap.keep(name, result.out)
    assert tap.parse(result.out).problem() is None, result.out
    assert result.rc == 0, result.out
