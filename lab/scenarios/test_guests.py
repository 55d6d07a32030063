# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The test guests of test-guests/: as the first domain under Xen, and through xl.

Each prints TAP. A guest that stops before it has reported all that it planned has failed.
"""

import subprocess
import time

import pytest

from lab import tap
from lab.logs import find_complaints
from lab.qemu import XEN_OPTIONS, Qemu, xen_image
from lab.steps import BUILD, SOURCE, LabError

# Guests that need devices and a script have scenarios of their own.
SCRIPTED = {"hostile"}
NAMES = sorted({path.parent.name for path in (SOURCE / "test-guests").glob("*/main.cc")} - SCRIPTED)
SECONDS = 60


def image(name):
    subprocess.run(["make", "-s", "-C", SOURCE / "test-guests"], check=True, capture_output=True)
    return BUILD / "test-guests" / f"{name}.elf"


def judge(name, text):
    tap.keep(name, text)
    problem = tap.parse(text).problem()
    assert problem is None, f"{problem}\n{text[-3000:]}"


@pytest.mark.lab_only
@pytest.mark.limit(120)
@pytest.mark.parametrize("name", NAMES)
def test_first_domain(name):
    """Without a dom0: Xen starts it, and its console is Xen's."""
    qemu = Qemu(f"guest-{name}", ["-kernel", xen_image(), "-initrd", image(name), "-append",
                                  XEN_OPTIONS.replace("dom0_mem=1024M", "dom0_mem=64M")],
                memory=512, agent=False)
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and qemu.process.poll() is None:
            time.sleep(0.2)
            if tap.parse(qemu.serial.read_text(errors="replace")).complete():
                qemu.wait(5)
                break
        text = qemu.serial.read_text(errors="replace")
        judge(f"{name}-first", text)
        assert not find_complaints(text)
    finally:
        qemu.kill()


@pytest.mark.limit(120)
@pytest.mark.parametrize("name", NAMES)
def test_through_xl(world, dom0, name):
    dom0.put(image(name), f"/lab/{name}.elf")
    config = [f'name = "{name}"', 'type = "pv"', f'kernel = "/lab/{name}.elf"', "memory = 32",
              "vcpus = 1", 'on_poweroff = "destroy"', 'on_crash = "destroy"']
    dom0.put(dom0.adapt("\n".join([*config, ""])).encode(), f"/lab/{name}.cfg")
    console = dom0.spawn(f"exec xl create -c /lab/{name}.cfg", pty=True)
    if console.wait(SECONDS) is None:
        dom0.run(f"xl destroy {name}")
        raise LabError(f"{name} did not end in {SECONDS} s\n{console.text()[-2000:]}")
    judge(name, console.text())
    assert not tap.parse(console.text()).skipped
    assert "reason code 0" in dom0.run(f"cat /var/log/xen/xl-{name}.log").out
