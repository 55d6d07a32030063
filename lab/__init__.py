# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The lab: a real Xen, a real dom0 and real guests in QEMU, and the scenarios run on them."""
