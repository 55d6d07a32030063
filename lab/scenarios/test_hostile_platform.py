# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Published problems of the platform's part of a guest that need a running one to be seen.

Those of the kernel's entries are in test_entry.py, those of the image in test_image.py.
"""

import pytest

pytestmark = pytest.mark.hostile

SWAP = """cd /root && dd if=/dev/zero of=swap bs=1M count=192 status=none && chmod 600 swap &&
    mkswap -q swap && swapon swap && stress-ng --vm 1 --vm-bytes 150M --vm-method write64 \
    --vm-keep --verify --timeout 5s --oomable; r=$?
    grep -E '^pswp(in|out) ' /proc/vmstat; swapoff swap; rm swap; exit $r"""


@pytest.mark.advisory("XSA-273")
@pytest.mark.limit(240)
def test_swapped_out_pages_do_not_name_memory(world, dom0):
    """Xen, told to mistrust it, ends a guest that writes a not-present entry with an address in it.

    Swap entries, protections without access, and migration entries are such entries.
    """
    if "pv-l1tf" not in dom0.run("xl info xen_commandline", check=True).out:
        pytest.skip("this host's Xen does not check not-present entries (pv-l1tf=domu)")
    guest = world.boot(memory=128, vcpus=1)
    result = guest.run(SWAP, timeout=200)
    assert result.rc == 0, result.out
    counts = dict(line.split() for line in result.out.splitlines() if line.startswith("pswp"))
    assert int(counts["pswpout"]) > 1000 and int(counts["pswpin"]) > 100, counts


@pytest.mark.advisory("XSA-482", "XSA-487")
def test_root_has_no_way_to_make_hypercalls(world):
    """No privcmd: not as a device, not in xenfs, not as a module or a symbol."""
    guest = world.guest()
    out = guest.run("find /dev /proc/xen /lib/modules /sys -iname '*privcmd*' 2>/dev/null; "
                    "grep -i privcmd /proc/kallsyms /proc/misc; true").out
    assert not out.strip(), out


NOISE = ("(dmesg -n 8; while [ -e /tmp/noise ]; do echo '<3>noise noise noise' > /dev/kmsg; "
         "sleep 0.02; done) "
         ">/dev/null 2>&1 </dev/null & sleep 0.2")


@pytest.mark.advisory("XSA-441")
def test_devices_leave_while_the_console_is_busy(world, dom0):
    """Ports are closed while every line that the kernel logs makes and takes console events."""
    guest = world.guest(vcpus=2)
    dom0.run("truncate -s 8M /lab/noise.img", check=True)
    guest.send(f"touch /tmp/noise; {NOISE}\n")
    guest.expect("noise noise noise", 30)
    for _ in range(2):
        dom0.run("xl block-attach xendemo file:/lab/noise.img xvdp w", timeout=60, check=True)
        dom0.run("xl block-detach xendemo xvdp", timeout=60, check=True)
    guest.send("\nrm /tmp/noise; sleep 1; dmesg -n 5; echo @@'quiet'@@\n")
    guest.expect("@@quiet@@\r?\n", 60)
    assert guest.run("ls /sys/bus/xen/devices").out.split().count("vbd-51952") == 0
    dom0.run("rm /lab/noise.img")
