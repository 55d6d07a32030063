// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Programs at /dev/xen/evtchn: right ones, wrong ones, and peers that send without end.
#include <cerrno>
#include <memory>
#include <vector>

#include <programs/core/evtchn.h>
#include <sim/sim.hpp>
#include <xen/hypercall.hpp>

namespace {

unsigned wakes;
int holds;
bool is_closing;

// A file that a program has open.
class Program {
public:
    Program() : memory_(new uint64_t[xen_evtchn_size() / 8 + 1]())
    {
        file = xen_evtchn_open(memory_.get(), this);
    }
    Program(const Program &) = delete;
    ~Program()
    {
        if (file != nullptr)
            xen_evtchn_close(file);
    }
    void close() { xen_evtchn_close(std::exchange(file, nullptr)); }
    uint32_t listen(uint32_t domain = 7)
    {
        const int port = xen_evtchn_bind(file, domain, 0);
        EXPECT_GT(port, 0);
        return static_cast<uint32_t>(port);
    }
    std::vector<uint32_t> read(unsigned most = XEN_EVTCHN_PORTS)
    {
        uint32_t ports[XEN_EVTCHN_PORTS];
        const int count = xen_evtchn_read(file, ports, most);
        EXPECT_GE(count, 0);
        return {ports, ports + (count > 0 ? count : 0)};
    }
    int unmask(uint32_t port) { return xen_evtchn_unmask(file, &port, 1); }
    xen_evtchn *file;

private:
    std::unique_ptr<uint64_t[]> memory_;
};

using Ports = std::vector<uint32_t>;

class Evtchn : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        wakes = 0;
        is_closing = false;
    }
    void TearDown() override
    {
        EXPECT_EQ(holds, 0);
        MachineTest::TearDown();
    }
    sim::Peer peer{7};
};

TEST_F(Evtchn, EventsGoBothWays)
{
    Program program;
    const uint32_t port = program.listen();
    const uint32_t theirs = peer.bind(port);
    ASSERT_NE(theirs, 0u);
    EXPECT_TRUE(peer.take_event(theirs)); // of a fresh channel
    EXPECT_EQ(xen_evtchn_readable(program.file), 0);
    EXPECT_EQ(program.read(), Ports{});

    peer.notify(theirs);
    EXPECT_EQ(wakes, 1u);
    EXPECT_EQ(xen_evtchn_readable(program.file), 1);
    EXPECT_EQ(program.read(), Ports{port});
    EXPECT_EQ(xen_evtchn_readable(program.file), 0);

    EXPECT_EQ(xen_evtchn_notify(program.file, port), 0);
    EXPECT_TRUE(peer.take_event(theirs));
}

TEST_F(Evtchn, NextEventComesAfterUnmask)
{
    Program program;
    const uint32_t port = program.listen();
    EXPECT_EQ(program.unmask(port), 0); // a program's first: there was none yet
    const uint32_t theirs = peer.bind(port);
    for (unsigned i = 0; i < 1000; i++)
        peer.notify(theirs);
    EXPECT_EQ(wakes, 1u);
    EXPECT_EQ(program.read(), Ports{port});
    EXPECT_EQ(program.read(), Ports{});
    EXPECT_EQ(program.unmask(port), 0); // what came meanwhile is one
    EXPECT_EQ(wakes, 2u);
    EXPECT_EQ(program.read(), Ports{port});
    EXPECT_EQ(program.unmask(port), 0);
    EXPECT_EQ(program.read(), Ports{});
}

TEST_F(Evtchn, ProgramThatLooksIsNeverSlowedDown)
{
    Program program;
    const uint32_t port = program.listen();
    const uint32_t theirs = peer.bind(port);
    for (unsigned i = 0; i < 500; i++) {
        peer.notify(theirs);
        ASSERT_EQ(program.read(), Ports{port}) << i;
        ASSERT_EQ(program.unmask(port), 0);
    }
    EXPECT_EQ(sim::delayed_events(), 0u);
}

TEST_F(Evtchn, AllPortsAreToldEvenToSmallBuffers)
{
    Program program;
    Ports expected, theirs, seen;
    for (unsigned i = 0; i < 10; i++) {
        expected.push_back(program.listen());
        theirs.push_back(peer.bind(expected.back()));
    }
    for (const uint32_t port : theirs)
        peer.notify(port);
    for (unsigned i = 0; i < 4; i++) {
        const Ports part = program.read(3);
        EXPECT_LE(part.size(), 3u);
        seen.insert(seen.end(), part.begin(), part.end());
    }
    EXPECT_EQ(seen, expected);
}

// One port that always has an event does not keep the others waiting.
TEST_F(Evtchn, BusyPortDoesNotHideOthers)
{
    Program program;
    const uint32_t busy = program.listen(), quiet = program.listen();
    const uint32_t to_busy = peer.bind(busy), to_quiet = peer.bind(quiet);
    peer.notify(to_busy);
    EXPECT_EQ(program.read(1), Ports{busy});
    peer.notify(to_busy);
    peer.notify(to_quiet);
    EXPECT_EQ(program.unmask(busy), 0);
    EXPECT_EQ(program.read(1), Ports{quiet});
}

TEST_F(Evtchn, PortsOfOthersAreOutOfReach)
{
    Program program, other;
    const uint32_t port = program.listen();
    const uint32_t theirs = peer.bind(port);
    peer.take_event(theirs);
    for (const uint32_t number : {port, 0u, 1u, port + 1, UINT32_MAX}) {
        EXPECT_EQ(xen_evtchn_notify(other.file, number), -ENOENT);
        EXPECT_EQ(other.unmask(number), 0); // nothing happens
        EXPECT_EQ(xen_evtchn_unbind(other.file, number), -ENOENT);
    }
    EXPECT_FALSE(peer.take_event(theirs));
    EXPECT_EQ(other.read(), Ports{});

    peer.notify(theirs);
    EXPECT_EQ(program.read(), Ports{port});
    peer.notify(theirs);
    EXPECT_EQ(other.unmask(port), 0);
    EXPECT_EQ(program.read(), Ports{});
    const uint32_t mixed[] = {port + 1, 0, port, UINT32_MAX};
    EXPECT_EQ(xen_evtchn_unmask(program.file, mixed, 4), 0);
    EXPECT_EQ(program.read(), Ports{port});
}

TEST_F(Evtchn, UnboundPortIsGone)
{
    Program program;
    const uint32_t port = program.listen();
    const uint32_t theirs = peer.bind(port);
    peer.notify(theirs);
    EXPECT_EQ(xen_evtchn_unbind(program.file, port), 0);
    EXPECT_EQ(xen_evtchn_readable(program.file), 0);
    EXPECT_EQ(program.read(), Ports{});
    EXPECT_EQ(xen_evtchn_notify(program.file, port), -ENOENT);
    EXPECT_EQ(peer.bind(port), 0u);
    // Its place is another one's, which has nothing to be read.
    EXPECT_NE(program.listen(), port);
    EXPECT_EQ(program.read(), Ports{});
}

TEST_F(Evtchn, CloseUndoesEverything)
{
    Program program;
    Ports ports;
    for (unsigned i = 0; i < 20; i++)
        ports.push_back(program.listen());
    program.close();
    for (const uint32_t port : ports)
        EXPECT_EQ(peer.bind(port), 0u);
}

TEST_F(Evtchn, OneProgramCannotTakeAllPorts)
{
    Program program;
    for (unsigned i = 0; i < XEN_EVTCHN_PORTS; i++)
        program.listen();
    EXPECT_EQ(xen_evtchn_bind(program.file, 7, 0), -ENOSPC);
    Program other;
    const uint32_t port = other.listen();
    EXPECT_EQ(xen_evtchn_unbind(other.file, port), 0);
}

TEST_F(Evtchn, AllProgramsTogetherCannot)
{
    for (unsigned round = 0; round < 3; round++) { // what they had comes back
        std::vector<std::unique_ptr<Program>> programs;
        unsigned bound = 0;
        for (unsigned i = 0; i < 20; i++) {
            programs.push_back(std::make_unique<Program>());
            while (xen_evtchn_bind(programs.back()->file, 7, 0) > 0)
                bound++;
        }
        EXPECT_EQ(bound, 256u);
    }
}

TEST_F(Evtchn, DomainsThatAreNoneAreRefused)
{
    Program program;
    for (const uint32_t domain : {0x7ff0u, 0x7fffu, 0x10007u, UINT32_MAX})
        EXPECT_EQ(xen_evtchn_bind(program.file, domain, 0), -EINVAL);
}

// Xen's part of BIND_INTERDOMAIN: port 11 of domain 7 is there, nothing else.
class EvtchnConnect : public Evtchn {
protected:
    void SetUp() override
    {
        Evtchn::SetUp();
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            using namespace xen::abi;
            if (number != hypercall_event_channel_op || arguments[0] != evtchnop_bind_interdomain)
                return std::optional<long>();
            auto &op = *reinterpret_cast<EvtchnBindInterdomain *>(arguments[1]);
            if (op.remote_dom != 7 || op.remote_port != 11)
                return std::optional<long>(-EINVAL);
            EvtchnAllocUnbound made{xen::domid_self.value, op.remote_dom, 0};
            EXPECT_TRUE(
                xen::hypercall(hypercall_event_channel_op, evtchnop_alloc_unbound, &made).ok());
            op.local_port = made.port;
            theirs = peer.bind(made.port);
            return std::optional<long>(0);
        });
    }
    uint32_t theirs = 0;
};

TEST_F(EvtchnConnect, EventsGoBothWays)
{
    Program program;
    const int port = xen_evtchn_bind(program.file, 7, 11);
    ASSERT_GT(port, 0);
    peer.take_event(theirs);
    EXPECT_EQ(xen_evtchn_notify(program.file, static_cast<uint32_t>(port)), 0);
    EXPECT_TRUE(peer.take_event(theirs));
    peer.notify(theirs);
    EXPECT_EQ(program.read(), Ports{static_cast<uint32_t>(port)});
}

TEST_F(EvtchnConnect, RefusalTakesNothing)
{
    Program program;
    for (unsigned i = 0; i < 1000; i++)
        ASSERT_EQ(xen_evtchn_bind(program.file, 7, 12), -EINVAL);
    EXPECT_GT(xen_evtchn_bind(program.file, 7, 11), 0);
}

// For mappings that end: an event to any program's port, and to nobody else's.
TEST_F(Evtchn, SendsForMappings)
{
    Program first, program;
    const uint32_t port = program.listen();
    const uint32_t theirs = peer.bind(port);
    peer.take_event(theirs);
    unsigned sent = 0;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *arguments) {
        sent += number == xen::abi::hypercall_event_channel_op &&
                arguments[0] == xen::abi::evtchnop_send;
        return std::optional<long>();
    });
    ASSERT_EQ(xen_evtchn_hold(port), program.file);
    EXPECT_EQ(holds, 1);
    xen_evtchn_let_go(program.file, port);
    EXPECT_TRUE(peer.take_event(theirs));
    EXPECT_EQ(sent, 1u);
    for (const uint32_t number : {0u, 3u, port + 1, UINT32_MAX}) { // 3: xenstored's
        EXPECT_EQ(xen_evtchn_hold(number), nullptr);
        ASSERT_EQ(xen_evtchn_hold(port), program.file);
        xen_evtchn_let_go(program.file, number);
    }
    ASSERT_EQ(xen_evtchn_hold(port), program.file);
    EXPECT_EQ(xen_evtchn_unbind(program.file, port), 0);
    EXPECT_EQ(xen_evtchn_hold(port), nullptr);
    xen_evtchn_let_go(program.file, port);
    EXPECT_EQ(sent, 1u);
}

// The last close() was, so nobody may hold it any more.
TEST_F(Evtchn, FileThatIsBeingClosedSendsNothing)
{
    Program program;
    const uint32_t port = program.listen();
    is_closing = true;
    EXPECT_EQ(xen_evtchn_hold(port), nullptr);
}

TEST_F(Evtchn, RestoredDomainsPortsAreNobodys)
{
    Program program;
    for (unsigned i = 0; i < 4; i++)
        program.listen();
    const uint32_t port = program.listen();
    sim::restore();
    xen_evtchn_restored();
    EXPECT_EQ(wakes, 1u);
    EXPECT_EQ(xen_evtchn_readable(program.file), -EIO);

    // The same number again, of somebody else.
    Program other;
    uint32_t theirs = 0;
    for (unsigned i = 0; i < 10 && theirs == 0; i++)
        theirs = other.listen() == port ? peer.bind(port) : 0;
    ASSERT_NE(theirs, 0u);
    peer.take_event(theirs);
    EXPECT_EQ(xen_evtchn_hold(port), other.file);
    xen_evtchn_let_go(other.file, 0);

    uint32_t ports[4];
    EXPECT_EQ(xen_evtchn_read(program.file, ports, 4), -EIO);
    EXPECT_EQ(xen_evtchn_notify(program.file, port), -EIO);
    EXPECT_EQ(program.unmask(port), -EIO);
    EXPECT_EQ(xen_evtchn_unmask(program.file, &port, 0), -EIO);
    EXPECT_EQ(xen_evtchn_unbind(program.file, port), -EIO);
    EXPECT_EQ(xen_evtchn_bind(program.file, 7, 0), -EIO);
    ++holds; // since before
    xen_evtchn_let_go(program.file, port);
    program.close();
    EXPECT_FALSE(peer.take_event(theirs));
    peer.notify(theirs);
    EXPECT_EQ(other.read(), Ports{port});
}

} // namespace

void xen_evtchn_port_wake(void *) { ++wakes; }

int xen_evtchn_port_hold(void *)
{
    if (!is_closing)
        ++holds;
    return !is_closing;
}

void xen_evtchn_port_put(void *) { --holds; }

int held_files() { return holds; }
