// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Serving a network interface, and lying about it.
#include "net/net.hpp"

#include <cstring>

namespace backends {

using namespace xen::netif;

namespace {

constexpr uint16_t tx_csum_blank = 1u << 0, tx_more_data = 1u << 2, tx_extra_info = 1u << 3;
constexpr uint8_t extra_more = 1u << 0;
constexpr size_t packet_limit = 65536;

// A slot that describes the packet of the slot before it.
struct TxExtra {
    uint8_t type;
    uint8_t flags;
    uint8_t rest[10];
};
static_assert(sizeof(TxExtra) == sizeof(TxRequest));

Keys merge(Keys keys, const Keys &more)
{
    for (const auto &[key, value] : more)
        keys[key] = value;
    return keys;
}

} // namespace

Net::Net(unsigned domain, uint32_t index, const std::string &mac, const std::string &bridge,
         const Keys &keys)
    : Device({domain, index, "vif"}, {{"handle", std::to_string(index)}, {"mac", mac}},
             merge({{"handle", std::to_string(index)},
                    {"mac", mac},
                    {"bridge", bridge},
                    {"feature-rx-copy", "1"},
                    {"hotplug-status", "connected"}},
                   keys)),
      tap_("evil" + std::to_string(domain) + "." + std::to_string(index), bridge)
{
}

bool Net::connect()
{
    const long tx = store_.read_number(front_key("tx-ring-ref"));
    const long rx = store_.read_number(front_key("rx-ring-ref"));
    if (tx < 0 || rx < 0)
        return false;
    tx_page_ = Mapping(domain(), static_cast<uint32_t>(tx), true);
    rx_page_ = Mapping(domain(), static_cast<uint32_t>(rx), true);
    if (!tx_page_.page() || !rx_page_.page())
        return false;
    if (peek_) // packets wait for the state "connected", buffers to receive into are there
        ring_leaked_ = tx_page_.non_zero_outside(0, sizeof(xen::RingHeader)) +
                       rx_page_.non_zero_outside(0, sizeof(xen::RingHeader) +
                                                        rx_ring_slots * RxRing::slot_size);
    tx_ = TxRing(tx_page_.page(), xen::page_size);
    rx_ = RxRing(rx_page_.page(), xen::page_size);
    return true;
}

void Net::disconnect()
{
    tx_ = {};
    rx_ = {};
    let_go(std::exchange(tx_page_, Mapping()));
    let_go(std::exchange(rx_page_, Mapping()));
    packet_.clear();
    packet_size_ = 0;
    extra_next_ = false;
    room_.reset();
    seen_.clear();
}

void Net::serve()
{
    serve_tx();
    serve_rx();
}

// ---- from the guest ----

void Net::serve_tx()
{
    do {
        for (TxRequest request; tx_.get(request);) {
            if (!extra_next_) {
                collect(request);
                continue;
            }
            TxExtra extra;
            std::memcpy(&extra, &request, sizeof extra);
            extra_next_ = extra.flags & extra_more;
            respond_tx(0, status_null);
        }
    } while (tx_.final_check());
}

// One slot of a packet. The first one has the size of all of them.
void Net::collect(const TxRequest &request)
{
    extra_next_ = request.flags & tx_extra_info;
    const bool first = packet_.empty();
    if (first) {
        packet_size_ = request.size;
        packet_blank_ = request.flags & tx_csum_blank;
    }
    size_t size = request.size;
    Mapping mapping(domain(), request.grant, false);
    const uint8_t *page = mapping.page();
    // How much of a first slot is its own is known only from its page's end, or from the slots that
    // follow; the guests put as much there as fits.
    if (first && (request.flags & tx_more_data))
        size = std::min<size_t>(size, xen::page_size - request.offset % xen::page_size);
    if (!page || request.offset + size > xen::page_size) {
        packet_.clear();
        return respond_tx(request.id, status_error);
    }
    if (peek_)
        look(request.grant, mapping, request.offset, static_cast<unsigned>(request.offset + size));
    packet_.insert(packet_.end(), page + request.offset, page + request.offset + size);
    let_go(std::move(mapping));
    if (!(request.flags & tx_more_data)) {
        packet_.resize(std::min(packet_.size(), packet_size_));
        tap_.send(packet_.data(), packet_.size(), packet_blank_);
        packet_.clear();
        ++received_;
    }
    respond_tx(request.id, status_okay);
}

void Net::respond_tx(uint16_t id, int16_t status)
{
    const Lie lie = tx_script_.next();
    if (lie.has("drop"))
        return;
    const TxResponse response{.id = static_cast<uint16_t>(lie.get("id", id)),
                              .status = static_cast<int16_t>(lie.get("status", status))};
    for (int64_t i = 0; i <= lie.get("dup", 0); ++i)
        tx_.put(response);
    for (int64_t i = 0; i < lie.get("null", 0); ++i)
        tx_.put(TxResponse{.id = id, .status = status_null});
    if (tx_.push())
        channel_.notify();
}

// ---- to the guest ----

bool Net::room()
{
    RxRequest request;
    if (!room_ && rx_.get(request))
        room_ = request;
    return room_.has_value();
}

void Net::serve_rx()
{
    uint8_t packet[packet_limit];
    do {
        while (room()) {
            const size_t size = tap_.receive(packet, sizeof packet);
            if (!size)
                return;
            if (size <= xen::page_size)
                deliver(packet, size);
        }
    } while (rx_.final_check());
}

// One packet in one slot; or the same in a chain of slots, as if it were a large one.
void Net::deliver(const uint8_t *packet, size_t size)
{
    const Lie lie = rx_script_.next();
    const int64_t chain = lie.get("chain", 1);
    for (int64_t left = chain; left > 0 && room(); --left) {
        const RxRequest request = *std::exchange(room_, {});
        Mapping mapping(domain(), request.grant, true);
        if (mapping.page()) {
            if (peek_)
                look(request.grant, mapping, 0, 0);
            std::memcpy(mapping.page(), packet, size);
        }
        respond_rx(request, lie, left > 1 ? rx_more_data : 0, mapping.page() ? size : 0);
        let_go(std::move(mapping));
    }
    ++sent_;
    if (rx_.push())
        channel_.notify();
}

void Net::respond_rx(const RxRequest &request, const Lie &lie, uint16_t flags, size_t size)
{
    if (lie.has("drop"))
        return;
    rx_.put(
        RxResponse{.id = static_cast<uint16_t>(lie.get("id", request.id)),
                   .offset = static_cast<uint16_t>(lie.get("offset", 0)),
                   .flags = static_cast<uint16_t>(lie.get("flags", flags)),
                   .status = static_cast<int16_t>(lie.get("size", static_cast<int64_t>(size)))});
}

// ---- commands ----

// What does the guest show beside the bytes that it speaks of? Later a page may hold what this side
// has been given before.
void Net::look(uint32_t reference, const Mapping &mapping, unsigned first, unsigned end)
{
    if (!seen_.insert(reference).second)
        return;
    ++pages_seen_;
    leaked_ += mapping.non_zero_outside(first, end);
}

// The answers that the guest may be reading; not the requests that are still to be read.
void Net::scribble()
{
    for (unsigned i = 0; i < 64; ++i) {
        seed_ = seed_ * 1664525 + 1013904223;
        const uint32_t back = (seed_ >> 8) % 4 + 1;
        const auto value = static_cast<uint8_t>(seed_ >> 24);
        if (tx_.response_index() >= back)
            tx_.slot(tx_.response_index() - back)[(seed_ >> 16) % sizeof(TxResponse)] = value;
        if (rx_.response_index() >= back)
            rx_.slot(rx_.response_index() - back)[(seed_ >> 16) % sizeof(RxResponse)] = value;
    }
}

bool Net::own_command(const Words &words)
{
    if (words[0] == "at") {
        if (words.size() < 2 || (words[1] != "tx" && words[1] != "rx"))
            throw Failure("at tx|rx N|every FIELD[=VALUE]...");
        (words[1] == "tx" ? tx_script_ : rx_script_).add({words.begin() + 2, words.end()});
    } else if (words[0] == "producer") {
        lie_about_producer(words);
    } else if (words[0] == "peek") {
        peek_ = parse_switch(words);
        pages_seen_ = leaked_ = ring_leaked_ = 0;
        seen_.clear();
    } else {
        return false;
    }
    return true;
}

void Net::lie_about_producer(const Words &words)
{
    if (words.size() != 3 || (words[1] != "tx" && words[1] != "rx"))
        throw Failure("producer tx|rx +N|-N");
    if (!tx_page_.page())
        throw Failure("not connected");
    const std::string &word = words[2];
    const auto distance =
        static_cast<uint32_t>(parse_number(word.starts_with('+') ? word.substr(1) : word));
    if (words[1] == "tx")
        xen::store_shared(tx_.shared().rsp_prod, tx_.response_index() + distance);
    else
        xen::store_shared(rx_.shared().rsp_prod, rx_.response_index() + distance);
    channel_.notify();
}

void Net::add_own_sources(std::vector<pollfd> &sources)
{
    if (room())
        sources.push_back({tap_.fd(), POLLIN, 0});
}

std::string Net::report() const
{
    return " from_guest=" + std::to_string(received_) + " to_guest=" + std::to_string(sent_) +
           " pages=" + std::to_string(pages_seen_) + " leaked=" + std::to_string(leaked_) +
           " ring_leaked=" + std::to_string(ring_leaked_);
}

std::string Net::own_help() const
{
    return "at tx N|every FIELD[=VALUE]...  id= status= dup[=N] null=N drop; N counts from now\n"
           "at rx N|every FIELD[=VALUE]...  id= offset= flags= size= chain=N drop\n"
           "producer tx|rx +N|-N    publish a wrong number of responses\n"
           "peek on|off             count pages, and bytes beside the packets that are not 0;\n"
           "                        said before attach, those of the new rings as well\n";
}

void Net::be_honest()
{
    tx_script_.clear();
    rx_script_.clear();
    peek_ = false;
}

} // namespace backends
