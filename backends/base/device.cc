// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A device's life in xenstore, as the toolstack and a backend in one (public/io/xenbus.h).
#include "base/device.hpp"

#include <cmath>

namespace backends {

namespace {

constexpr unsigned storm_batch = 256;

Clock::duration seconds(double count)
{
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
}

// A backend type of its own: the kernel's backends look after "vbd" and "vif".
std::string backend_path(const Identity &identity)
{
    return "/local/domain/0/backend/evil" + std::string(identity.type) + "/" +
           std::to_string(identity.domain) + "/" + std::to_string(identity.id);
}

std::string frontend_path(const Identity &identity)
{
    return "/local/domain/" + std::to_string(identity.domain) + "/device/" + identity.type + "/" +
           std::to_string(identity.id);
}

} // namespace

Device::Device(const Identity &identity, Keys front_keys, Keys back_keys)
    : identity_(identity), front_(frontend_path(identity)), back_(backend_path(identity)),
      front_keys_(std::move(front_keys)), back_keys_(std::move(back_keys))
{
    if (!store_.read("/local/domain/" + std::to_string(identity.domain)))
        throw Failure("there is no domain " + std::to_string(identity.domain));
}

// ---- the directories ----

void Device::attach()
{
    if (attached_)
        throw Failure("attached already");
    const auto backend = store_.read(front_key("backend"));
    if (backend && *backend != back_)
        throw Failure("the guest has such a device already, served by " + *backend);
    if (backend) { // an earlier process left it behind
        for (const auto &[key, value] : back_keys_)
            store_.write(back_ + "/" + key, value);
        store_.write(back_ + "/online", "1");
        reopen();
    } else {
        make_directories();
    }
    store_.watch(front_key("state"));
    attached_ = true;
}

// Begins again, as a backend does that has been restarted. The frontend's state is that of the
// connection before until it changes.
void Device::reopen()
{
    drop();
    follow_ = true;
    frontend_ = std::max(0, static_cast<int>(store_.read_number(front_key("state"))));
    frontend_before_ = frontend_;
    set_state(initialising);
}

void Device::make_directories()
{
    store_.transaction([this] {
        store_.remove(back_);
        store_.make_directory(back_, 0, domain());
        store_.make_directory(front_, domain(), 0);
        for (const auto &[key, value] : back_keys_)
            store_.write(back_ + "/" + key, value);
        for (const auto &[key, value] : front_keys_)
            store_.write(front_key(key), value);
        store_.write(back_ + "/frontend", front_);
        store_.write(back_ + "/frontend-id", std::to_string(domain()));
        store_.write(back_ + "/online", "1");
        store_.write(front_key("backend"), back_);
        store_.write(front_key("backend-id"), "0");
        store_.write(front_key("state"), std::to_string(initialising));
        set_state(init_wait);
    });
}

void Device::set_state(State state)
{
    state_ = state;
    store_.write(back_ + "/state", std::to_string(state));
}

std::string Device::detach(double limit)
{
    if (!attached_)
        throw Failure("not attached");
    if (!store_.read(back_ + "/state")) { // nobody can be asked
        remove();
        return "ok the backend's directory was gone";
    }
    store_.write(back_ + "/online", "0");
    set_state(closing);
    follow_ = true;
    wait(closed, limit);
    wait_->detach = true;
    return {};
}

void Device::remove()
{
    drop();
    store_.unwatch(front_key("state"));
    store_.transaction([this] {
        store_.remove(front_);
        store_.remove(back_);
    });
    attached_ = false;
    frontend_ = 0;
}

// ---- following the frontend ----

void Device::follow()
{
    if (!attached_)
        return;
    const long state = store_.read_number(front_key("state"));
    if (state < 0 && !store_.read("/local/domain/" + std::to_string(domain()))) {
        drop();
        store_.remove(back_);
        attached_ = false;
        finished_ = true;
        return;
    }
    frontend_ = state < 0 ? 0 : static_cast<int>(state);
    if (!follow_)
        return;
    if (state_ == initialising && frontend_ == frontend_before_ && frontend_ != initialising)
        return;
    switch (frontend_) {
    case initialising:
        if (state_ == closed || state_ == initialising)
            set_state(init_wait);
        break;
    case initialised:
    case connected:
        if (connected_ || state_ != init_wait)
            break;
        connected_ = connect() && bind();
        if (!connected_)
            drop();
        set_state(connected_ ? connected : closing);
        break;
    case closing:
        if (state_ < closing)
            set_state(closing);
        break;
    case closed:
    case 0:
        drop();
        if (state_ != closed)
            set_state(closed);
        break;
    default:
        break;
    }
}

bool Device::bind()
{
    const long port = store_.read_number(front_key("event-channel"));
    return port > 0 && channel_.bind(domain(), static_cast<uint32_t>(port));
}

void Device::drop()
{
    connected_ = false;
    channel_.unbind();
    disconnect();
}

void Device::let_go(Mapping mapping)
{
    if (hold_ && mapping.page())
        held_.push_back(std::move(mapping));
}

// ---- time ----

void Device::wait(State state, double limit)
{
    const auto now = Clock::now();
    wait_ = Wait{state, false, now, now + seconds(limit)};
}

void Device::check_wait()
{
    if (!wait_)
        return;
    const auto now = Clock::now();
    const bool there =
        (wait_->state && frontend_ == wait_->state) || (wait_->detach && frontend_ == 0);
    if (!there && now < wait_->end && !finished_)
        return;
    const bool detaching = wait_->detach, timer = wait_->state == none;
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(now - wait_->start);
    const std::string in = std::to_string(took.count()) + " ms";
    wait_.reset();
    if (detaching && !finished_)
        remove();
    if (finished_)
        answer_ = "error: the domain is gone";
    else if (there || timer)
        answer_ = "ok " + in;
    else if (detaching)
        answer_ = "ok forced after " + in;
    else
        answer_ = "error: the frontend is in state " + std::to_string(frontend_) + " after " + in;
}

void Device::storm()
{
    if (!storm_)
        return;
    const auto now = Clock::now();
    uint64_t due = storm_batch;
    if (storm_->rate > 0) {
        const double passed = std::chrono::duration<double>(now - storm_->start).count();
        due = static_cast<uint64_t>(std::floor(passed * storm_->rate)) - storm_->sent;
    }
    for (uint64_t i = 0; i < due; ++i)
        storm_sent_ += channel_.notify();
    storm_->sent += due;
    if (now >= storm_->end)
        storm_.reset();
}

void Device::add_sources(std::vector<pollfd> &sources)
{
    sources.push_back({store_.fd(), POLLIN, 0});
    sources.push_back({channel_.fd(), POLLIN, 0});
    if (connected_ && !silent_)
        add_own_sources(sources);
}

int Device::patience() const
{
    if (storm_) // an emulated machine that is never idle has a slow clock
        return storm_->rate > 0 ? 1 : 0;
    return mutate_ && connected_ ? 0 : wait_ ? 20 : 1000;
}

void Device::work()
{
    bool changed = false;
    pollfd events[] = {{store_.fd(), POLLIN, 0}, {channel_.fd(), POLLIN, 0}};
    if (poll(events, 2, 0) > 0) {
        while ((events[0].revents & POLLIN) && store_.take_event())
            changed = true;
        if (events[1].revents & POLLIN)
            channel_.take_event();
    }
    if (changed || wait_)
        follow();
    if (connected_ && !silent_)
        serve();
    if (connected_ && mutate_)
        scribble();
    storm();
    check_wait();
}

} // namespace backends
