// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client against a real xenstored (docs/misc/xenstore.txt). Below /local/domain/ID
// only data is this domain's to write.
#include <xen/format.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

#include "basics.hpp"
#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

constexpr Transaction none{};

// /local/domain/ID/below
class Directory {
public:
    explicit Directory(const char *below)
    {
        line_.text("/local/domain/").number(guest::own_domid().value).text(below);
    }
    operator const char *() const { return line_.c_str(); }

private:
    TextLine<64> line_;
};

// Runs the xenstore rounds until a watch has counted to `count`.
bool watched(const uint32_t &counter, uint32_t count, uint32_t ms)
{
    uint64_t deadline = xen_port_now() + ms * 1000000ull;
    while (counter < count && xen_port_now() < deadline)
        xenstore::run_once();
    return counter >= count;
}

} // namespace

#define NEED_XENSTORE()                                                                            \
    do {                                                                                           \
        if (guest::first_domain())                                                                 \
            SKIP("no xenstore");                                                                   \
    } while (0)

void store_own_directory()
{
    NEED_XENSTORE();
    Directory own("");
    CHECK(NEED(xenstore::read_number(none, own, "domid")) == guest::own_domid().value);
    CHECK(NEED(xenstore::read(none, own, "name")).length > 0);
    Value vm = NEED(xenstore::read(none, own, "vm"));
    CHECK(text_length(vm.c_str()) > 4 && __builtin_memcmp(vm.data, "/vm/", 4) == 0);
}

void store_keys()
{
    NEED_XENSTORE();
    Directory data("/data");
    NEED(xenstore::write(none, data, "key", "some text"));
    Value value = NEED(xenstore::read(none, data, "key"));
    CHECK(text_equal(value.c_str(), "some text") && value.length == 9);
    NEED(xenstore::write_number(none, data, "key", 18446744073709551615ull));
    CHECK(NEED(xenstore::read_number(none, data, "key")) == 18446744073709551615ull);
    NEED(xenstore::write(none, data, "key", ""));
    CHECK(NEED(xenstore::read(none, data, "key")).length == 0);
    NEED(xenstore::remove(none, data, "key"));
    CHECK_ERROR(xenstore::read(none, data, "key"), Error::no_entry);
}

void store_errors()
{
    NEED_XENSTORE();
    Directory own(""), data("/data");
    CHECK_ERROR(xenstore::read(none, own, "no-such-key"), Error::no_entry);
    CHECK_ERROR(xenstore::write(none, own, "name", "other"), Error::access);
    NEED(xenstore::write(none, data, "key", "12x"));
    CHECK_ERROR(xenstore::read_number(none, data, "key"), Error::invalid);
    NEED(xenstore::remove(none, data, "key"));
}

static void list_counts(void *context, const char *name)
{
    auto *counter = static_cast<uint32_t *>(context);
    if (text_equal(name, "one") || text_equal(name, "two"))
        ++*counter;
    else
        *counter += 100;
}

void store_list()
{
    NEED_XENSTORE();
    Directory list("/data/list");
    NEED(xenstore::write(none, list, "one", "1"));
    NEED(xenstore::write(none, list, "two", "2"));
    uint32_t counter = 0;
    NEED(xenstore::list(none, list, list_counts, &counter));
    CHECK(counter == 2);
    NEED(xenstore::remove(none, list, ""));
    CHECK_ERROR(xenstore::list(none, list, list_counts, &counter), Error::no_entry);
}

void store_ring_wraps()
{
    NEED_XENSTORE();
    Directory data("/data");
    char text[201] = {};
    for (unsigned round = 0; round < 50; ++round) {
        for (unsigned i = 0; i < 200; ++i)
            text[i] = static_cast<char>('a' + (round + i) % 26);
        NEED(xenstore::write(none, data, "long", text));
        Value value = NEED(xenstore::read(none, data, "long"));
        CHECK(value.length == 200 && text_equal(value.c_str(), text));
    }
    NEED(xenstore::remove(none, data, "long"));
}

void store_transaction()
{
    NEED_XENSTORE();
    Directory data("/data");
    Transaction transaction = NEED(xenstore::begin());
    NEED(xenstore::write(transaction, data, "key", "inside"));
    CHECK_ERROR(xenstore::read(none, data, "key"), Error::no_entry);
    xenstore::abort(transaction);
    CHECK_ERROR(xenstore::read(none, data, "key"), Error::no_entry);

    transaction = NEED(xenstore::begin());
    NEED(xenstore::write(transaction, data, "key", "inside"));
    CHECK(text_equal(NEED(xenstore::read(transaction, data, "key")).c_str(), "inside"));
    NEED(xenstore::commit(transaction));
    CHECK(text_equal(NEED(xenstore::read(none, data, "key")).c_str(), "inside"));
    NEED(xenstore::remove(none, data, "key"));
}

void store_conflict()
{
    NEED_XENSTORE();
    Directory data("/data");
    NEED(xenstore::write(none, data, "key", "1"));
    Transaction transaction = NEED(xenstore::begin());
    CHECK(NEED(xenstore::read_number(transaction, data, "key")) == 1);
    NEED(xenstore::write(none, data, "key", "2"));
    NEED(xenstore::write(transaction, data, "key", "3"));
    CHECK_ERROR(xenstore::commit(transaction), Error::again);
    CHECK(NEED(xenstore::read_number(none, data, "key")) == 2);
    NEED(xenstore::remove(none, data, "key"));
}

static void watch_counts(void *context, const char *) { ++*static_cast<uint32_t *>(context); }

void store_watch()
{
    NEED_XENSTORE();
    Directory data("/data");
    // Not on the stack: should a check fail, the client still has it.
    static constinit uint32_t counter;
    static constinit Watch watch;
    watch.path = NEED(join_path(data, "watched"));
    watch.changed = watch_counts;
    watch.context = &counter;
    NEED(xenstore::watch(watch));
    CHECK(watched(counter, 1, 5000)); // every watch fires once to begin with
    uint32_t before = counter;
    NEED(xenstore::write(none, data, "watched", "1"));
    CHECK(watched(counter, before + 1, 5000));
    before = counter;
    NEED(xenstore::write(none, data, "watched/below", "1"));
    CHECK(watched(counter, before + 1, 5000));
    before = counter;
    xenstore::unwatch(watch);
    NEED(xenstore::remove(none, data, "watched"));
    CHECK(counter == before);
}
