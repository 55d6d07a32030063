/* SPDX-License-Identifier: GPL-2.0-only */
/* What kind of Xen domain this is, as far as Linux's own code asks. */
#ifndef PROXENOS_XEN_XEN_H
#define PROXENOS_XEN_XEN_H

#include <linux/types.h>

enum xen_domain_type {
	XEN_NATIVE,
	XEN_PV_DOMAIN,
	XEN_HVM_DOMAIN,
};

#ifdef CONFIG_XEN
extern enum xen_domain_type xen_domain_type;
#else
#define xen_domain_type XEN_NATIVE
#endif

#define xen_domain() (xen_domain_type != XEN_NATIVE)
#define xen_pv_domain() (xen_domain_type == XEN_PV_DOMAIN)
#define xen_initial_domain() 0

struct bio_vec;
struct page;

/* May a bio's vector be extended by this page: are their machine frames adjacent? */
bool xen_biovec_phys_mergeable(const struct bio_vec *vec, const struct page *page);

#endif
