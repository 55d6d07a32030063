// SPDX-License-Identifier: GPL-2.0-only
/*
 * What programs have of Xen while the domain is suspended, and when it was restored.
 */
#include "../core/evtchn.h"
#include "programs.h"

DECLARE_RWSEM(xen_programs_running);

void xen_programs_suspend(void)
{
	down_write(&xen_programs_running);
	xen_areas_suspend();
}

void xen_programs_resume(bool restored)
{
	if (restored)
		xen_evtchn_restored();
	up_write(&xen_programs_running);
}
