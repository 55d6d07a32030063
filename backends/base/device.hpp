// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A device that dom0 serves from user space (public/io/xenbus.h): its two directories, the states
// of both sides, the event channel, the clock, and the commands that all devices understand.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <poll.h>

#include <sim/back_ring.hpp>

#include "base/script.hpp"
#include "base/xen.hpp"

namespace backends {

using Clock = std::chrono::steady_clock;
using Keys = std::map<std::string, std::string>;

enum State { none = 0, initialising, init_wait, initialised, connected, closing, closed };

struct Identity {
    unsigned domain;
    uint32_t id;
    const char *type; // "vbd": the frontend's; the backend's is made of it
};

class Device {
public:
    Device(const Identity &identity, Keys front_keys, Keys back_keys);
    virtual ~Device() = default;

    // Makes the device, or goes on with one that an earlier process left behind.
    void attach();
    // Asks the frontend to close and removes the device when it did, or when the time is over.
    std::string detach(double seconds);
    // One line of input, while no earlier command is waiting for something.
    void command(const std::string &line);
    bool waiting() const { return wait_.has_value(); }
    // The answer to the last command, once there is one.
    std::optional<std::string> take_answer();

    void add_sources(std::vector<pollfd> &sources);
    // How long to sleep at most, in milliseconds.
    int patience() const;
    // Everything there is to do now.
    void work();
    // The device is gone and will not come back: the guest has ended, or "quit".
    bool finished() const { return finished_; }
    bool attached() const { return attached_; }

protected:
    // The frontend has published its keys: map its rings. False: impossible.
    virtual bool connect() = 0;
    virtual void disconnect() = 0;
    virtual void serve() = 0;
    // Writes over everything that the guest may read at this moment.
    virtual void scribble() = 0;
    virtual bool own_command(const Words &words) = 0;
    virtual std::string report() const = 0;
    virtual std::string own_help() const = 0;
    virtual void be_honest() = 0;
    virtual void add_own_sources(std::vector<pollfd> &) {}

    std::string front_key(const std::string &key) const { return front_ + "/" + key; }
    // Takes a mapped page out of use, or keeps it where "hold" is on.
    void let_go(Mapping mapping);
    unsigned domain() const { return identity_.domain; }

    Store store_;
    Channel channel_;
    bool silent_ = false;

private:
    using Handler = std::string (Device::*)(const Words &);
    struct Command {
        const char *name;
        const char *help;
        Handler handler;
    };
    static const std::vector<Command> commands;

    std::string run(const Words &words);
    std::string do_help(const Words &);
    std::string do_show(const Words &);
    std::string do_attach(const Words &);
    std::string do_detach(const Words &);
    std::string do_reopen(const Words &);
    std::string do_vanish(const Words &);
    std::string do_unbind(const Words &);
    std::string do_quit(const Words &);
    std::string do_await(const Words &);
    std::string do_sleep(const Words &);
    std::string do_honest(const Words &);
    std::string do_state(const Words &);
    std::string do_keys(const Words &);
    std::string do_follow(const Words &);
    std::string do_silent(const Words &);
    std::string do_hold(const Words &);
    std::string do_mutate(const Words &);
    std::string do_storm(const Words &);
    std::string do_flood(const Words &);

    void make_directories();
    void reopen();
    void set_state(State state);
    void follow();
    bool bind();
    void drop();
    void remove();
    void wait(State state, double seconds);
    void check_wait();
    void storm();

    const Identity identity_;
    const std::string front_;
    const std::string back_;
    const Keys front_keys_;
    Keys back_keys_;

    bool attached_ = false;
    bool connected_ = false;
    bool finished_ = false;
    bool follow_ = true;
    bool hold_ = false;
    bool mutate_ = false;
    State state_ = closed;
    int frontend_ = 0;
    int frontend_before_ = 0; // the last one of the connection before this one
    std::deque<Mapping> held_;

    struct Wait {
        State state; // none: for the time alone
        bool detach;
        Clock::time_point start, end;
    };
    std::optional<Wait> wait_;
    std::optional<std::string> answer_;

    struct Storm {
        Clock::time_point start, end;
        double rate; // events a second; 0: as many as possible
        uint64_t sent;
    };
    std::optional<Storm> storm_;
    uint64_t storm_sent_ = 0;
};

// The whole of one on/off word.
bool parse_switch(const Words &words);
const std::string &only_word(const Words &words, const char *usage);

} // namespace backends
