// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels for programs of the guest's (public/event_channel.h). An event masks its port
// until the program says that it has looked, so a peer that sends without end costs the program,
// not the kernel. Programs are the superuser's, but may be wrong.

#include "evtchn.h"

#include <xen/event.hpp>

#include <new>

using namespace xen;

namespace {

// Of all programs together: a domain has 1,023 where its configuration does not say otherwise.
constinit Quota ports_of_all(256);
constexpr uint32_t domains_end = 0x7ff0;

struct Port {
    EventChannel channel;
    xen_evtchn *file;
    uint32_t number;          // as long as others may send to it; 0: free, or about to be
    Atomic<uint32_t> pending; // to be read
    uint32_t looked;          // how often
};

} // namespace

struct xen_evtchn {
    void *context;
    uint32_t life; // of the domain
    uint32_t next; // to be looked at by the next read
    xen_evtchn *next_file;
    Port ports[XEN_EVTCHN_PORTS];
};

namespace {

constinit SpinLock lock; // for the list of files, and the numbers of their ports
constinit xen_evtchn *files = nullptr;

bool is_void(const xen_evtchn &file) { return file.life != domain_lives(); }

// Of number 0: one that is free.
Port *find(xen_evtchn &file, uint32_t number)
{
    for (Port &port : file.ports) {
        if (port.number == number)
            return &port;
    }
    return nullptr;
}

Result<Port *> get(xen_evtchn &file, uint32_t number)
{
    if (is_void(file))
        return Error::io;
    Port *port = number != 0 ? find(file, number) : nullptr;
    if (port == nullptr)
        return Error::no_entry;
    return port;
}

void arrived(void *context)
{
    auto &port = *static_cast<Port *>(context);
    port.channel.arrived();
    port.pending.store(1);
    xen_evtchn_port_wake(port.file->context);
}

void set_number(Port &port, uint32_t number)
{
    LockGuard guard(lock);
    port.number = number;
}

void close_port(Port &port)
{
    set_number(port, 0);
    port.channel.close();
    port.pending.store(0);
    ports_of_all.give();
}

Status open_port(Port &port, DomId domain, uint32_t remote_port)
{
    return remote_port != 0 ? port.channel.connect(domain, EventPort{remote_port}, arrived, &port)
                            : port.channel.listen(domain, arrived, &port);
}

} // namespace

size_t xen_evtchn_size() { return sizeof(xen_evtchn); }

xen_evtchn *xen_evtchn_open(void *memory, void *context)
{
    auto *file = new (memory) xen_evtchn{};
    file->context = context;
    file->life = domain_lives();
    for (Port &port : file->ports)
        port.file = file;
    LockGuard guard(lock);
    file->next_file = files;
    files = file;
    return file;
}

int xen_evtchn_bind(xen_evtchn *file, uint32_t domain, uint32_t remote_port)
{
    if (is_void(*file))
        return to_errno(Error::io);
    if (domain >= domains_end)
        return to_errno(Error::invalid);
    Port *port = find(*file, 0);
    if (port == nullptr || !ports_of_all.take())
        return to_errno(Error::no_space);
    const Status status = open_port(*port, DomId{static_cast<uint16_t>(domain)}, remote_port);
    if (!status.ok()) {
        ports_of_all.give();
        return to_errno(status.error());
    }
    set_number(*port, port->channel.port().value);
    return static_cast<int>(port->number);
}

int xen_evtchn_unbind(xen_evtchn *file, uint32_t number)
{
    const auto port = get(*file, number);
    if (port.ok())
        close_port(*port.value());
    return to_errno(port.error());
}

int xen_evtchn_notify(xen_evtchn *file, uint32_t number)
{
    const auto port = get(*file, number);
    if (port.ok())
        port.value()->channel.notify();
    return to_errno(port.error());
}

// It may come without an event, as a program's first one does.
int xen_evtchn_unmask(xen_evtchn *file, const uint32_t *ports, unsigned count)
{
    if (is_void(*file))
        return to_errno(Error::io);
    for (unsigned i = 0; i < count; i++) {
        if (const auto port = get(*file, ports[i]); port.ok())
            port.value()->channel.done(++port.value()->looked);
    }
    return 0;
}

int xen_evtchn_read(xen_evtchn *file, uint32_t *ports, unsigned most)
{
    if (is_void(*file))
        return to_errno(Error::io);
    unsigned count = 0;
    for (unsigned i = 0; i < XEN_EVTCHN_PORTS && count < most; i++) {
        Port &port = file->ports[file->next++ % XEN_EVTCHN_PORTS];
        if (port.number != 0 && port.pending.exchange(0) != 0)
            ports[count++] = port.number;
    }
    return static_cast<int>(count);
}

int xen_evtchn_readable(const xen_evtchn *file)
{
    if (is_void(*file))
        return to_errno(Error::io);
    for (const Port &port : file->ports) {
        if (port.pending.load() != 0)
            return 1;
    }
    return 0;
}

void xen_evtchn_close(xen_evtchn *file)
{
    {
        LockGuard guard(lock);
        xen_evtchn **link = &files;
        while (*link != file)
            link = &(*link)->next_file;
        *link = file->next_file;
    }
    for (Port &port : file->ports) {
        if (port.number != 0)
            close_port(port);
    }
}

xen_evtchn *xen_evtchn_hold(uint32_t number)
{
    LockGuard guard(lock);
    xen_evtchn *file = files;
    while (file != nullptr && !get(*file, number).ok()) // of past lives are others of that number
        file = file->next_file;
    return file != nullptr && xen_evtchn_port_hold(file->context) ? file : nullptr;
}

void xen_evtchn_let_go(xen_evtchn *file, uint32_t number)
{
    {
        LockGuard guard(lock);
        if (const auto port = get(*file, number); port.ok())
            port.value()->channel.notify();
    }
    xen_evtchn_port_put(file->context);
}

void xen_evtchn_restored()
{
    LockGuard guard(lock);
    for (xen_evtchn *file = files; file != nullptr; file = file->next_file)
        xen_evtchn_port_wake(file->context);
}
