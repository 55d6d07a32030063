# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What the guest's kernel is made of: nothing of upstream's Xen code."""

import os
import re
import subprocess

import pytest

from lab.steps import BUILD, SOURCE

GONE = ["arch/x86/xen/enlighten.c", "arch/x86/xen/mmu_pv.c", "drivers/xen/grant-table.c",
        "drivers/xen/events/events_base.c", "drivers/block/xen-blkfront.c",
        "drivers/net/xen-netfront.c", "drivers/tty/hvc/hvc_xen.c"]
# Functions of upstream's files that neither Linux's core nor our port has a reason to name.
UPSTREAM = """xen_pgd_pin xen_pgd_walk xen_pin_page xen_mc_flush xen_setup_kernel_pagetable
    xen_convert_regions xen_evtchn_do_upcall evtchn_2l_handle_events evtchn_fifo_handle_events
    bind_evtchn_to_irqhandler gnttab_grant_foreign_access gnttab_end_foreign_access
    xenbus_probe_node xenbus_dev_changed xenbus_printf xenbus_scanf xs_watch_msg process_msg
    blkfront_probe blkif_queue_rq blkif_interrupt blkfront_setup_indirect xennet_start_xmit
    xennet_poll xennet_connect domU_write_console xencons_probe xen_hvc_init
    xen_boot_params_init_edd xen_patch_pv xen_swiotlb_fixup balloon_process""".split()

pytestmark = pytest.mark.skipif(bool(os.environ.get("GUEST")), reason="GUEST= is not our kernel")


def test_upstream_sources_are_not_in_the_tree():
    assert not [path for path in GONE if (BUILD / "linux" / path).exists()]


def test_upstream_symbols_are_not_in_the_image():
    lines = (BUILD / "kernel/System.map").read_text().splitlines()
    names = {line.split()[2].split(".")[0] for line in lines}
    assert "start_kernel" in names
    assert not names & set(UPSTREAM)


def test_image_check():
    """The build's own check of objects, symbols and ELF notes."""
    result = subprocess.run([SOURCE / "arch-xen/check-image.sh", BUILD / "kernel/vmlinux"],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.advisory("XSA-466")
def test_the_hypercall_page_is_not_used():
    """Xen is not asked for one, by the ELF note of type 2, and no symbol is left of one."""
    image = BUILD / "kernel/vmlinux"
    notes = subprocess.run(["readelf", "-nW", image], capture_output=True, text=True, check=True)
    xen = [line for line in notes.stdout.splitlines() if line.split()[:1] == ["Xen"]]
    # readelf has a name of its own for type 2.
    assert len(xen) >= 10 and not [line for line in xen if "NT_ARCH" in line]
    assert "hypercall_page" not in (BUILD / "kernel/System.map").read_text()


def test_parameters_are_documented():
    """What modinfo says of the block frontend, by the name of upstream's."""
    words = (BUILD / "kernel/modules.builtin.modinfo").read_bytes().decode().split("\0")
    pattern = r"(xen_blkfront)\.(parm|parmtype)=(\w+):(.+)"
    found = [match.groups() for word in words if (match := re.fullmatch(pattern, word, re.S))]
    declared = {(module, name) for module, what, name, _ in found if what == "parmtype"}
    described = {(module, name) for module, what, name, _ in found if what == "parm"}
    assert ("xen_blkfront", "trusted") in declared
    assert not declared - described
