// SPDX-License-Identifier: MIT OR GPL-2.0-only
// FIFO event channels (public/event_channel.h): order, masking, the vCPUs' queues, growing, links
// that are wrong, and a domain that has none.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dispatch_kit.hpp"

namespace {

using namespace kit;

class Fifo : public EventsTest {
protected:
    // The next ones do.
    std::function<void()> noted(uint32_t port)
    {
        return [this, port] {
            order.push_back(port);
            xen_event_unmask(port);
        };
    }

    void bind_all(std::initializer_list<uint32_t> ports)
    {
        for (const uint32_t port : ports)
            bind(port, 20 + port, noted(port));
    }

    std::vector<uint32_t> order;
};

TEST_P(Fifo, ByPriorityAndThenInTheOrderTheyCame)
{
    const auto timer = static_cast<uint32_t>(xen_bind_virq(xen::abi::virq_timer, 0));
    EXPECT_EQ(channels.priority_of(timer), 0u);
    bind(timer, 19, noted(timer));
    bind_all({70, 5, 1030, 7});
    handlers[20 + 70] = [&] {
        xen_event_ack(70);
        order.push_back(70);
        notify(timer); // goes before what is there
        notify(7);
    };
    for (const uint32_t port : {70u, 1030u, 5u})
        notify(port);
    dispatch_on(0);
    EXPECT_EQ(order, (std::vector<uint32_t>{70, timer, 1030, 5, 7}));
}

TEST_P(Fifo, MaskedWhileItIsInAQueue)
{
    bind_all({5, 7, 9});
    for (const uint32_t port : {5u, 7u, 9u})
        notify(port);
    xen_event_mask(7);
    dispatch_on(0);
    EXPECT_EQ(order, (std::vector<uint32_t>{5, 9}));
    xen_event_unmask(7);
    dispatch_on(0);
    EXPECT_EQ(order.back(), 7u);
    // unmasked while it is still there
    notify(5);
    xen_event_mask(5);
    xen_event_unmask(5);
    dispatch_on(0);
    EXPECT_EQ(order.size(), 4u);
}

// Xen is about to change the word, and wants the bit to stay: it is asked to unmask.
TEST_P(Fifo, BusyWordIsLeftToXen)
{
    bind_all({5});
    xen_event_mask(5);
    *channels.word(5) |= xen::abi::event_busy;
    const unsigned before = channels.unmasked_by_us();
    xen_event_unmask(5);
    EXPECT_EQ(channels.unmasked_by_us(), before + 1);
}

TEST_P(Fifo, EveryVcpuHasItsQueues)
{
    EXPECT_TRUE(channels.has_queues(0));
    for (const unsigned cpu : {1u, 2u, 3u}) {
        EXPECT_FALSE(channels.has_queues(cpu));
        // whichever is first
        ASSERT_GT(cpu == 2 ? xen_bind_virq(xen::abi::virq_timer, cpu) : xen_bind_ipi(cpu), 0);
        EXPECT_TRUE(channels.has_queues(cpu));
    }
    EXPECT_LT(xen_bind_ipi(4), 0); // Xen has no such vCPU
}

TEST_P(Fifo, NoMemoryForMorePorts)
{
    const auto missing = static_cast<uint32_t>(channels.pages() * 1024);
    out_of_memory = true;
    EXPECT_EQ(xen_port_room(missing), -12);
    xen_event_mask(missing); // of no effect
    xen_event_ack(missing);
    xen_event_unmask(missing);
    xen_port_assign(missing, 20, 0);
    EXPECT_EQ(xen_port_irq(missing), 0u);
    out_of_memory = false;
    bind_all({missing});
    notify(missing);
    dispatch_on(0);
    EXPECT_EQ(order.size(), 1u);
}

TEST_P(Fifo, RestoredWhereThereIsNone)
{
    bind_all({5});
    notify(5);
    restore(two_level);
    EXPECT_FALSE(channels.is_fifo());
    EXPECT_TRUE(masked(5));
    bind_all({5});
    notify(5);
    dispatch_on(0);
    EXPECT_EQ(order.size(), 1u);
    EXPECT_EQ(xen_port_room(4096), -34);
    bind_all({7});
    const auto before = shared;
    xen_event_mask(5000); // of no effect
    xen_event_unmask(5000);
    EXPECT_EQ(std::memcmp(&before, &shared, sizeof(shared)), 0);
}

// Whoever binds a port of the page that Xen did not take gives it to Xen again.
TEST_P(Fifo, RestoredWhereThereAreFewerPages)
{
    bind_all({5, 3000});
    const auto pages = channels.pages();
    ASSERT_GE(pages, 3u);
    pages_left = 1;
    restore(fifo);
    EXPECT_EQ(channels.pages(), 1u);
    EXPECT_EQ(xen_port_end(), 1024u);
    EXPECT_LT(xen_port_room(3000), 0);
    pages_left = xen::abi::max_event_ports;
    bind_all({5, 3000});
    for (const uint32_t port : {3000u, 5u})
        notify(port);
    dispatch_on(0);
    EXPECT_EQ(order, (std::vector<uint32_t>{3000, 5}));
}

// A page that has wrong links costs that queue, and never a loop: nobody but Xen writes them.
TEST_P(Fifo, WrongLinksEnd)
{
    using namespace xen::abi;
    bind_all({5, 7, 9});
    for (const uint32_t wrong : {5u, 7u, 9u, 100u, max_event_ports - 1}) {
        for (const uint32_t port : {5u, 7u, 9u})
            notify(port);
        for (const uint32_t port : {5u, 7u, 9u})
            *channels.word(port) = (*channels.word(port) & ~event_link_mask) | wrong;
        order.clear();
        strays = 0;
        dispatch_on(0);
        EXPECT_LE(order.size(), 3u) << wrong;
        EXPECT_EQ(order.front(), 5u) << wrong;
        EXPECT_EQ(strays, 1u) << wrong;
        boot(fifo);
        bind_all({5, 7, 9});
    }
    notify(7);
    order.clear();
    dispatch_on(0);
    EXPECT_EQ(order, std::vector<uint32_t>{7});
}

TEST(FifoDeathTest, ParameterSaysNo)
{
    EXPECT_EXIT(
        {
            xen_events_two_level();
            std::memset(&shared, 0, sizeof(shared));
            channels.start(shared, true);
            xen_events_in(&shared);
            xen_events_start();
            exit(channels.is_fifo() || masked(5) == false);
        },
        ::testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(Kinds, Fifo, ::testing::Values(fifo), name_of);

} // namespace
