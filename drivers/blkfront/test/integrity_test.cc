// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The oracle of the disk's content: random requests with random features, while the backend dies,
// loses power, changes the disk, closes or comes back. It knows what was acknowledged: what a flush
// acknowledged is there, what was not flushed is there or is what it was, and nothing else changes.
// A failure names its seed; SEED=number replays it.
#include <cstdlib>
#include <list>
#include <random>

#include "frontend.hpp"
#include "model.hpp"

namespace blktest {
namespace {

constexpr uint64_t sectors_at_first = 512;
constexpr unsigned largest = 250; // sectors of a request

class Oracle : public BlkfrontTest {
public:
    explicit Oracle(unsigned seed) : random_(seed), model_(sectors_at_first)
    {
        sectors = sectors_at_first;
    }

    void go()
    {
        SetUp();
        prepare();
        for (unsigned i = 0; i < 500 && !HasFailure(); ++i)
            step();
        if (!HasFailure())
            finish();
        TearDown();
    }

private:
    struct Job {
        blkfront_operation operation;
        uint64_t sector, count;
        uint32_t version = 0;
        std::vector<Page *> pages;
        std::vector<blkfront_segment> segments;
        Options options;
        Model::Snapshot snapshot; // of a flush
        bool in_flight = false;
    };

    void TestBody() override {}

    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    bool one_in(unsigned n) { return below(n) == 0; }

    void prepare()
    {
        fill_from_model(0);
        kernel.in_use = true;
        kernel.on_complete = [this](const Kernel::Completion &done) { completed(done); };
        kernel.on_drain = [this] { serve(1000); };
        backend->automatic = false;
        backend->refuse = [this](const Request &request) -> std::optional<int16_t> {
            const bool flush = request.operation == op_flush || request.operation == op_barrier;
            if (flush && one_in(6))
                return status_not_supported;
            return one_in(40) ? std::optional(status_error) : std::nullopt;
        };
        choose_features();
        connect();
    }

    // The content of new sectors.
    void fill_from_model(uint64_t first)
    {
        for (uint64_t i = first; i < model_.size(); ++i)
            model_.content(i, 0, &backend->disk[i * 512]);
    }

    void choose_features()
    {
        const auto maybe = [&](const char *value) {
            return one_in(2) ? std::optional<std::string>(value) : std::nullopt;
        };
        auto &keys = backend->keys;
        keys["multi-queue-max-queues"] = std::to_string(1 + below(5));
        keys["max-ring-page-order"] = maybe("1");
        keys["feature-max-indirect-segments"] = maybe(one_in(2) ? "20" : "64");
        keys["feature-persistent"] = maybe("1");
        keys["feature-discard"] = maybe("1");
        keys["discard-granularity"] = maybe("2048");
        keys["discard-secure"] = maybe("1");
        keys["feature-flush-cache"] = maybe("1");
        keys["feature-barrier"] = keys["feature-flush-cache"] ? maybe("1") : "1";
        keys["info"] = "0";
        kernel.wishes.trusted = one_in(2);
        kernel.wishes.persistent_grants = !one_in(4);
        kernel.wishes.polled_queues = static_cast<uint16_t>(below(3));
        backend->keep_at_most = one_in(3) ? 5 : 1056;
    }

    void step()
    {
        const unsigned what = below(100);
        if (what < 45)
            start();
        else if (what < 85)
            serve(below(6));
        else if (what < 90)
            retry();
        else if (what < 92)
            blkfront_age(disk), backend->let_go(below(10));
        else
            disturb();
    }

    // ---- what the kernel does ----

    void start()
    {
        static constexpr blkfront_operation operations[] = {
            BLKFRONT_READ,    BLKFRONT_READ,           BLKFRONT_WRITE, BLKFRONT_WRITE,
            BLKFRONT_WRITE,   BLKFRONT_FLUSH,          BLKFRONT_FLUSH, BLKFRONT_WRITE,
            BLKFRONT_DISCARD, BLKFRONT_SECURE_DISCARD,
        };
        jobs_.emplace_back();
        Job &job = jobs_.back();
        job.operation = operations[below(std::size(operations))];
        job.options.queue = static_cast<uint16_t>(below(6));
        job.options.polled = one_in(3);
        job.options.last = !one_in(4);
        if (job.operation == BLKFRONT_FLUSH) {
            job.snapshot = model_.snapshot();
        } else if (model_.size() == 0 || !choose_range(job)) {
            jobs_.pop_back();
            return;
        }
        if (job.operation == BLKFRONT_READ || job.operation == BLKFRONT_WRITE)
            choose_memory(job);
        else
            job.options.sectors = job.count;
        if (job.operation != BLKFRONT_READ && job.operation != BLKFRONT_FLUSH)
            job.version = model_.next_version(job.operation != BLKFRONT_WRITE);
        if (job.operation == BLKFRONT_WRITE)
            copy(job,
                 [&](uint64_t sector, uint8_t *at) { model_.content(sector, job.version, at); });
        send(jobs_.back());
    }

    // No two requests on their way have a sector in common.
    bool choose_range(Job &job)
    {
        job.sector = random_() % model_.size();
        job.count =
            std::min<uint64_t>(1 + below(one_in(4) ? largest : 16), model_.size() - job.sector);
        for (const Job &other : jobs_)
            if (&other != &job && other.operation != BLKFRONT_FLUSH &&
                job.sector < other.sector + other.count && other.sector < job.sector + job.count)
                return false;
        return true;
    }

    void choose_memory(Job &job)
    {
        for (uint64_t left = job.count; left > 0;) {
            const unsigned first = one_in(3) ? below(8) : 0;
            const auto length =
                static_cast<unsigned>(std::min<uint64_t>(left, one_in(5) ? 1 + below(8) : 8));
            const unsigned last = std::min(first + length - 1, 7u);
            if (free_pages_.empty())
                free_pages_.push_back(&all_pages_.emplace_back());
            job.pages.push_back(free_pages_.back());
            free_pages_.pop_back();
            std::memset(job.pages.back()->data, 0x5e, 4096); // nobody's business
            job.segments.push_back(job.pages.back()->segment(first, last));
            left -= last - first + 1;
        }
    }

    // Calls each(sector, its memory).
    template <class F>
    static void copy(Job &job, F each)
    {
        uint64_t sector = job.sector;
        for (size_t i = 0; i < job.segments.size(); ++i)
            for (unsigned part = job.segments[i].first_sector; part <= job.segments[i].last_sector;
                 ++part)
                each(sector++, job.pages[i]->data + part * 512);
    }

    void send(Job &job)
    {
        const int result = submit(job.operation, job.operation == BLKFRONT_FLUSH ? 0 : job.sector,
                                  job.segments, &job, job.options);
        if (result == 0) {
            job.in_flight = true;
            if (job.version != 0)
                for (uint64_t i = job.sector; i < job.sector + job.count; ++i)
                    model_.started(i, job.version);
            return;
        }
        EXPECT_TRUE(result == -EBUSY || result == -EAGAIN || result == -E2BIG ||
                    result == -EOPNOTSUPP || result == -EACCES || result == -EIO ||
                    (result == -EINVAL && job.sector + job.count > kernel.geometry.sectors))
            << result;
        forget(job);
    }

    // What was interrupted, and is still to be done.
    void retry()
    {
        for (auto it = jobs_.begin(); it != jobs_.end();) {
            Job &job = *it++;
            if (!job.in_flight)
                send(job);
        }
        for (unsigned i = 0; i < 8; ++i) {
            blkfront_commit(disk, static_cast<uint16_t>(i % 4), i >= 4);
            blkfront_poll(disk, static_cast<uint16_t>(i % 4), i >= 4);
        }
    }

    void completed(const Kernel::Completion &done)
    {
        Job &job = *static_cast<Job *>(done.cookie);
        ASSERT_TRUE(job.in_flight) << "completed twice";
        job.in_flight = false;
        const bool changes = job.version != 0;
        if (job.operation == BLKFRONT_FLUSH) {
            if (done.result == BLKFRONT_DONE)
                model_.flushed(job.snapshot);
        } else if (done.result == BLKFRONT_INTERRUPTED && job.operation == BLKFRONT_WRITE) {
            unclear(job);
            return; // see retry()
        } else if (done.result == BLKFRONT_DONE) {
            done_right(job);
        } else if (changes) {
            unclear(job);
        }
        forget(job);
    }

    void done_right(Job &job)
    {
        if (job.operation == BLKFRONT_READ)
            copy(job, [this](uint64_t sector, const uint8_t *bytes) { expect(sector, bytes); });
        for (uint64_t i = job.sector; i < std::min(job.sector + job.count, model_.size()); ++i) {
            if (job.operation == BLKFRONT_WRITE)
                model_.finished(i, job.version);
            else if (job.operation == BLKFRONT_SECURE_DISCARD)
                model_.secured(i, job.version);
            else if (job.operation == BLKFRONT_DISCARD)
                model_.unclear(i);
        }
    }

    void unclear(const Job &job)
    {
        for (uint64_t i = job.sector; i < std::min(job.sector + job.count, model_.size()); ++i)
            model_.unclear(i);
    }

    void expect(uint64_t sector, const uint8_t *bytes)
    {
        if (sector < model_.size()) {
            EXPECT_EQ(model_.seen(sector, bytes), "");
        }
    }

    void forget(Job &job)
    {
        for (Page *page : job.pages)
            free_pages_.push_back(page);
        jobs_.remove_if([&](const Job &other) { return &other == &job; });
    }

    // ---- what the backend does ----

    void serve(unsigned count)
    {
        sim::run();
        if (std::exchange(connection_, backend->connections) != backend->connections)
            taken_.clear(); // nobody waits for an answer
        for (unsigned i = 0; i < backend->queues(); ++i)
            for (Request request; taken_.size() < 1000 && backend->take(request, i);)
                taken_.emplace_back(i, request);
        for (; count > 0 && !taken_.empty() && backend->queues() > 0; --count) {
            std::swap(taken_[below(static_cast<unsigned>(taken_.size()))], taken_.back());
            const auto [queue, request] = taken_.back();
            taken_.pop_back();
            backend->respond(backend->serve(request), queue);
        }
        for (unsigned i = 0; i < backend->queues(); ++i)
            (void)backend->ring(i).final_check();
        for (uint16_t i = 0; i < 4; ++i)
            blkfront_poll(disk, i, true);
    }

    void disturb()
    {
        switch (below(8)) {
        case 0: // it dies; its disk does not
            backend->vanish();
            return come_back();
        case 1:
            backend->lose_power([this](uint64_t) { return one_in(2); });
            model_.power_lost();
            check_everything();
            return come_back();
        case 2: // closes in good order, and opens again
            backend->set_state(5);
            return pump();
        case 3:
            return resize(model_.size() / 2 + below(static_cast<unsigned>(model_.size()) + 2));
        case 4:
            backend->keys["info"] = one_in(2) ? "4" : "0";
            backend->republish();
            return pump();
        case 5:
            blkfront_expire(disk, BLKFRONT_INTERRUPTED);
            return pump();
        case 6:
            blkfront_expire(disk, BLKFRONT_ERROR);
            pump();
            backend->vanish();
            return come_back();
        case 7:
            kernel.on_drain = one_in(2) ? std::function<void()>() : [this] { serve(1000); };
            return;
        }
    }

    void resize(uint64_t sectors)
    {
        const uint64_t before = model_.size();
        sectors = std::clamp<uint64_t>(sectors, 16, 2048);
        model_.resize(sectors);
        for (Job &job : jobs_) // a flush that is on its way is not one of new sectors
            job.snapshot.resize(std::min<size_t>(job.snapshot.size(), sectors));
        backend->resize(sectors);
        fill_from_model(before);
        for (const Job &job : jobs_) // of sectors that were gone, and are there again
            for (uint64_t i = std::max(before, job.sector);
                 job.in_flight && job.version != 0 && i < std::min(job.sector + job.count, sectors);
                 ++i)
                model_.started(i, job.version);
        pump();
    }

    void come_back()
    {
        blkfront_retry_held(disk);
        choose_features();
        restart_backend();
        EXPECT_EQ(backend->frontend_state(), 4u);
    }

    void check_everything()
    {
        for (uint64_t i = 0; i < model_.size(); ++i)
            expect(i, &backend->disk[i * 512]);
    }

    // Detached with requests on their way, then a last loss of power.
    void finish()
    {
        detach();
        EXPECT_TRUE(
            std::none_of(jobs_.begin(), jobs_.end(), [](const Job &job) { return job.in_flight; }));
        check_everything();
        backend->lose_power([this](uint64_t) { return one_in(2); });
        model_.power_lost();
        check_everything();
    }

    std::mt19937 random_;
    Model model_;
    std::list<Job> jobs_; // in flight, or interrupted
    std::deque<Page> all_pages_;
    std::vector<Page *> free_pages_;
    std::vector<std::pair<unsigned, Request>> taken_;
    unsigned connection_ = 0; // of the backend, when these were taken
};

TEST(Integrity, WhatAFlushAcknowledgedIsThere)
{
    std::vector<unsigned> seeds;
    if (const char *seed = std::getenv("SEED")) {
        seeds = {static_cast<unsigned>(std::strtoul(seed, nullptr, 10))};
    } else {
        for (unsigned i = 1; i <= 12; ++i)
            seeds.push_back(i);
        std::random_device fresh;
        for (unsigned i = 0; i < 4; ++i)
            seeds.push_back(fresh());
    }
    for (const unsigned seed : seeds) {
        SCOPED_TRACE("SEED=" + std::to_string(seed));
        Oracle(seed).go();
        if (::testing::Test::HasFailure())
            return;
    }
}

} // namespace
} // namespace blktest
