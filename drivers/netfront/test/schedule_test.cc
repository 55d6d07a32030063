// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The interface under fault schedules (sim/schedule.hpp): packets both ways with a backend or an
// xenstored that does one or two things wrong, then with honest ones. Until something is wrong the
// packets are intact; at any time the backend sees no byte that is not a packet's; packets pass
// again.
#include <iterator>

#include <xen/grant.hpp>

#include <sim/access.hpp>
#include <sim/schedule.hpp>
#include <xenstore_wire.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

namespace netif = xen::netif;

const std::vector<sim::ActionRule> anytime = {
    {"vanish", {}}, {"storm", {100}}, {"become", {1, 2, 3, 5, 6, 9}}};

// What a request to xenstore is refused with.
constexpr const char *errors[] = {"EACCES", "EQUOTA", "ENOMEM"};

const sim::Vocabulary words = {
    // The connection's requests to xenstore: reads, keys, states.
    {"request", {1, 2, 3, 4, 5, 6, 10, 14}, {{"refuse", {0, 1, 2}}}},
    // Before the packet of this number, either way.
    {"packet", {1, 3, 6}, anytime},
    // The page of this transmit request stays mapped.
    {"grant", {1, 2, 4}, {{"hold", {}}}},
    {"tx",
     {1, 2, 5},
     {{"id", {0, 1, 127, 128, 0xffff}},
      {"status", {1, 0xfffe, 0x8000}},
      {"twice", {}},
      {"skip", {}}}},
    {"rx",
     {1, 2, 5},
     {{"id", {1, 255, 256, 0xffff}}, // added to the right one
      {"offset", {1, 4095, 4096, 0xffff}},
      {"status", {0, 1, 13, 4097, 0x7fff, 0x8000, 0xffff}},
      {"flags", {1, 2, 4, 8, 16, 0x8000}},
      {"skip", {}}}},
    {"control",
     {1, 2, 3, 4, 7},
     {{"id", {1, 0xffff}}, // added to the right ones
      {"type", {1, 0xffff}},
      {"status", {1, 2, 0xffffffff}},
      {"data", {0, 1, 0xffffffff}},
      {"twice", {}},
      {"skip", {}}}},
    // Right after the frontend loaded from a ring: what it loaded changes, the page of the last
    // transmit request is mapped, or the backend goes.
    {"read", {1, 2, 3, 5, 8, 13, 21}, {{"xor", {0x01, 0xff}}, {"hold", {}}, {"vanish", {}}}},
};

class Run : public NetFrontTest {
public:
    explicit Run(const sim::Schedule &schedule) : faults_(schedule.size()), script_(schedule) {}

    void go()
    {
        SetUp();
        try_to_connect();
        sim::store::refuse({});
        if (fatal_ || !lied_) {
            EXPECT_NE(link, fatal_);
        }
        if (link)
            meet_the_hostile();
        else
            expect_given_up();
        EXPECT_LE(sim::complaints().size(), faults_);
        if (device != nullptr) {
            backend->serve_tx = true;
            expect_reconnect();
        }
        if (faults_ == 1) {
            EXPECT_EQ(script_.left(), 0u) << "nothing ever comes to this fault";
        }
        TearDown();
    }

private:
    void TestBody() override {}

    void try_to_connect()
    {
        sim::store::refuse([this](xen::xenstore::Message request, const std::string &path) {
            const char *error = nullptr;
            script_.happens("request", [&](const sim::Fault &fault) {
                error = errors[*fault.value % std::size(errors)];
                refused_ = true;
                fatal_ |= needed(request, path);
            });
            return error;
        });
        prepare();
        offer_everything(1);
        hash.types = 0xf;
        hash.mapping_size = 2;
        backend->control.tamper = [this](netif::ControlResponse &response) {
            return answer_control(response);
        };
        (void)probe();
        settle();
    }

    // Without the others there is less, or it is noticed later.
    static bool needed(xen::xenstore::Message request, const std::string &path)
    {
        if (request == xen::xenstore::Message::read)
            return path.ends_with("/mac") || path.ends_with("/feature-rx-copy");
        return request != xen::xenstore::Message::watch;
    }

    // Nothing is left of it, it does not try again by itself, and no backend can link it up.
    void expect_given_up()
    {
        expect_nothing_held();
        if (device != nullptr && faults_ == 1) {
            EXPECT_EQ(front_state(), "6");
        }
        backend->set_state(4);
        settle();
        EXPECT_FALSE(link);
    }

    void meet_the_hostile()
    {
        backend->serve_tx = false;
        const sim::LoadObserver observer(
            [this](const void *address, size_t size, unsigned) { loaded(address, size); });
        for (unsigned seed = 1; seed <= 6; ++seed) {
            (void)send(out(seed), description(seed));
            happens();
            transmit(out(seed));
            deliver(seed);
            settle();
            check(seed);
        }
    }

    // Every other one is a chain, with extra-info.
    static Packet out(unsigned seed) { return packet(seed % 2 ? 9000 : 60 * seed, seed); }
    static Packet in(unsigned seed) { return packet(seed % 2 ? 1514 - seed : 9000, seed); }
    static netfront_packet description(unsigned seed)
    {
        netfront_packet packet{};
        packet.checksum_blank = true;
        packet.gso = seed % 2 ? NETFRONT_GSO_TCP_IPV4 : NETFRONT_GSO_NONE;
        packet.gso_size = 1448;
        return packet;
    }

    void check(unsigned packets) const
    {
        if (backend->connected()) { // else nobody looked at what the requests name
            EXPECT_EQ(sim::leaked(), "");
        }
        if (lied_ || refused_)
            return;
        EXPECT_EQ(fetched_, packets);
        ASSERT_EQ(received.size(), packets);
        for (unsigned seed = 1; seed <= packets; ++seed)
            EXPECT_EQ(received[seed - 1], in(seed));
        EXPECT_EQ(features.hash_types, 0xfu);
        EXPECT_EQ(features.static_grants, 384u);
    }

    void happens()
    {
        script_.happens("packet", [this](const sim::Fault &fault) {
            lied_ = true;
            if (fault.action == "vanish")
                backend->disconnect();
            else if (fault.action == "become")
                backend->set_state(static_cast<unsigned>(*fault.value));
            else
                for (uint64_t i = 0; i < *fault.value; ++i)
                    backend->notify();
        });
    }

    void transmit(const Packet &expected)
    {
        while (backend->connected()) {
            const auto taken = backend->take();
            if (!taken)
                break;
            if (!lied_) {
                EXPECT_EQ(taken->packet, expected);
                ++fetched_;
            }
            for (const auto &request : taken->requests)
                answer(request);
            for (size_t i = 0; backend->connected() && i < taken->extras.size(); i++)
                backend->respond_tx({.id = 0, .status = netif::status_null});
        }
    }

    void answer(const netif::TxRequest &request)
    {
        last_grant_ = request.grant;
        script_.happens("grant", [&](const sim::Fault &) {
            lied_ = true;
            backend->peer.map(request.grant, false);
        });
        netif::TxResponse response{.id = request.id, .status = 0};
        unsigned times = 1;
        script_.happens("tx", [&](const sim::Fault &fault) {
            lied_ = true;
            if (fault.action == "id")
                response.id = static_cast<uint16_t>(*fault.value);
            else if (fault.action == "status")
                response.status = static_cast<int16_t>(*fault.value);
            else
                times = fault.action == "twice" ? 2 : 0;
        });
        for (; times > 0; --times)
            backend->respond_tx(response);
    }

    void deliver(unsigned seed)
    {
        const Packet packet = in(seed);
        if (!backend->connected() || backend->receive_buffers() < 3)
            return;
        std::vector<netif::RxResponse> slots;
        bool lie = false;
        for (size_t at = 0; at < packet.size(); at += 4096) {
            const size_t rest = packet.size() - at;
            const bool more = rest > 4096;
            netif::RxResponse response{.id = 0,
                                       .offset = 0,
                                       .flags = more ? netif::rx_more_data : uint16_t{0},
                                       .status = static_cast<int16_t>(more ? 4096 : rest)};
            lie |= tamper(response, slots);
        }
        if (!lie) {
            EXPECT_TRUE(backend->deliver(packet));
            return;
        }
        for (const netif::RxResponse &response : slots)
            backend->respond_rx(response, false);
        backend->show_rx();
    }

    bool tamper(netif::RxResponse response, std::vector<netif::RxResponse> &slots)
    {
        bool lie = false;
        bool skip = false;
        script_.happens("rx", [&](const sim::Fault &fault) {
            lie = lied_ = true;
            const auto value = static_cast<uint16_t>(fault.value.value_or(0));
            if (fault.action == "id")
                response.id = value;
            else if (fault.action == "offset")
                response.offset = value;
            else if (fault.action == "status")
                response.status = static_cast<int16_t>(value);
            else if (fault.action == "flags")
                response.flags = value;
            else
                skip = true;
        });
        if (!skip)
            slots.push_back(response);
        return lie;
    }

    unsigned answer_control(netif::ControlResponse &response)
    {
        unsigned times = 1;
        script_.happens("control", [&](const sim::Fault &fault) {
            lied_ = true;
            const auto value = static_cast<uint32_t>(fault.value.value_or(0));
            if (fault.action == "id")
                response.id = static_cast<uint16_t>(response.id + value);
            else if (fault.action == "type")
                response.type = static_cast<uint16_t>(response.type + value);
            else if (fault.action == "status")
                response.status = value;
            else if (fault.action == "data")
                response.data = value;
            else
                times = fault.action == "twice" ? 2 : 0;
        });
        return times;
    }

    void loaded(const void *address, size_t size)
    {
        if (!backend->connected())
            return;
        const auto *byte = static_cast<const uint8_t *>(address);
        for (auto *ring : {reinterpret_cast<uint8_t *>(&backend->tx.shared()),
                           reinterpret_cast<uint8_t *>(&backend->rx.shared())}) {
            const auto *guest = static_cast<const uint8_t *>(sim::guest_view(ring));
            if (byte < guest || byte + size > guest + 4096)
                continue;
            const sim::Script::Act misbehave = [&](const sim::Fault &fault) {
                lied_ = true;
                if (!backend->connected())
                    return;
                if (fault.action == "xor")
                    ring[byte - guest] ^= static_cast<uint8_t>(*fault.value);
                else if (fault.action == "hold")
                    backend->peer.map(last_grant_, false);
                else
                    backend->disconnect();
            };
            return script_.happens("read", misbehave);
        }
    }

    size_t faults_;
    sim::Script script_;
    bool lied_ = false;
    bool refused_ = false;    // something by xenstore
    bool fatal_ = false;      // without which there is no connection
    uint32_t last_grant_ = 0; // of a transmit request
    unsigned fetched_ = 0;
};

void run(const sim::Schedule &schedule) { Run(schedule).go(); }

TEST(Schedules, NoFault) { sim::explore(words, {{}}, run); }
TEST(Schedules, OneFault) { sim::explore(words, sim::singles(words), run); }
TEST(Schedules, TwoFaults) { sim::explore(words, sim::pairs(words, 120), run); }

} // namespace
} // namespace netfront_test
