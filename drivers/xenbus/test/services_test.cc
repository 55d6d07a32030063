// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What all devices share is started, or says why not.
#include "fake_kernel.hpp"

#include <cerrno>

#include <xen/abi.hpp>
#include <xen/event.hpp>
#include <xen/grant.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

namespace {

class Services : public BusTest {
protected:
    // Gives a page to a peer, who may write to it; returns the entry that says so.
    xen::abi::GrantEntryV1 granted(const void *page)
    {
        const auto grant =
            xen::Grant::give(xen::DomId{7}, page, xen::GrantAccess::read_write).take();
        return table_[grant.ref().value];
    }

    std::vector<xen::abi::GrantEntryV1> table_ =
        std::vector<xen::abi::GrantEntryV1>(4 * xen::abi::grants_per_frame);
};

TEST_F(Services, GrantsAreInTheFramesThatXenNamed)
{
    kernel_.grant_table = table_.data();
    ASSERT_EQ(xenbus_core_start_grants(), 0);
    ASSERT_EQ(kernel_.mapped.size(), 4u); // what the machine has, and not the 32 asked for
    for (unsigned i = 1; i < 4; ++i)
        EXPECT_EQ(kernel_.mapped[i], kernel_.mapped[0] + i);
    void *page = xen_port_page_alloc();
    const auto entry = granted(page);
    EXPECT_EQ(entry.flags, xen::abi::gtf_permit_access);
    EXPECT_EQ(entry.domid, 7);
    EXPECT_EQ(entry.frame, xen_port_frame(page));
    xen_port_page_free(page);
}

TEST_F(Services, GrantsAreNotMappedWhileSuspended)
{
    kernel_.grant_table = table_.data();
    ASSERT_EQ(xenbus_core_start_grants(), 0);
    xenbus_core_suspend_shared();
    EXPECT_TRUE(kernel_.mapped.empty());
    ASSERT_EQ(xenbus_core_resume_shared(false), 0);
    EXPECT_EQ(kernel_.mapped.size(), 4u);
}

// A port's number is another's in a restored domain, before any driver knows.
TEST_F(Services, PortsOfARestoredDomainAreNotClosed)
{
    kernel_.grant_table = table_.data();
    ASSERT_EQ(xenbus_core_start_grants(), 0);
    unsigned closed = 0;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *arguments) {
        closed += number == xen::abi::hypercall_event_channel_op &&
                  *arguments == xen::abi::evtchnop_close;
        return std::optional<long>();
    });
    for (const bool restored : {false, true}) {
        xen::EventChannel channel;
        ASSERT_TRUE(channel
                        .listen(
                            xen::DomId{7}, [](void *) {}, nullptr)
                        .ok());
        const uint32_t port = channel.port().value;
        xenbus_core_suspend_shared();
        ASSERT_EQ(xenbus_core_resume_shared(restored), 0);
        channel.close();
        EXPECT_EQ(closed, 1u);
        if (restored)
            xen_port_event_unbind(port);
    }
    sim::filter_hypercalls({});
}

// The new host allows fewer frames: the domain goes on if they hold all that is in use, which a
// table that lacks a part would have nowhere.
TEST_F(Services, GrantsOfARestoredDomainNeedRoomForThoseInUse)
{
    kernel_.grant_table = table_.data();
    ASSERT_EQ(xenbus_core_start_grants(), 0);
    unsigned frames = 3;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *arguments) {
        const bool is_it = number == xen::abi::hypercall_grant_table_op &&
                           *arguments == xen::abi::gnttabop_query_size;
        if (!is_it)
            return std::optional<long>();
        auto *query = reinterpret_cast<xen::abi::GnttabQuerySize *>(arguments[1]);
        query->max_nr_frames = frames;
        query->status = 0;
        return std::optional<long>(0);
    });
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(xen::abi::grants_per_frame).ok());
    xenbus_core_suspend_shared();
    EXPECT_EQ(xenbus_core_resume_shared(true), 0);
    EXPECT_EQ(kernel_.mapped.size(), 3u);
    EXPECT_EQ(xen::free_grants(),
              2 * xen::abi::grants_per_frame - xen::abi::grant_reserved_entries);
    frames = 4; // what is gone does not come back
    xenbus_core_suspend_shared();
    EXPECT_EQ(xenbus_core_resume_shared(true), 0);
    EXPECT_EQ(kernel_.mapped.size(), 3u);
    frames = 1;
    xenbus_core_suspend_shared();
    EXPECT_EQ(xenbus_core_resume_shared(true), -ENOSPC);
    sim::filter_hypercalls({});
}

TEST_F(Services, GrantsNeedAMapping) { EXPECT_EQ(xenbus_core_start_grants(), -ENOMEM); }

TEST_F(Services, GrantsThatXenRefusesAreNotMapped)
{
    kernel_.grant_table = table_.data();
    for (const unsigned refused : {xen::abi::gnttabop_query_size, xen::abi::gnttabop_setup_table}) {
        sim::filter_hypercalls([&](unsigned number, const unsigned long *arguments) {
            const bool is_it =
                number == xen::abi::hypercall_grant_table_op && *arguments == refused;
            return is_it ? std::optional<long>(-EPERM) : std::nullopt;
        });
        EXPECT_EQ(xenbus_core_start_grants(), -EPERM) << refused;
        EXPECT_TRUE(kernel_.mapped.empty());
    }
}

TEST_F(Services, GrantsThatAPeerHeldOnToAreReclaimed)
{
    auto *page = static_cast<uint8_t *>(xen_port_page_alloc());
    auto grant = xen::Grant::give(xen::DomId{0}, page, xen::GrantAccess::read_write).take();
    sim::Peer peer;
    uint8_t *view = peer.map(grant.ref().value);
    grant.end_and_free(page);
    xenbus_core_reclaim_grants();
    EXPECT_EQ(sim::pages_in_use(), 1u);
    peer.unmap(view);
    xenbus_core_reclaim_grants();
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

TEST_F(Services, StoreStartsOnItsPortAlone)
{
    xen::xenstore::stop();
    EXPECT_LT(xenbus_core_start_store(sim::store::ring_page(), 999), 0);
    EXPECT_FALSE(xen::xenstore::read({}, "/", "").ok());
    ASSERT_EQ(xenbus_core_start_store(sim::store::ring_page(), 3), 0); // the machine's first
    EXPECT_TRUE(xen::xenstore::read({}, "/", "").ok());
}

TEST_F(Services, StoreRoundsDeliverWatchEvents)
{
    start();
    kernel_.scan_kicked = false;
    plug("vbd", "51713");
    sim::step();
    EXPECT_FALSE(kernel_.scan_kicked);
    for (unsigned round = 0; round < 10 && !kernel_.scan_kicked; ++round) {
        sim::step();
        xenbus_core_store_round();
    }
    EXPECT_TRUE(kernel_.scan_kicked);
}

} // namespace
