# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Ways into the guest's kernel and back, from programs in its user space (lab/programs)."""

import subprocess

import pytest

from lab import tap
from lab.steps import BUILD, SOURCE

FLAGS = {
    "entry": ["-O1"],
    "entry32": ["-O1", "-m32", "-ffreestanding", "-fno-exceptions", "-fno-pic",
                "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-nostdlib", "-static"],
}


def build(name):
    program = BUILD / "programs" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["g++", "-std=c++20", "-Wall", "-Wextra", *FLAGS[name], "-o", program,
                    SOURCE / f"lab/programs/{name}.cc"], check=True)
    return program


@pytest.mark.advisory("XSA-171", "XSA-174", "XSA-274", "XSA-329")
@pytest.mark.allow_log(r"entry\[\d+\]|traps: entry|x86: Booted")
@pytest.mark.parametrize("name", FLAGS)
def test_entry(world, dom0, name):
    """System calls, exceptions, failing returns, descriptor tables, ports; 64 and 32 bit."""
    guest = world.guest()
    guest.address()
    dom0.put(build(name), f"/lab/{name}")
    dom0.run(f"(timeout 60 nc -N -l -p 5002 < /lab/{name}) >/dev/null 2>&1 </dev/null & sleep 0.5")
    guest.run(f"nc -w 30 {dom0.address()} 5002 > /tmp/{name} </dev/null && chmod +x /tmp/{name}",
              timeout=60, check=True)
    result = guest.run(f"/tmp/{name}", timeout=120)
    tap.keep(name, result.out)
    assert tap.parse(result.out).problem() is None, result.out
    assert result.rc == 0, result.out
