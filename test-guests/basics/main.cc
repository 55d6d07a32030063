// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Every part of hypercall/ once against a real Xen: hypercalls, memory, events, time, grants, the
// console, and xenstore where there is one.
#include <xen/hypercall.hpp>
#include <xen/port.h>

#include "basics.hpp"
#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

const Test tests[] = {
    {"Xen tells its version", version},
    {"Xen tells its features", features},
    {"an unknown hypercall is refused", unknown_hypercall},
    {"four arguments of a hypercall arrive", four_arguments},
    {"pages are zeroed, distinct, and known to Xen as ours", memory},
    {"an IPI arrives", event_ipi},
    {"two connected ports reach each other", event_pair},
    {"a masked event waits", event_masked},
    {"events while one is pending merge", event_merged},
    {"a closed port is silent", event_closed},
    {"a handler may close its own port and another one", event_closed_by_handler},
    {"events for nothing are slowed down, others are not", event_storm},
    {"time advances and never goes back", time_advances},
    {"the timer fires, not early", timer},
    {"an unused grant ends at once", grant_ends},
    {"a mapped grant is busy until unmapped", grant_mapped},
    {"a read-only grant cannot be mapped writable", grant_read_only},
    {"a page that a peer holds is quarantined, then reclaimed", grant_quarantine},
    {"a pool reserves all or nothing", grant_pool},
    {"grant copy reports each operation", grant_copy},
    {"a line longer than the console ring gets through", console_long_line},
    {"xenstore: own directory", store_own_directory},
    {"xenstore: a key is written, read, removed", store_keys},
    {"xenstore: errors come back", store_errors},
    {"xenstore: children are listed", store_list},
    {"xenstore: many requests wrap the ring", store_ring_wraps},
    {"xenstore: a transaction commits whole or not at all", store_transaction},
    {"xenstore: a conflicting transaction has to be repeated", store_conflict},
    {"xenstore: a watch fires until removed", store_watch},
    {},
};

void version()
{
    uint64_t version = NEED(hypercall(abi::hypercall_version, abi::xenver_version, nullptr));
    CHECK(version >> 16 == 4);
}

void features()
{
    abi::FeatureInfo info{0, 0};
    NEED(hypercall(abi::hypercall_version, abi::xenver_get_features, &info));
    CHECK(!(info.submap & 1u << abi::feature_auto_translated_physmap));
    CHECK(info.submap & 1u << abi::feature_mmu_pt_update_preserve_ad);
}

void unknown_hypercall()
{
    CHECK_ERROR(hypercall(static_cast<abi::Hypercall>(63)), Error::not_implemented);
    CHECK_ERROR(hypercall(abi::hypercall_sched_op, 99, nullptr), Error::not_implemented);
}

void four_arguments()
{
    void *page = xen_port_page_alloc();
    CHECK(page);
    // Tells Xen which of our frames this one is: what it knows already.
    uint64_t mfn = xen_port_frame(page);
    uint64_t pfn = guest::machine_to_phys(mfn);
    abi::MmuUpdate update{mfn << page_shift | abi::mmu_machphys_update, pfn};
    uint32_t done = 0;
    NEED(hypercall(abi::hypercall_mmu_update, &update, 1, &done, domid_self.value));
    CHECK(done == 1);
    CHECK(guest::machine_to_phys(mfn) == pfn);
    constexpr Error no_such_domain{3};
    constexpr uint16_t nobody = 0x7fef; // the highest that a domain can have
    CHECK_ERROR(hypercall(abi::hypercall_mmu_update, &update, 1, &done, nobody), no_such_domain);
    xen_port_page_free(page);
}

void memory()
{
    constexpr unsigned count = 8;
    uint8_t *pages[count];
    for (unsigned i = 0; i < count; ++i) {
        pages[i] = static_cast<uint8_t *>(xen_port_page_alloc());
        CHECK(pages[i]);
        for (unsigned byte = 0; byte < page_size; ++byte)
            CHECK(pages[i][byte] == 0);
        pages[i][i] = 1;
        CHECK(guest::frame_to_virt(xen_port_frame(pages[i])) == pages[i]);
        for (unsigned j = 0; j < i; ++j)
            CHECK(pages[i] != pages[j] && xen_port_frame(pages[i]) != xen_port_frame(pages[j]));
    }
    // The same frame at a second address.
    auto *alias = static_cast<uint8_t *>(guest::window());
    CHECK(alias);
    NEED(guest::map_frame(alias, xen_port_frame(pages[3])));
    CHECK(alias[3] == 1);
    alias[4095] = 2;
    CHECK(pages[3][4095] == 2);
    for (uint8_t *page : pages)
        xen_port_page_free(page);
}
