// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network interface whose frontend need not keep the rules (public/io/netif.h).
#pragma once

#include "frontend.hpp"

class Nic : public Frontend {
public:
    // Connects as the script says; false: the backend does not want to.
    xen::Result<bool> connect(const Words &words);
    // Sends the script's frame and waits for the answer to its first slot.
    Outcome send(const Words &words);
    // Asks dom0 for its address by ARP and gets the answer.
    bool works();
    void close();

private:
    struct TxRequest {
        uint32_t gref;
        uint16_t offset, flags, id, size;
    };
    struct TxResponse {
        uint16_t id;
        int16_t status;
    };
    struct Extra {
        uint8_t type, flags;
        uint16_t gso_size;
        uint8_t gso_type, pad;
        uint16_t features;
    };
    struct RxRequest {
        uint16_t id, pad;
        uint32_t gref;
    };
    struct RxResponse {
        uint16_t id, offset, flags;
        int16_t status;
    };
    static_assert(sizeof(TxRequest) == 12 && sizeof(Extra) == 8 && sizeof(RxRequest) == 8);
    static constexpr unsigned slots = 256; // of either ring
    static constexpr unsigned buffers = 32;

    xen::Status make_buffers();
    void post(const Words &words, unsigned buffer);
    void put_extras(const Words &words);
    unsigned write_question();
    bool is_answer(const uint8_t *frame, int16_t length) const;
    Outcome answer(unsigned ms);
    bool take_packets();

    uint8_t mac_[6] = {};
    uint32_t tx_prod_ = 0, tx_cons_ = 0;
    uint32_t rx_prod_ = 0, rx_cons_ = 0;
    uint8_t *buffer_[buffers] = {};
    xen::Grant buffer_grant_[buffers];
};
