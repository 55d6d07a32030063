// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Programs at /dev/xen/xenbus: right ones, wrong ones, and several at once.
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>

#include <xen/xenstore.hpp>
#include <xenbus/core/user.h>

#include "fake_kernel.hpp"

unsigned wakes;

bool faulty; // the program's memory

void xenbus_user_port_wake(void *) { ++wakes; }
int xenbus_user_port_copy(void *to, const char *from, size_t length)
{
    if (faulty)
        return -EFAULT;
    std::memcpy(to, from, length);
    return 0;
}

namespace {

enum : uint32_t {
    control = 0,
    directory = 1,
    read = 2,
    watch = 4,
    unwatch = 5,
    transaction_start = 6,
    transaction_end = 7,
    write = 11,
    rm = 13,
    event = 15,
    error = 16,
    reset_watches = 21,
};

const std::string nul(1, '\0');

struct Message {
    uint32_t type, request, transaction, length;
    std::string text;
    bool operator==(const Message &) const = default;
};

std::string bytes(uint32_t type, const std::string &payload, uint32_t transaction = 0,
                  uint32_t request = 77)
{
    const uint32_t header[] = {type, request, transaction, static_cast<uint32_t>(payload.size())};
    return std::string(reinterpret_cast<const char *>(header), sizeof(header)) + payload;
}

// A file that a program has open.
class Program {
public:
    Program() : memory_(new uint64_t[xenbus_user_size() / 8 + 1]())
    {
        user = xenbus_user_open(memory_.get(), this);
    }
    ~Program() { xenbus_user_close(user); }
    long put(const std::string &data) { return xenbus_user_write(user, data.data(), data.size()); }
    // All that can be read, in pieces.
    std::vector<Message> take()
    {
        char piece[100];
        while (const size_t length = xenbus_user_read(user, piece, sizeof(piece)))
            taken_.append(piece, length);
        std::vector<Message> messages;
        while (taken_.size() >= 16) {
            Message message;
            std::memcpy(static_cast<void *>(&message), taken_.data(), 16);
            if (taken_.size() < 16 + message.length)
                break;
            message.text = taken_.substr(16, message.length);
            taken_.erase(0, 16 + message.length);
            messages.push_back(message);
        }
        return messages;
    }
    // A request and its reply.
    Message ask(uint32_t type, const std::string &payload, uint32_t transaction = 0)
    {
        const std::string all = bytes(type, payload, transaction);
        EXPECT_EQ(put(all), static_cast<long>(all.size()));
        const auto messages = take();
        EXPECT_EQ(messages.size(), 1u);
        return messages.empty() ? Message{} : messages[0];
    }
    uint32_t begin() { return static_cast<uint32_t>(std::stoul(ask(transaction_start, nul).text)); }
    xenbus_user *user;

private:
    std::unique_ptr<uint64_t[]> memory_;
    std::string taken_;
};

class User : public BusTest {
protected:
    void SetUp() override
    {
        BusTest::SetUp();
        wakes = 0;
        sim::store::write("/there", "yes");
    }
};

#define EXPECT_REFUSED(message, name)                                                              \
    do {                                                                                           \
        const Message got = message;                                                               \
        EXPECT_EQ(got.type, uint32_t{error});                                                      \
        EXPECT_EQ(got.request, 77u);                                                               \
        EXPECT_EQ(got.text, name + nul);                                                           \
    } while (0)

TEST_F(User, RequestsAreAnswered)
{
    Program program;
    EXPECT_FALSE(xenbus_user_readable(program.user));
    EXPECT_EQ(program.ask(read, "/there" + nul), (Message{read, 77, 0, 3, "yes"}));
    EXPECT_EQ(wakes, 1u);
    EXPECT_EQ(program.ask(write, "/there" + nul + "no"), (Message{write, 77, 0, 3, "OK" + nul}));
    EXPECT_EQ(sim::store::read("/there"), "no");
    EXPECT_REFUSED(program.ask(read, "/elsewhere" + nul), "ENOENT");
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(User, RequestsMayComeInPieces)
{
    Program program;
    const std::string two = bytes(read, "/there" + nul) + bytes(read, "/there" + nul, 0, 78);
    for (size_t size : {1, 7, 16, 17, 40}) {
        for (size_t at = 0; at < two.size(); at += size) {
            const std::string piece = two.substr(at, size);
            EXPECT_EQ(program.put(piece), static_cast<long>(piece.size()));
        }
        const auto replies = program.take();
        ASSERT_EQ(replies.size(), 2u);
        EXPECT_EQ(replies[1], (Message{read, 78, 0, 3, "yes"}));
    }
}

TEST_F(User, WatchesFireWithTheirTokens)
{
    Program program, other;
    ASSERT_EQ(program.ask(watch, "/there" + nul + "mine" + nul).text, "OK" + nul);
    ASSERT_EQ(other.ask(watch, "/there" + nul + "other" + nul).text, "OK" + nul);
    sim::run();
    EXPECT_EQ(program.take(),
              (std::vector{Message{event, 0, 0, 12, "/there" + nul + "mine" + nul}}));
    sim::store::write("/there/below", "1");
    sim::run();
    EXPECT_EQ(program.take(),
              (std::vector{Message{event, 0, 0, 18, "/there/below" + nul + "mine" + nul}}));
    EXPECT_REFUSED(program.ask(watch, "/there" + nul + "mine" + nul), "EEXIST");
    EXPECT_REFUSED(program.ask(unwatch, "/there" + nul + "other" + nul), "ENOENT");
    EXPECT_EQ(program.ask(unwatch, "/there" + nul + "mine" + nul).text, "OK" + nul);
    sim::store::write("/there", "2");
    sim::run();
    EXPECT_TRUE(program.take().empty());
    EXPECT_EQ(other.take().size(), 3u);
}

TEST_F(User, WhatAProgramLeavesIsUndone)
{
    const unsigned watches = sim::store::guest_watches();
    const unsigned pages = sim::pages_in_use();
    {
        Program program;
        for (char token = 'a'; token < 'f'; ++token)
            program.ask(watch, "/there" + nul + token + nul);
        program.ask(write, "/there" + nul + "never", program.begin());
        EXPECT_EQ(sim::store::guest_watches(), watches + 5);
    }
    EXPECT_EQ(sim::store::guest_watches(), watches);
    EXPECT_EQ(sim::pages_in_use(), pages);
    EXPECT_EQ(sim::store::read("/there"), "yes");
}

TEST_F(User, TransactionsAreOnesOwn)
{
    Program program, other;
    const uint32_t id = program.begin();
    EXPECT_REFUSED(other.ask(write, "/there" + nul + "other's", id), "ENOENT");
    EXPECT_REFUSED(other.ask(transaction_end, "T" + nul, id), "ENOENT");
    EXPECT_REFUSED(program.ask(transaction_start, nul, id), "EINVAL");
    EXPECT_REFUSED(program.ask(transaction_end, "T" + nul), "EINVAL");
    EXPECT_EQ(program.ask(write, "/there" + nul + "mine", id).type, uint32_t{write});
    EXPECT_EQ(sim::store::read("/there"), "yes");
    EXPECT_EQ(program.ask(transaction_end, "T" + nul, id).type, uint32_t{transaction_end});
    EXPECT_EQ(sim::store::read("/there"), "mine");
    EXPECT_REFUSED(program.ask(transaction_end, "T" + nul, id), "ENOENT");
    for (unsigned i = 0; i < 6; ++i)
        EXPECT_NE(program.begin(), 0u);
    EXPECT_REFUSED(program.ask(transaction_start, nul), "EQUOTA");
}

// In a restored domain a number may be of somebody else's transaction.
TEST_F(User, TransactionsOfARestoredDomainHaveToBeRepeated)
{
    Program program;
    const uint32_t id = program.begin(), unused = program.begin();
    program.ask(watch, "/there" + nul + "mine" + nul);
    sim::run();
    program.take();
    sim::restore();
    sim::run();
    EXPECT_EQ(program.take().at(0).text, "/there" + nul + "mine" + nul);
    const auto kernels = xen::xenstore::begin();
    ASSERT_TRUE(kernels.ok());
    EXPECT_REFUSED(program.ask(read, "/there" + nul, id), "EAGAIN");
    EXPECT_REFUSED(program.ask(transaction_end, "T" + nul, id), "EAGAIN");
    EXPECT_REFUSED(program.ask(transaction_end, "T" + nul, id), "ENOENT");
    EXPECT_REFUSED(program.ask(transaction_end, "F" + nul, unused), "EAGAIN");
    EXPECT_TRUE(xen::xenstore::commit(kernels.value()).ok());
    EXPECT_NE(program.begin(), 0u);
}

// xenstored broke the protocol, and the ring starts over.
void reconnect()
{
    sim::store::send_raw(std::vector<uint8_t>(16, 0xff));
    sim::run();
}

// A program slept on the lock all the time. The kernel's transaction has the number of the
// program's.
TEST_F(User, RequestsThatWaitWhileXenstoredForgetsTransactions)
{
    for (const auto forget : {sim::restore, reconnect}) {
        for (const uint32_t type : {uint32_t{write}, uint32_t{transaction_end}}) {
            Program program;
            const uint32_t id = program.begin();
            xen::Transaction kernels{};
            sim::before_request([&] {
                forget();
                while ((kernels = xen::xenstore::begin().take()).value != id)
                    xen::xenstore::abort(kernels);
            });
            const std::string payload = type == write ? "/there" + nul + "stale" : "T" + nul;
            EXPECT_REFUSED(program.ask(type, payload, id), "EAGAIN");
            EXPECT_TRUE(xen::xenstore::commit(kernels).ok());
            EXPECT_EQ(sim::store::read("/there"), "yes");
        }
        {
            Program program;
            sim::before_request(forget);
            const uint32_t id = program.begin();
            EXPECT_EQ(program.ask(write, "/there" + nul + "new", id).type, uint32_t{write});
            EXPECT_EQ(program.ask(transaction_end, "T" + nul, id).type, uint32_t{transaction_end});
            EXPECT_EQ(sim::store::read("/there"), "new");
            sim::before_request(forget);
            EXPECT_NE(program.begin(), 0u);
            EXPECT_EQ(sim::store::guest_transactions(), 1u);
        }
        EXPECT_EQ(sim::store::guest_transactions(), 0u);
        sim::store::write("/there", "yes");
    }
}

TEST_F(User, TransactionsMayHaveTheNumberOfAForgottenOne)
{
    Program program;
    for (unsigned round = 0; round < 10; ++round) {
        const uint32_t id = program.begin();
        EXPECT_EQ(id, 1u);
        EXPECT_EQ(program.ask(read, "/there" + nul, id).text, "yes");
        if (round % 2) {
            EXPECT_EQ(program.ask(transaction_end, "T" + nul, id).type, uint32_t{transaction_end});
        }
        sim::restore();
        sim::run();
    }
}

// xenstored keeps a transaction whose end it does not understand, or did not hear of.
TEST_F(User, TransactionsWhoseEndFailsAreEndedWithTheProgram)
{
    {
        Program program;
        const uint32_t id = program.begin();
        for (const std::string &payload : {std::string(), nul, std::string("T"), "X" + nul,
                                           "TT" + nul, "T" + nul + "T" + nul, "t" + nul})
            EXPECT_REFUSED(program.ask(transaction_end, payload, id), "EINVAL");
        EXPECT_EQ(sim::store::guest_transactions(), 1u);
        EXPECT_EQ(program.ask(read, "/there" + nul, id).text, "yes");
        sim::store::answer(false);
        EXPECT_EQ(program.put(bytes(transaction_end, "T" + nul, id)), -EIO);
        sim::store::answer(true);
    }
    EXPECT_EQ(sim::store::guest_transactions(), 0u);
}

// However many they are, the kernel has enough left of what xenstored allows the domain.
TEST_F(User, ProgramsTogetherHaveAShare)
{
    {
        Program programs[7];
        for (unsigned i = 0; i < 6; ++i)
            EXPECT_NE(programs[i].begin(), 0u);
        EXPECT_REFUSED(programs[6].ask(transaction_start, nul), "EQUOTA");
        EXPECT_EQ(programs[0].ask(transaction_end, "F" + nul, 1).type, uint32_t{transaction_end});
        EXPECT_NE(programs[6].begin(), 0u);
        for (unsigned i = 0; i < 64; ++i)
            EXPECT_EQ(programs[i % 2].ask(watch, "w" + std::to_string(i) + nul + "t" + nul).type,
                      uint32_t{watch});
        sim::run();
        programs[0].take();
        EXPECT_REFUSED(programs[2].ask(watch, "w64" + nul + "t" + nul), "EQUOTA");
        EXPECT_EQ(programs[0].ask(unwatch, "w0" + nul + "t" + nul).type, uint32_t{unwatch});
        EXPECT_EQ(programs[2].ask(watch, "w64" + nul + "t" + nul).type, uint32_t{watch});
    }
    Program program;
    for (unsigned i = 0; i < 6; ++i)
        EXPECT_NE(program.begin(), 0u);
}

// As xenstored does by default.
void limit_the_domain()
{
    sim::store::refuse([](xen::xenstore::Message request, const std::string &) {
        const auto type = static_cast<uint32_t>(request);
        const bool full = (type == watch && sim::store::guest_watches() >= 128) ||
                          (type == transaction_start && sim::store::guest_transactions() >= 10);
        return full ? "EQUOTA" : nullptr;
    });
}

// Or xenstored would keep more and more for the domain, and leave nothing to the kernel.
TEST_F(User, WhatProgramsLeaveInSilenceKeepsItsShare)
{
    limit_the_domain();
    const unsigned watches = sim::store::guest_watches(), pages = sim::pages_in_use();
    for (unsigned round = 0; round < 4; ++round) {
        {
            Program program;
            for (unsigned i = 0; i < 64; ++i)
                EXPECT_EQ(program.ask(watch, "w" + std::to_string(i) + nul + "t" + nul).type,
                          uint32_t{watch});
            sim::run();
            program.take();
            for (unsigned i = 0; i < 6; ++i)
                EXPECT_EQ(program.ask(transaction_start, nul).type, uint32_t{transaction_start});
            sim::store::answer(false);
        }
        sim::store::answer(true);
        const auto kernels = xen::xenstore::begin();
        ASSERT_TRUE(kernels.ok());
        xen::xenstore::abort(kernels.value());
    }
    {
        Program last; // xenstored is told when one ends
    }
    EXPECT_EQ(sim::store::guest_watches(), watches);
    EXPECT_EQ(sim::store::guest_transactions(), 0u);
    EXPECT_EQ(sim::pages_in_use(), pages);
}

// Nor does what xenstored begins when its program was told that it failed.
TEST_F(User, WhatIsAnsweredTooLateIsUndone)
{
    limit_the_domain();
    const unsigned watches = sim::store::guest_watches(), pages = sim::pages_in_use();
    for (unsigned round = 0; round < 4; ++round) {
        {
            Program program;
            sim::store::answer(false);
            for (unsigned i = 0; i < 10; ++i)
                EXPECT_EQ(program.put(bytes(transaction_start, nul)), -EIO);
            for (unsigned i = 0; i < 10; ++i)
                EXPECT_REFUSED(program.ask(watch, "w" + nul + std::to_string(i) + nul), "EIO");
            sim::store::answer(true);
            sim::run();
            const auto kernels = xen::xenstore::begin();
            ASSERT_TRUE(kernels.ok());
            xen::xenstore::abort(kernels.value());
            EXPECT_TRUE(program.take().empty()) << "an event of a watch that failed";
        }
        EXPECT_EQ(sim::store::guest_transactions(), 0u);
        EXPECT_EQ(sim::store::guest_watches(), watches);
        EXPECT_EQ(sim::pages_in_use(), pages);
    }
}

TEST_F(User, OnlyWhatConcernsAProgramIsForwarded)
{
    Program program;
    sim::run();
    const unsigned watches = sim::store::guest_watches();
    for (const uint32_t type : {uint32_t{control}, uint32_t{reset_watches}, 8u, 9u, uint32_t{event},
                                uint32_t{error}, 18u, 19u, 22u, 23u, 0xffff'ffffu})
        EXPECT_REFUSED(program.ask(type, "/there" + nul), "ENOSYS");
    EXPECT_EQ(sim::store::guest_watches(), watches);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(User, MalformedWatchesAreRefused)
{
    Program program;
    const std::string longest(255, 'x'), token(255, 't');
    EXPECT_EQ(program.ask(watch, longest + nul + token + nul).type, uint32_t{watch});
    for (const std::string &payload :
         {std::string(), nul, "/there" + nul, "/there" + nul + "token", nul + "token" + nul,
          std::string("/there"), longest + "x" + nul + token + nul,
          longest + nul + token + "t" + nul, "/there" + nul + "a" + nul + "b" + nul})
        EXPECT_REFUSED(program.ask(watch, payload), "EINVAL");
    EXPECT_EQ(program.ask(watch, "/there" + nul + nul).type, uint32_t{watch}); // an empty token
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(User, MessagesThatAreTooLongAreNotTaken)
{
    Program program;
    const std::string longest = bytes(write, "/there" + nul + std::string(4089, 'x'));
    EXPECT_EQ(program.put(longest), static_cast<long>(longest.size()));
    EXPECT_EQ(program.take().size(), 1u);
    for (const uint32_t length : {4097u, 0x8000'0000u, 0xffff'fff0u, 0xffff'ffffu}) {
        const uint32_t header[] = {read, 1, 0, length};
        EXPECT_EQ(program.put(std::string(reinterpret_cast<const char *>(header), 16)), -EINVAL);
        EXPECT_EQ(program.ask(read, "/elsewhere" + nul).type, uint32_t{error});
    }
}

// It is told less, and what it has to do first; nothing is lost but how often a watch fired.
TEST_F(User, ProgramsThatDoNotReadAreNotServed)
{
    Program program;
    ASSERT_EQ(program.ask(watch, "/there" + nul + "mine" + nul).type, uint32_t{watch});
    for (unsigned i = 0; i < 1000; ++i) {
        sim::store::write("/there/" + std::string(200, 'x'), "1");
        sim::run();
    }
    const std::string request = bytes(read, "/there" + nul);
    EXPECT_TRUE(xenbus_user_writable(program.user));
    long put = 0;
    for (unsigned i = 0; i < 1000 && (put = program.put(request)) > 0; ++i) {
    }
    EXPECT_EQ(put, -EAGAIN);
    EXPECT_FALSE(xenbus_user_writable(program.user)); // whoever waits for it must not spin
    const auto messages = program.take();
    EXPECT_TRUE(xenbus_user_writable(program.user));
    EXPECT_GT(messages.size(), 50u);
    EXPECT_EQ(messages.back().text, "/there" + nul + "mine" + nul);
    EXPECT_EQ(program.ask(read, "/there" + nul).text, "yes");
}

// Or the program would have it carried out once more.
TEST_F(User, WhatWasCarriedOutIsTakenWhateverFollows)
{
    Program program;
    const std::string good = bytes(write, "/there" + nul + "1");
    const uint32_t header[] = {read, 1, 0, 4097};
    const std::string bad(reinterpret_cast<const char *>(header), 16);
    EXPECT_EQ(program.put(good + good + bad), static_cast<long>(2 * good.size()));
    EXPECT_EQ(program.put(bad), -EINVAL);
    sim::store::filter_replies([](std::vector<uint8_t> &bytes) {
        if (bytes[0] == read)
            bytes.clear(); // not answered
    });
    const std::string unanswered = bytes(read, "/there" + nul);
    const unsigned requests = sim::store::requests();
    EXPECT_EQ(program.put(good + unanswered), static_cast<long>(good.size()));
    EXPECT_EQ(program.put(unanswered), -EIO);
    EXPECT_EQ(sim::store::requests(), requests + 2) << "carried out again";
    sim::store::filter_replies({});
    EXPECT_EQ(program.take().size(), 3u);
    EXPECT_EQ(program.ask(read, "/there" + nul).text, "1");
}

// The program is ending, and cannot be killed any more.
TEST_F(User, ClosingIsShortIfXenstoredIsSilent)
{
    uint64_t start;
    {
        Program program;
        for (unsigned i = 0; i < 64; ++i)
            program.ask(watch, "w" + std::to_string(i) + nul + "t" + nul);
        sim::run();
        program.take();
        for (unsigned i = 0; i < 6; ++i)
            EXPECT_NE(program.begin(), 0u);
        sim::store::answer(false);
        start = sim::now();
    }
    EXPECT_LT(sim::now() - start, 6'000'000'000u);
    sim::store::answer(true);
}

// Of the whole request, however it was written: the next one begins where it should.
TEST_F(User, SilenceOfXenstoredsIsAnError)
{
    Program program;
    for (const size_t size : {1u, 600u, 4089u}) {
        const std::string request = bytes(write, "/there" + nul + std::string(size, 'x'));
        for (const size_t begun : {0u, 10u, 16u}) {
            EXPECT_EQ(program.put(request.substr(0, begun)), static_cast<long>(begun));
            sim::store::answer(false);
            EXPECT_EQ(program.put(request.substr(begun)), -EIO);
            sim::store::answer(true);
            EXPECT_EQ(program.ask(read, "/elsewhere" + nul).text, "ENOENT" + nul);
        }
    }
}

TEST_F(User, MemoryThatIsNotThereIsAnError)
{
    Program program;
    const std::string request = bytes(read, "/there" + nul);
    for (const size_t begun : {0u, 10u, 16u}) {
        EXPECT_EQ(program.put(request.substr(0, begun)), static_cast<long>(begun));
        faulty = true;
        EXPECT_EQ(program.put(request.substr(begun)), -EFAULT);
        faulty = false;
        EXPECT_EQ(program.ask(read, "/there" + nul).text, "yes");
    }
}

} // namespace
