/* SPDX-License-Identifier: GPL-2.0-only */
/* arch/x86/kernel/pci-dma.c includes this; a guest without PCI has no DMA to bounce. */
#include <linux/swiotlb.h>
