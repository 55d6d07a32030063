// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Two disks and an interface in one machine, and one of the three backends misbehaves: the other
// devices go on with the right data, the bad one costs them nothing, and it works again with an
// honest backend.
#include <cstring>
#include <tuple>

#include <blkfront/test/frontend.hpp>
#include <netfront/test/fixture.hpp>
#include <xen/grant.hpp>

namespace {

using netfront_test::Packet;
using netfront_test::pages_of_a_connection;

enum class Misdeed { bad_id, producer, storm, hold, vanish };
constexpr const char *misdeed_names[] = {"BadId", "Producer", "Storm", "Hold", "Vanish"};

void PrintTo(Misdeed misdeed, std::ostream *out)
{
    *out << misdeed_names[static_cast<unsigned>(misdeed)];
}

// A disk, what should be on it, and the requests on their way.
struct Disk : blktest::DiskRig {
    using DiskRig::DiskRig;

    struct Job {
        blkfront_operation operation;
        uint64_t sector;
        blktest::Page page;
        unsigned completed = 0;
        blkfront_result result{};
    };
    std::vector<uint8_t> content;
    std::vector<std::unique_ptr<Job>> jobs;

    void open(uint8_t mark)
    {
        create_disk();
        for (uint8_t &byte : backend->disk)
            byte ^= mark;
        content = backend->disk;
        kernel.on_complete = [](const blktest::Kernel::Completion &done) {
            auto &job = *static_cast<Job *>(done.cookie);
            ++job.completed;
            job.result = done.result;
        };
        backend->start();
    }

    Job &start(blkfront_operation operation, uint64_t sector)
    {
        jobs.push_back(std::make_unique<Job>());
        Job &job = *jobs.back();
        job.operation = operation;
        job.sector = sector;
        EXPECT_EQ(submit(operation, sector, {job.page.segment()}, &job), 0);
        return job;
    }

    void start_work(unsigned seed)
    {
        jobs.clear();
        const Job &write = start(BLKFRONT_WRITE, 8 * (seed % 200));
        // Nobody has taken it before the machine runs.
        std::memset(write.page.data, static_cast<int>(seed + content[0]), 4096);
        std::memcpy(&content[write.sector * 512], write.page.data, 4096);
        for (unsigned i = 1; i <= 4; ++i)
            start(BLKFRONT_READ, 8 * ((seed + i * 7) % 200));
    }

    void check_work() const
    {
        for (const auto &job : jobs) {
            ASSERT_EQ(job->completed, 1u);
            ASSERT_EQ(job->result, BLKFRONT_DONE);
            EXPECT_EQ(std::memcmp(job->page.data, &content[job->sector * 512], 4096), 0);
        }
        EXPECT_TRUE(backend->disk == content);
    }
};

// Which device has the bad backend: 0 and 1 the disks, 2 the interface.
class SeveralDevices : public netfront_test::NetFrontTest,
                       public testing::WithParamInterface<std::tuple<unsigned, Misdeed>> {
protected:
    static unsigned bad() { return std::get<0>(GetParam()); }
    static Misdeed misdeed() { return std::get<1>(GetParam()); }
    static bool breaks() { return misdeed() == Misdeed::bad_id || misdeed() == Misdeed::producer; }

    void SetUp() override
    {
        NetFrontTest::SetUp();
        connect();
        uint8_t mark = 0;
        for (Disk &disk : disks)
            disk.open(mark += 0x35);
        settle_all();
        for (Disk &disk : disks)
            ASSERT_EQ(disk.backend->frontend_state(), 4u);
    }

    void TearDown() override
    {
        for (Disk &disk : disks)
            disk.end();
        blktest::free_pages();
        NetFrontTest::TearDown(); // expects that nothing is left
    }

    void settle_all()
    {
        for (bool busy = true; busy;) {
            sim::run();
            busy = turn();
            for (Disk &disk : disks)
                busy |= disk.turn();
        }
    }

    void start_packets(unsigned seed)
    {
        received.clear();
        backend->sent.clear();
        for (unsigned i = 0; i < 5; ++i) {
            ASSERT_EQ(send(packet(60 + i, seed + i)), NETFRONT_SENT);
            ASSERT_TRUE(backend->deliver(packet(1514 - i, seed + i)));
        }
    }

    void check_packets(unsigned seed) const
    {
        ASSERT_EQ(backend->sent.size(), 5u);
        ASSERT_EQ(received.size(), 5u);
        for (unsigned i = 0; i < 5; ++i) {
            EXPECT_EQ(backend->sent[i], packet(60 + i, seed + i));
            EXPECT_EQ(received[i], packet(1514 - i, seed + i));
        }
    }

    // All devices but `except` do some work at once; meanwhile something happens.
    void expect_work(unsigned except, const std::function<void()> &meanwhile = {})
    {
        const unsigned seed = ++seed_;
        for (unsigned i = 0; i < 2; ++i)
            if (i != except)
                disks[i].start_work(seed);
        if (except != 2)
            start_packets(seed);
        if (meanwhile)
            meanwhile();
        settle_all();
        for (unsigned i = 0; i < 2; ++i)
            if (i != except)
                disks[i].check_work();
        if (except != 2)
            check_packets(seed);
    }

    // ---- what the bad backend does, with requests of the guest's before it ----

    void disk_misbehaves(Disk &disk)
    {
        blktest::Backend &backend = *disk.backend;
        blktest::Request request;
        ASSERT_TRUE(backend.take(request));
        blktest::Response response = backend.serve(request);
        switch (misdeed()) {
        case Misdeed::bad_id:
            response.id = 31;
            backend.respond(response);
            break;
        case Misdeed::producer:
            backend.publish_producer(33);
            break;
        case Misdeed::storm:
            storm([&] { backend.notify(); });
            break;
        case Misdeed::hold:
            backend.follow_states = false;
            backend.peer().map(request.segments[0].grant, false);
            backend.respond(response);
            break;
        case Misdeed::vanish:
            backend.vanish();
            break;
        }
    }

    void interface_misbehaves()
    {
        xen::netif::TxRequest request;
        ASSERT_TRUE(backend->next_tx(request));
        switch (misdeed()) {
        case Misdeed::bad_id:
            backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
            break;
        case Misdeed::producer:
            backend->rx.shared().rsp_prod = 0x80000000;
            backend->notify();
            break;
        case Misdeed::storm:
            storm([&] { backend->notify(); });
            break;
        case Misdeed::hold:
            backend->peer.map(request.grant, false);
            backend->set_state(5); // the frontend wants its pages back
            break;
        case Misdeed::vanish:
            backend->disconnect();
            break;
        }
    }

    // An event each tenth of a millisecond, for a second; the others work on.
    void storm(const std::function<void()> &notify)
    {
        for (unsigned i = 0; i < 10'000; ++i) {
            notify();
            sim::advance(100'000);
            if (i % 1000 == 0)
                settle_all();
        }
        EXPECT_GE(sim::delayed_events(), 1u);
    }

    void heal()
    {
        if (bad() == 2) {
            expect_reconnect();
            return;
        }
        Disk &disk = disks[bad()];
        disk.replace_backend();
        EXPECT_EQ(blkfront_in_flight(disk.disk), 0u);
        for (const auto &job : disk.jobs) {
            EXPECT_EQ(job->completed, 1u);
            EXPECT_NE(job->result, BLKFRONT_DONE);
        }
        disk.content = disk.backend->disk; // whether a failed write happened, nobody knows
    }

    static void expect_grants(unsigned count)
    {
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_EQ(sim::grants_in_force(), count);
    }

    // One line at most, and it is about the bad device.
    void expect_complaint() const
    {
        const std::string node = bad() == 0   ? "device/vbd/51713: broken"
                                 : bad() == 1 ? "device/vbd/51729: broken"
                                              : "device/vif/0: broken";
        const bool held = misdeed() == Misdeed::hold && bad() != 2;
        if (!breaks() && !held)
            return;
        ASSERT_EQ(sim::complaints().size(), 1u);
        EXPECT_EQ(sim::complaints()[0].substr(0, node.size()), node);
    }

    Disk disks[2] = {Disk(51713), Disk(51729)};

private:
    unsigned seed_ = 0;
};

TEST_P(SeveralDevices, OneBadBackendIsNobodyElsesConcern)
{
    ASSERT_NO_FATAL_FAILURE(expect_work(3));
    expect_grants(2 + pages_of_a_connection);

    // Its requests wait for an answer.
    if (bad() == 2) {
        backend->serve_tx = false;
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    } else {
        disks[bad()].backend->automatic = false;
        disks[bad()].start_work(0);
    }
    sim::run();
    expect_work(bad(), [this] {
        if (bad() == 2)
            interface_misbehaves();
        else
            disk_misbehaves(disks[bad()]);
    });
    for (unsigned i = 0; i < 10; ++i)
        ASSERT_NO_FATAL_FAILURE(expect_work(bad()));
    EXPECT_EQ(sim::leaked(), "");
    expect_complaint();
    if (breaks())
        expect_grants(bad() == 2 ? 2 : 1 + pages_of_a_connection);

    heal();
    settle_all();
    for (unsigned i = 0; i < 3; ++i)
        ASSERT_NO_FATAL_FAILURE(expect_work(3));
    expect_grants(2 + pages_of_a_connection);
    EXPECT_EQ(sim::leaked(), "");
    EXPECT_LE(sim::complaints().size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Hostile, SeveralDevices,
                         testing::Combine(testing::Values(0u, 1u, 2u),
                                          testing::Values(Misdeed::bad_id, Misdeed::producer,
                                                          Misdeed::storm, Misdeed::hold,
                                                          Misdeed::vanish)),
                         [](const auto &info) {
                             const unsigned device = std::get<0>(info.param);
                             return std::string(device == 2   ? "Interface"
                                                : device == 1 ? "SecondDisk"
                                                              : "FirstDisk") +
                                    misdeed_names[static_cast<unsigned>(std::get<1>(info.param))];
                         });

} // namespace
