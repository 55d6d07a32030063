// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target console: the ring against a daemon that does as the script says
// (public/io/console.h). While its indices are possible, both streams arrive as they were sent;
// waiting is bounded.
#include <algorithm>

#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/console.hpp>
#include <xen/port.h>

#include "race.hpp"

namespace {

class ConsoleRun : public sim::MachineTest {
public:
    void TestBody() override {}

    void play(fuzz::Script &script)
    {
        SetUp();
        page_ = static_cast<uint8_t *>(xen_port_page_alloc());
        console_.attach(page_, xen::EventPort{2});
        sim::filter_hypercalls([this](unsigned number, const unsigned long *) {
            yields_ += number == xen::abi::hypercall_sched_op;
            if (number == xen::abi::hypercall_sched_op) {
                sim::advance(50'000'000);
                drain(trickle_);
            }
            return 0;
        });
        while (script.next_step())
            step(script);
        race_.disarm();
        expect_healed();
        xen_port_page_free(page_);
        TearDown();
    }

private:
    xen::ConsoleRing &ring() { return *reinterpret_cast<xen::ConsoleRing *>(page_); }

    void step(fuzz::Script &script)
    {
        switch (script.below(10)) {
        case 0:
        case 1:
            return write(script);
        case 2:
            return write_all(script);
        case 3:
        case 4:
            return read(script);
        case 5:
            return type(script);
        case 6:
            drain(script.byte());
            break;
        case 7:
            trickle_ = script.below(4);
            break;
        case 8:
            return set_index(script);
        case 9:
            race_.arm(page_, script);
            trusted_ = false;
            break;
        }
    }

    std::string text(fuzz::Script &script)
    {
        std::string text(script.number(2) % 2500, 0);
        for (char &c : text)
            c = static_cast<char>('a' + sent_++ % 26);
        return text;
    }

    void write(fuzz::Script &script)
    {
        const std::string text = this->text(script);
        const size_t done = console_.write(text.data(), text.size());
        ASSERT_LE(done, text.size());
        expected_ += text.substr(0, done);
    }

    void write_all(fuzz::Script &script)
    {
        const std::string text = this->text(script);
        const unsigned before = yields_;
        const uint32_t start = ring().out_prod;
        console_.write_all(text.data(), text.size());
        // A second's patience of 50 ms yields, renewed where half a ring was taken.
        EXPECT_LE(yields_ - before, 21 * (2 + text.size() / 1024));
        if (trusted_)
            expected_ += text.substr(0, ring().out_prod - start);
    }

    void read(fuzz::Script &script)
    {
        std::vector<char> to(script.number(2) % 1500);
        const size_t done = console_.read(to.data(), to.size());
        ASSERT_LE(done, to.size());
        if (!trusted_)
            return;
        const std::string wanted = typed_.substr(0, std::min(to.size(), typed_.size()));
        EXPECT_EQ(std::string(to.data(), done), wanted);
        typed_.erase(0, done);
    }

    // The daemon's part.
    void type(fuzz::Script &script)
    {
        for (unsigned left = script.byte() * 4u; left > 0; --left) {
            if (!trusted_ || ring().in_prod - ring().in_cons >= sizeof(ring().in))
                return;
            const char c = static_cast<char>('A' + left % 26);
            ring().in[ring().in_prod++ % sizeof(ring().in)] = c;
            typed_ += c;
        }
    }

    void drain(unsigned most)
    {
        for (; trusted_ && most > 0 && ring().out_cons != ring().out_prod; --most) {
            output_ += ring().out[ring().out_cons++ % sizeof(ring().out)];
        }
    }

    void set_index(fuzz::Script &script)
    {
        uint32_t *const indices[] = {&ring().in_prod, &ring().out_cons, &ring().in_cons,
                                     &ring().out_prod};
        uint32_t &index = *indices[script.below(4)];
        index = static_cast<uint32_t>(script.near(index));
        trusted_ = false;
    }

    void expect_healed()
    {
        if (trusted_) {
            EXPECT_FALSE(console_.broken());
            drain(sizeof(ring().out));
            EXPECT_EQ(output_, expected_);
        }
        EXPECT_LE(sim::complaints().size(), 1u) << "reported more than once";
        EXPECT_EQ(console_.broken(), !sim::complaints().empty());
        // A daemon that starts over; its console is attached again.
        std::fill_n(page_, sizeof(ring()), 0);
        console_.attach(page_, xen::EventPort{2});
        EXPECT_EQ(console_.write("new", 3), 3u);
        EXPECT_EQ(std::string(ring().out, 3), "new");
    }

    uint8_t *page_ = nullptr;
    xen::Console console_;
    fuzz::Race race_;
    bool trusted_ = true; // the daemon did nothing wrong so far
    unsigned yields_ = 0;
    unsigned trickle_ = 0;
    unsigned sent_ = 0;
    std::string expected_, output_, typed_;
};

} // namespace

FUZZ_TARGET(ConsoleRun)
