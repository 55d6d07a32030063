# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Runs in dom0: holds on to an event port, or to a page that a guest has granted, until killed.

hold.py port DOMID | hold.py grant DOMID REFERENCE (Linux's xen/evtchn.h and xen/gntdev.h)
"""

import fcntl
import mmap
import os
import struct
import sys
import time

BIND_UNBOUND_PORT = 0x00044502  # _IOC(_IOC_NONE, 'E', 2, 4)
MAP_GRANT_REF = 0x00184700      # _IOC(_IOC_NONE, 'G', 0, 24)


def main(kind, domid, reference="0"):
    if kind == "port":
        held = os.open("/dev/xen/evtchn", os.O_RDWR)
        fcntl.ioctl(held, BIND_UNBOUND_PORT, struct.pack("I", int(domid)))
    else:
        device = os.open("/dev/xen/gntdev", os.O_RDWR)
        request = bytearray(struct.pack("IIQII", 1, 0, 0, int(domid), int(reference)))
        fcntl.ioctl(device, MAP_GRANT_REF, request)
        held = mmap.mmap(device, 4096, offset=struct.unpack_from("Q", request, 8)[0])
    print("held", flush=True)
    time.sleep(600)
    return held


if __name__ == "__main__":
    main(*sys.argv[1:])
