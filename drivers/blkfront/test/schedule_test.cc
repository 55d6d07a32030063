// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The disk under fault schedules (sim/schedule.hpp): a fixed workload with a backend that does one
// or two things wrong, then with an honest one. Whatever the backend does, each request completes
// once, nothing is lost, nothing is shown that no request named, and the disk works again.
#include <cstring>
#include <map>

#include <sim/access.hpp>
#include <sim/schedule.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

const sim::Vocabulary words = {
    // When the frontend enters this state.
    {"state", {1, 3, 4}, {{"vanish", {}}, {"ignore", {}}, {"become", {1, 2, 3, 4, 5, 6, 9}}}},
    // At an event of the frontend's.
    {"event", {1, 2, 3}, {{"vanish", {}}, {"storm", {100}}, {"become", {1, 2, 5, 6}}}},
    // At the use of a grant: the page stays mapped.
    {"grant", {1, 2, 3, 4}, {{"hold", {}}}},
    {"response",
     {1, 2, 3, 5},
     {{"id", {0, 3, 31, 32, 0xffffffff, UINT64_MAX}},
      {"operation", {0, 1, 2, 3, 255}},
      {"status", {1, 0x7fff, 0x8000, 0xfffe, 0xffff}},
      {"producer", {1, 33, 0x80000000, 0xffffffff}}, // added to the published one
      {"skip", {}},
      {"twice", {}},
      {"vanish", {}}}},
    // On the second queue.
    {"response1",
     {1, 2, 3},
     {{"id", {0, 31, 0xffffffff}},
      {"status", {1, 0xfffe}},
      {"producer", {1, 33, 0x80000000}},
      {"skip", {}},
      {"twice", {}},
      {"vanish", {}}}},
    {"read1", {1, 2, 3, 5, 8, 12}, {{"xor", {0x01, 0xff}}}},
    // Right after the frontend loaded from the ring: what it loaded changes.
    {"read", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20}, {{"xor", {0x01, 0xff}}}},
};

class Run : public BlkfrontTest {
public:
    explicit Run(const sim::Schedule &schedule) : faults_(schedule.size()), script_(schedule) {}

    void go()
    {
        SetUp();
        if (!HasFailure()) {
            meet_the_hostile();
            meet_the_honest();
        }
        if (faults_ == 1) {
            EXPECT_EQ(script_.left(), 0u) << "the workload never comes to this fault";
        }
        TearDown();
        for (const auto &[cookie, count] : completed_)
            EXPECT_EQ(count, 1u);
    }

private:
    void TestBody() override {}

    void meet_the_hostile()
    {
        kernel.on_complete = [this](const Kernel::Completion &done) {
            const auto it = completed_.find(done.cookie);
            ASSERT_NE(it, completed_.end());
            EXPECT_EQ(++it->second, 1u);
            if (!lied_ && done.result == BLKFRONT_DONE)
                check_data(*static_cast<Job *>(done.cookie));
        };
        sim::store::write(frontend_dir + "/trusted", "0");
        backend->keys["multi-queue-max-queues"] = "2";
        backend->keys["feature-max-indirect-segments"] = "20";
        backend->automatic = false;
        backend->on_event = [this] { serve(); };
        backend->on_frontend_state = [this](unsigned state) {
            backend->follow_states = true;
            script_.happens("state", state, [this](const sim::Fault &fault) { misbehave(fault); });
        };
        const sim::LoadObserver observer(
            [this](const void *address, size_t, unsigned) { loaded(address); });
        backend->start();
        pump();
        work();
        expect_no_leak();
    }

    void meet_the_honest()
    {
        EXPECT_LE(sim::complaints().size(), faults_);
        backend->on_event = {};
        backend->on_frontend_state = {};
        replace_backend();
        kernel.on_complete = {};
        expect_working();
        expect_no_leak();
    }

    // Without a backend nobody declared what is in the ring.
    void expect_no_leak() const
    {
        if (backend->ring_page() != nullptr) {
            EXPECT_EQ(sim::leaked(), "");
        }
    }

    // ---- the workload ----

    struct Job {
        blkfront_operation operation;
        uint64_t sector;
        Page page;
        unsigned first, last;
        unsigned segments; // all of the same page
    };

    void start(blkfront_operation operation, uint64_t sector, unsigned first = 0, unsigned last = 7,
               uint16_t queue = 0)
    {
        jobs_.push_back(std::make_unique<Job>());
        Job &job = *jobs_.back();
        job.operation = operation;
        job.sector = sector;
        job.first = first;
        job.last = last;
        std::memset(job.page.data, 0x5e, 4096); // nobody's business
        if (operation == BLKFRONT_WRITE)
            std::memset(job.page.data + first * 512, static_cast<int>(sector + 1),
                        (last - first + 1) * 512);
        const bool any = operation != BLKFRONT_FLUSH;
        // On the second queue they are indirect.
        std::vector<blkfront_segment> segments;
        if (any)
            segments.assign(queue == 1 ? 12 : 1, job.page.segment(first, last));
        job.segments = static_cast<unsigned>(segments.size());
        completed_[&job] = 0;
        if (submit(operation, sector, segments, &job, {.queue = queue}) != 0)
            completed_.erase(&job);
    }

    void work()
    {
        start(BLKFRONT_WRITE, 16);
        start(BLKFRONT_READ, 8);
        start(BLKFRONT_WRITE, 32, 2, 5);
        start(BLKFRONT_FLUSH, 0);
        for (const unsigned first : {0, 3, 4}) // of pages, 12 times
            start(BLKFRONT_READ, 200, first, first, 1);
        pump();
        expect_no_leak();
        start(BLKFRONT_READ, 16);
        start(BLKFRONT_READ, 32, 2, 5);
        pump();
    }

    // Against the disk of a backend that has done nothing wrong so far.
    void check_data(const Job &job)
    {
        if (job.operation == BLKFRONT_FLUSH)
            return;
        // The last of the segments is what stays in the page.
        const size_t length = (job.last - job.first + 1) * 512;
        const uint8_t *expected = &backend->disk[job.sector * 512] + (job.segments - 1) * length;
        EXPECT_EQ(std::memcmp(job.page.data + job.first * 512, expected, length), 0) << job.sector;
    }

    // ---- the backend ----

    void loaded(const void *address)
    {
        const auto *byte = static_cast<const uint8_t *>(address);
        for (unsigned queue = 0; queue < backend->queues(); ++queue) {
            auto *page = const_cast<uint8_t *>(backend->ring_page(queue));
            const auto *ring = static_cast<const uint8_t *>(sim::guest_view(page));
            if (byte < ring || byte >= ring + 4096)
                continue;
            script_.happens(queue == 0 ? "read" : "read1", [&](const sim::Fault &fault) {
                lied_ = true;
                page[byte - ring] ^= static_cast<uint8_t>(*fault.value);
            });
        }
    }

    void serve()
    {
        script_.happens("event", [this](const sim::Fault &fault) { misbehave(fault); });
        for (unsigned queue = 0; queue < backend->queues(); ++queue) {
            Request request;
            do {
                while (backend->take(request, queue))
                    answer(request, queue);
            } while (queue < backend->queues() && backend->ring(queue).final_check());
        }
    }

    void answer(const Request &request, unsigned queue)
    {
        const auto all = backend->segments_of(request).value_or(std::vector<Segment>());
        for (const Segment &segment : all)
            script_.happens("grant",
                            [&](const sim::Fault &) { backend->peer().map(segment.grant, false); });
        Response response = backend->serve(request);
        unsigned times = 1;
        uint32_t producer = 0;
        script_.happens(queue == 0 ? "response" : "response1", [&](const sim::Fault &fault) {
            const uint64_t value = fault.value.value_or(0);
            if (fault.action == "id")
                response.id = value;
            else if (fault.action == "operation")
                response.operation = static_cast<uint8_t>(value);
            else if (fault.action == "status")
                response.status = static_cast<int16_t>(value);
            else if (fault.action == "producer")
                producer = static_cast<uint32_t>(value);
            else if (fault.action == "skip")
                times = 0;
            else if (fault.action == "twice")
                times = 2;
            misbehave(fault);
        });
        for (; times > 0 && queue < backend->queues(); --times)
            backend->respond(response, queue);
        if (producer != 0 && queue < backend->queues())
            backend->publish_producer(backend->ring(queue).response_index() + producer, queue);
    }

    void misbehave(const sim::Fault &fault)
    {
        lied_ = true;
        if (fault.action == "vanish")
            backend->vanish();
        else if (fault.action == "ignore")
            backend->follow_states = false;
        else if (fault.action == "become")
            backend->set_state(static_cast<unsigned>(*fault.value));
        else if (fault.action == "storm")
            for (uint64_t i = 0; i < *fault.value; ++i)
                backend->notify();
    }

    size_t faults_;
    sim::Script script_;
    bool lied_ = false;
    std::vector<std::unique_ptr<Job>> jobs_;
    std::map<void *, unsigned> completed_; // of the jobs that were accepted
};

void run(const sim::Schedule &schedule) { Run(schedule).go(); }

TEST(Schedules, NoFault) { sim::explore(words, {{}}, run); }
TEST(Schedules, OneFault) { sim::explore(words, sim::singles(words), run); }
TEST(Schedules, TwoFaults) { sim::explore(words, sim::pairs(words, 120), run); }

} // namespace
} // namespace blktest
