# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""fio writes and verifies in the guest: all it can vary, over what backends and frontend agree on.

A row is what a disk is agreed on, and loads that fio has it one after the other. Every two values meet
in one row at least; with SOAK=1 every agreement there can be, and more in flight. SEED= repeats the loads'
order and content.
"""

import itertools
import os

import pytest

from lab.disks import Disk, guest_with_qemu, parameters
from lab.pairwise import pairwise

SOAK = bool(os.environ.get("SOAK"))
NAME = "xvdp"
MIB = 48
# fio's buffers of all jobs have to fit into the guest.
MEMORY, BUFFERS = (1024, 600 << 20) if SOAK else (256, 64 << 20)

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(600 if SOAK else 300)]

LOADS = {"rw": ["write", "randwrite", "randrw"],
         "bs": [4096, 16384, 65536, 262144, 1048576],
         "iodepth": [1, 8, 32, 128],
         "numjobs": [1, 4],
         "how": ["buffered", "direct", "polled"]}
HOW = {"buffered": "ioengine=io_uring direct=0 end_fsync=1", "direct": "ioengine=libaio direct=1",
       "polled": "ioengine=io_uring direct=1 hipri=1"}
DISK = {"512": {}, "4096": {"sector": 4096}, "qdisk": {"backend": "qdisk"}}
# Parameters of xen_blkback and of xen_blkfront.
BACK = {"all": {}, "little": {"max_queues": 1, "max_persistent_grants": 24}}
FRONT = {"all": {}, "least": {"max_queues": 1, "max_ring_page_order": 0, "max_indirect_segments": 0},
         "polled": {"poll_queues": 1, "max_ring_page_order": 4, "feature_persistent": "N"}}
if SOAK:
    WISHES = {"max_queues": [1, 2], "poll_queues": [0, 1], "max_ring_page_order": [0, 4],
              "max_indirect_segments": [0, 32, 512], "feature_persistent": "NY", "trusted": "NY"}
    # The last queue is never polled, and persistent grants are of pages that the backend may keep anyway.
    FRONT = {"".join(map(str, values)): wishes for values in itertools.product(*WISHES.values())
             if (wishes := dict(zip(WISHES, values)))["poll_queues"] < wishes["max_queues"]
             and (wishes["feature_persistent"], wishes["trusted"]) != ("Y", "N")}
AGREED = {"disk": list(DISK), "backend": list(BACK), "front": list(FRONT)}


def fits(row):
    return row["iodepth"] * row["numjobs"] * row["bs"] <= BUFFERS


def polls(row):
    return FRONT[row["front"]].get("poll_queues", 0) > 0


def agreements():
    """With its loads, each: all there are, or those in which every two values meet."""
    def possible(row):  # qdisk is not the kernel's backend, and has one queue, as "little" has
        wishes, qdisk = FRONT[row["front"]], row["disk"] == "qdisk"
        return not (qdisk and (row["backend"] != "all" or polls(row))) and \
            not ((qdisk or row["backend"] == "little") and wishes.get("max_queues") == 2)

    rows = [row for values in itertools.product(*AGREED.values())
            if possible(row := dict(zip(AGREED, values)))] if SOAK else pairwise(AGREED, possible)
    loads = pairwise(LOADS, fits)
    groups = min(len(rows), 6)
    for at, row in enumerate(rows):
        yield pytest.param(row, loads[at % groups::groups],
                           id="-".join(str(value) for value in row.values()))


def job_file(loads, device, seed, polled):
    """fio's description of loads that follow each other; requests of up to `polled` bytes may be polled.
    Linux 6.1 submits one that is larger than the disk takes at once again and again, for ever."""
    lines = ["[global]", f"filename={device}", f"randseed={seed}", "verify=crc32c", "verify_fatal=1",
             "do_verify=1", "exitall_on_error=1", "group_reporting=1", "stonewall=1", "thread=1"]
    for at, load in enumerate(loads):
        size = min(max(1 << 20, load["bs"] * 8), (MIB << 20) // 4)
        lines += [f"[load{at}]", *(f"{key}={load[key]}" for key in ("rw", "bs", "iodepth", "numjobs")),
                  *HOW[load["how"]].replace("hipri=1", f"hipri={int(load['bs'] <= polled)}").split(),
                  f"size={size}", f"offset_increment={size}"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("agreed, loads", agreements())
def test_fio_verifies(world, dom0, seed, agreed, loads):
    guest = guest_with_qemu(world, **({"memory": MEMORY} if SOAK else {}))
    with parameters(dom0, "xen_blkback", BACK[agreed["backend"]]), \
            parameters(guest, "xen_blkfront", FRONT[agreed["front"]]):
        disk = Disk(guest, NAME, MIB, **DISK[agreed["disk"]]).attach()
        most = int(guest.run(f"cat /sys/block/{NAME}/queue/max_sectors_kb", check=True).out) << 10
        text = job_file(loads, disk.device, seed, most if polls(agreed) else 0)
        guest.run(f"cat > /tmp/loads <<'EOF'\n{text}EOF", check=True)
        result = guest.run("fio --output-format=terse /tmp/loads", timeout=500 if SOAK else 200)
        assert result.rc == 0, f"{text}\n{result.out[-3000:]}"
        done = [line for line in result.out.splitlines() if line.startswith("3;")]
        assert len(done) == len(loads), result.out[-3000:]
        disk.detach()
    disk.remove()
