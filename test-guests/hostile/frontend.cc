// SPDX-License-Identifier: MIT OR GPL-2.0-only
// States, keys and grants of a frontend that need not keep the rules (public/io/xenbus.h).
#include "frontend.hpp"

#include <xen/format.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include "guest.hpp"

using namespace xen;

namespace {

constexpr Transaction none{};
constexpr unsigned patience_ms = 5000;
constexpr uint64_t no_number = ~0ull;
constexpr uint32_t never_given = 2040; // near the end of the table's four pages
constexpr uint32_t beyond_table = 0xfffffff0;
constexpr DomId other_domain{32'000};

constexpr unsigned bit(XenbusState state) { return 1u << static_cast<unsigned>(state); }

} // namespace

const char *outcome_name(Outcome outcome)
{
    static const char *const names[] = {"ok", "error", "unsupported", "dead", "refused", "trouble"};
    return names[static_cast<unsigned>(outcome)];
}

void sleep_ms(unsigned ms)
{
    uint32_t nothing = 0;
    guest::wait_change(nothing, 0, ms);
}

// ---- one ring ----

void *RingPage::slot(uint32_t index, unsigned slots, size_t size) const
{
    // SAFETY: within the page: the callers' rings have as many slots as fit one.
    return reinterpret_cast<uint8_t *>(header + 1) + index % slots * size;
}

Status RingPage::open(DomId peer)
{
    header = static_cast<RingHeader *>(xen_port_page_alloc());
    if (!header)
        return Error::no_memory;
    grant = TRY(Grant::give(peer, header, GrantAccess::read_write));
    header->req_event = header->rsp_event = 1;
    return {};
}

void RingPage::close()
{
    if (header)
        grant.end_and_free(header);
    header = nullptr;
}

void RingPage::publish(uint32_t req_prod)
{
    // Pairs with the backend's read barrier between req_prod and the requests.
    write_barrier();
    store_shared(header->req_prod, req_prod);
}

bool RingPage::wait(uint32_t rsp_prod, const uint32_t &events, unsigned ms) const
{
    uint64_t deadline = xen_port_now() + ms * 1'000'000ull;
    store_shared(header->rsp_event, rsp_prod);
    for (;;) {
        uint32_t seen = load_shared(events);
        // Pairs with the backend's barrier between storing rsp_prod and loading rsp_event.
        full_barrier();
        if (static_cast<int32_t>(load_shared(header->rsp_prod) - rsp_prod) >= 0)
            return true;
        if (xen_port_now() > deadline)
            return false;
        guest::wait_change(events, seen, 20);
    }
}

// ---- the device ----

void Frontend::on_event(void *context)
{
    auto *self = static_cast<Frontend *>(context);
    ++self->event_count_;
    // What a backend sends in vain is not what is tested here: no event is late.
    self->events_.arrived();
    self->events_.done(self->event_count_);
}

Status Frontend::find(const char *node)
{
    directory_ = TRY(join_path("device", node));
    backend_ = TRY(xenstore::read(none, directory(), "backend"));
    peer_ =
        DomId{static_cast<uint16_t>(TRY(xenstore::read_number(none, directory(), "backend-id")))};
    return {};
}

bool Frontend::wait_backend(unsigned wanted, unsigned ms) const
{
    uint64_t deadline = xen_port_now() + ms * 1'000'000ull;
    while (!(bit(read_state(backend_.c_str())) & wanted)) {
        if (xen_port_now() > deadline)
            return false;
        sleep_ms(10);
    }
    return true;
}

Status Frontend::begin()
{
    // Again, because a backend that is behind with states may have missed the last Closed.
    for (unsigned tries = 0; tries < 3; ++tries) {
        TRY(write_state(directory(), XenbusState::initialising));
        if (wait_backend(bit(XenbusState::init_wait), patience_ms / 3))
            return {};
        TRY(write_state(directory(), XenbusState::closed));
        wait_backend(bit(XenbusState::closed), patience_ms / 3);
    }
    return Error::timed_out;
}

Status Frontend::make_grants()
{
    page_ = static_cast<uint8_t *>(xen_port_page_alloc());
    if (!page_)
        return Error::no_memory;
    page_grant_ = TRY(Grant::give(peer_, page_, GrantAccess::read_write));
    readonly_ = TRY(Grant::give(peer_, page_, GrantAccess::read_only));
    foreign_ = TRY(Grant::give(other_domain, page_, GrantAccess::read_write));
    // Kept, so that nobody else is given its number.
    revoked_ = TRY(Grant::give(peer_, page_, GrantAccess::read_write));
    store_shared(guest::grant_entry(revoked_.ref()).flags, 0);
    for (RingPage &ring : rings_)
        TRY(ring.open(peer_));
    TRY(events_.listen(peer_, on_event, this));
    return {};
}

uint64_t Frontend::number(const char *text) const
{
    const struct {
        const char *name;
        uint64_t value;
    } names[] = {
        {"never", never_given},
        {"huge", beyond_table},
        {"readonly", readonly_.ref().value},
        {"foreign", foreign_.ref().value},
        {"revoked", revoked_.ref().value},
        {"ring", rings_[0].grant.ref().value},
        {"ring2", rings_[1].grant.ref().value},
        {"page", page_grant_.ref().value},
        {"port", events_.port().value},
        {"sectors", sectors_},
    };
    for (auto &entry : names) {
        if (text_equal(text, entry.name))
            return entry.value;
    }
    uint64_t value;
    return parse_number(text, value) ? value : no_number;
}

uint64_t Frontend::number(const Words &words, const char *name, uint64_t otherwise) const
{
    const char *text = words.value(name);
    return text ? number(text) : otherwise;
}

void Frontend::remember(const char *name)
{
    if (key_count_ == max_keys)
        return;
    Text<40> &key = keys_[key_count_++];
    TextBuilder(key.data, sizeof key.data).text(name);
}

Status Frontend::key(const Words &words, const char *name, const char *value)
{
    TextLine<64> left_out;
    left_out.text("-key:").text(name);
    if (words.has(left_out.c_str()))
        return {};
    remember(name);
    return xenstore::write(none, directory(), name, value);
}

Status Frontend::key(const Words &words, const char *name, uint64_t value)
{
    TextLine<24> text;
    return key(words, name, text.number(value).c_str());
}

Status Frontend::other_keys(const Words &words)
{
    for (unsigned i = 0; i < words.count(); ++i) {
        const char *name = after(words[i], "key:");
        if (!name)
            continue;
        TextLine<40> left;
        for (; *name && *name != '='; ++name)
            left.text(name, 1);
        const char *value = *name ? name + 1 : name;
        remember(left.c_str());
        uint64_t meant = number(value);
        uint64_t same;
        TextLine<24> text;
        if (meant != no_number && !parse_number(value, same))
            value = text.number(meant).c_str();
        TRY(xenstore::write(none, directory(), left.c_str(), value));
    }
    return {};
}

Result<bool> Frontend::offer(const Words &words, const char *usual)
{
    const char *states = words.value("states");
    for (const char *at = states ? states : usual; *at;) {
        TextLine<24> state;
        for (; *at && *at != ','; ++at)
            state.text(at, 1);
        at += *at == ',';
        TRY(xenstore::write(none, directory(), "state", state.c_str()));
        // A backend sees each state only if it is given the time to look.
        sleep_ms(words.has("slowly") ? 200 : 0);
    }
    wait_backend(bit(XenbusState::connected) | bit(XenbusState::closing) | bit(XenbusState::closed),
                 states ? 1000 : patience_ms);
    return read_state(backend_.c_str()) == XenbusState::connected;
}

void Frontend::close()
{
    (void)write_state(directory(), XenbusState::closing).ok();
    (void)write_state(directory(), XenbusState::closed).ok();
    wait_backend(bit(XenbusState::closed) | bit(XenbusState::unknown), patience_ms);
    events_.close();
    for (RingPage &ring : rings_)
        ring.close();
    if (page_)
        page_grant_.end_and_free(page_);
    page_ = nullptr;
    readonly_.end_and_free(nullptr);
    foreign_.end_and_free(nullptr);
    revoked_.end_and_free(nullptr);
    for (; key_count_; --key_count_)
        (void)xenstore::remove(none, directory(), keys_[key_count_ - 1].c_str()).ok();
    reclaim_grants();
}

void Frontend::storm(uint64_t count) const
{
    while (count--)
        events_.notify();
}
