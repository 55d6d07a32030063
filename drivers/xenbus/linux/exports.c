// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a driver needs that is built as a module: of the port, of the bus, and of the C++ library
 * below hypercall/, whose functions have no other names here than their mangled ones. A name that is
 * gone does not link; one that a module lacks fails its build.
 */
#include <linux/export.h>
#include <asm/xen/arch.h>
#include <xen/port.h>
#include "xenbus.h"

EXPORT_SYMBOL_GPL(xen_pfn_to_frame);

EXPORT_SYMBOL_GPL(xen_port_pages_alloc);
EXPORT_SYMBOL_GPL(xen_port_page_free);
EXPORT_SYMBOL_GPL(xen_port_frame);
EXPORT_SYMBOL_GPL(xen_port_now);
EXPORT_SYMBOL_GPL(xen_port_irq_save);
EXPORT_SYMBOL_GPL(xen_port_irq_restore);

EXPORT_SYMBOL_GPL(xenbus_driver_register);
EXPORT_SYMBOL_GPL(xenbus_driver_unregister);

#define EXPORT_CXX(name)                                                                          \
	extern void name(void);                                                                   \
	EXPORT_SYMBOL_GPL(name)

EXPORT_CXX(_ZN3xen12EventChannel5closeEv);
EXPORT_CXX(_ZN3xen12EventChannel6listenENS_6NumberINS_8DomIdTagEtEEPFvPvES4_);
EXPORT_CXX(_ZN3xen13EventThrottle4doneENS_6NumberINS_12EventPortTagEjEEjm);
EXPORT_CXX(_ZN3xen5GrantC1EOS0_);
EXPORT_CXX(_ZN3xen5Grant12end_and_freeEPv);
EXPORT_CXX(_ZN3xen5Grant4giveENS_6NumberINS_8DomIdTagEtEEPKvNS_11GrantAccessE);
EXPORT_CXX(_ZN3xen5GrantaSEOS0_);
EXPORT_CXX(_ZN3xen5GrantD1Ev);
EXPORT_CXX(_ZN3xen9GrantPool3endENS_6NumberINS_11GrantRefTagEjEE);
EXPORT_CXX(_ZN3xen9GrantPool4giveENS_6NumberINS_8DomIdTagEtEEmNS_11GrantAccessE);
EXPORT_CXX(_ZN3xen9GrantPool10quarantineENS_6NumberINS_11GrantRefTagEjEEPv);
EXPORT_CXX(_ZN3xen9GrantPool7releaseEv);
EXPORT_CXX(_ZN3xen9GrantPool7reserveEj);
EXPORT_CXX(_ZN3xen11TextBuilder6numberEm);
EXPORT_CXX(_ZN3xen11TextBuilder4textEPKcm);
EXPORT_CXX(_ZN3xen11TextBuilder9untrustedEPKcm);
EXPORT_CXX(_ZN3xen11free_grantsEv);
EXPORT_CXX(_ZN3xen12domain_livesEv);
EXPORT_CXX(_ZN3xen9join_pathEPKcS1_);
EXPORT_CXX(_ZN3xen9log_errorERKNS_11TextBuilderE);
EXPORT_CXX(_ZN3xen8log_infoERKNS_11TextBuilderE);
EXPORT_CXX(_ZN3xen11log_warningERKNS_11TextBuilderE);
EXPORT_CXX(_ZN3xen6notifyENS_6NumberINS_12EventPortTagEjEE);
EXPORT_CXX(_ZN3xen10read_stateEPKc);
EXPORT_CXX(_ZN3xen10text_equalEPKcS1_);
EXPORT_CXX(_ZN3xen11text_lengthEPKcm);
EXPORT_CXX(_ZN3xen11write_stateEPKcNS_11XenbusStateE);
EXPORT_CXX(_ZN3xen8xenstore5abortENS_11TransactionE);
EXPORT_CXX(_ZN3xen8xenstore5beginEv);
EXPORT_CXX(_ZN3xen8xenstore6commitENS_11TransactionE);
EXPORT_CXX(_ZN3xen8xenstore4listENS_11TransactionEPKcPFvPvS3_ES4_);
EXPORT_CXX(_ZN3xen8xenstore4readENS_11TransactionEPKcS3_);
EXPORT_CXX(_ZN3xen8xenstore11read_numberENS_11TransactionEPKcS3_);
EXPORT_CXX(_ZN3xen8xenstore6removeENS_11TransactionEPKcS3_);
EXPORT_CXX(_ZN3xen8xenstore5writeENS_11TransactionEPKcS3_S3_);
EXPORT_CXX(_ZN3xen8xenstore12write_numberENS_11TransactionEPKcS3_m);
