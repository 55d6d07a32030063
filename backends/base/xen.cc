// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The store, event channels and mapped pages over the Xen libraries.
#include "base/xen.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

namespace backends {

namespace {

constexpr unsigned page_size = 4096;

Failure failure(const std::string &what) { return Failure(what + ": " + std::strerror(errno)); }

xengnttab_handle *grants()
{
    static xengnttab_handle *const handle = xengnttab_open(nullptr, 0);
    if (!handle)
        throw failure("cannot open /dev/xen/gntdev");
    return handle;
}

} // namespace

// ---- store ----

Store::Store() : handle_(xs_open(0))
{
    if (!handle_)
        throw failure("no xenstore (is this a dom0, and are you root?)");
}

Store::~Store() { xs_close(handle_); }

std::optional<std::string> Store::read(const std::string &path) const
{
    unsigned length = 0;
    void *data = xs_read(handle_, transaction_, path.c_str(), &length);
    if (!data)
        return {};
    std::string value(static_cast<char *>(data), length);
    std::free(data);
    return value;
}

long Store::read_number(const std::string &path) const
{
    const auto text = read(path);
    if (!text || text->empty())
        return -1;
    char *end;
    const long value = std::strtol(text->c_str(), &end, 10);
    return *end || value < 0 ? -1 : value;
}

void Store::write(const std::string &path, const std::string &value)
{
    if (!xs_write(handle_, transaction_, path.c_str(), value.data(), value.size()))
        throw failure("cannot write " + path);
}

void Store::remove(const std::string &path)
{
    if (!xs_rm(handle_, transaction_, path.c_str()) && errno != ENOENT)
        throw failure("cannot remove " + path);
}

void Store::make_directory(const std::string &path, unsigned owner, unsigned reader)
{
    xs_permissions permissions[] = {{.id = owner, .perms = XS_PERM_NONE},
                                    {.id = reader, .perms = XS_PERM_READ}};
    if (!xs_mkdir(handle_, transaction_, path.c_str()) ||
        !xs_set_permissions(handle_, transaction_, path.c_str(), permissions, 2))
        throw failure("cannot make " + path);
}

void Store::transaction(const std::function<void()> &change)
{
    for (;;) {
        transaction_ = xs_transaction_start(handle_);
        if (!transaction_)
            throw failure("no transaction");
        try {
            change();
        } catch (...) {
            xs_transaction_end(handle_, std::exchange(transaction_, 0), true);
            throw;
        }
        if (xs_transaction_end(handle_, std::exchange(transaction_, 0), false))
            return;
        if (errno != EAGAIN)
            throw failure("the transaction failed");
    }
}

void Store::watch(const std::string &path)
{
    if (!xs_watch(handle_, path.c_str(), "w"))
        throw failure("cannot watch " + path);
}

void Store::unwatch(const std::string &path) { xs_unwatch(handle_, path.c_str(), "w"); }

bool Store::take_event()
{
    char **event = xs_check_watch(handle_);
    std::free(event);
    return event != nullptr;
}

// ---- event channel ----

Channel::Channel() : handle_(xenevtchn_open(nullptr, 0))
{
    if (!handle_)
        throw failure("cannot open /dev/xen/evtchn");
}

Channel::~Channel() { xenevtchn_close(handle_); }

bool Channel::bind(unsigned domain, uint32_t remote_port)
{
    unbind();
    port_ = xenevtchn_bind_interdomain(handle_, domain, remote_port);
    return port_ >= 0;
}

void Channel::unbind()
{
    if (port_ >= 0)
        xenevtchn_unbind(handle_, static_cast<evtchn_port_t>(std::exchange(port_, -1)));
}

bool Channel::notify()
{
    return port_ >= 0 && xenevtchn_notify(handle_, static_cast<evtchn_port_t>(port_)) == 0;
}

void Channel::take_event()
{
    const auto port = xenevtchn_pending(handle_);
    if (port >= 0)
        xenevtchn_unmask(handle_, static_cast<evtchn_port_t>(port));
}

// ---- pages ----

Mapping::Mapping(unsigned domain, uint32_t reference, bool writable)
    : page_(static_cast<uint8_t *>(xengnttab_map_grant_ref(
          grants(), domain, reference, writable ? PROT_READ | PROT_WRITE : PROT_READ)))
{
}

unsigned Mapping::non_zero_outside(unsigned first, unsigned end) const
{
    unsigned count = 0;
    for (unsigned i = 0; i < page_size; ++i)
        count += (i < first || i >= end) && page_[i] != 0;
    return count;
}

Mapping::~Mapping()
{
    if (page_)
        xengnttab_unmap(grants(), page_, 1);
}

} // namespace backends
