// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The bus of devices in xenstore (public/io/xenbus.h, docs/misc/xenstore-paths): every directory
// device/TYPE/ID of this domain that names a backend is a device, for as long as the directory and
// the backend are there.
//
// The scan alone adds devices to the list and takes them off it. A device's step runs beside the
// scan and beside other steps, but only while the device's life is `live`.

#include <new>

#include <xen/format.hpp>
#include <xen/lock.hpp>
#include <xen/xenstore.hpp>

#include "xenbus_core.h"

using namespace xen;

namespace {

// Who may touch a device: the scan while it is `starting` or `dead`, its step while it is `live`.
enum Life : uint32_t { starting, live, dead };

constexpr uint16_t domid_first_reserved = 0x7ff0;
constexpr uint16_t domid_invalid = 0x7ff4;
constexpr unsigned nothing_delivered = ~0u;

// Where a device's backend is. The directory is at most what struct xenbus_device holds.
struct Backend {
    char path[80]{};
    uint16_t domain = 0;
};

} // namespace

struct xenbus_core_device {
    char nodename[48]{};
    char type[20]{};
    uint32_t id = 0;
    Backend backend;
    Watch state_watch;
    Atomic<uint32_t> gone; // the scan: the directory is not there any more
    Atomic<uint32_t> life = starting;
    Atomic<uint32_t> ready;
    Atomic<uint32_t> rewritten;  // the backend's state, since it was delivered; perhaps as it was
    Atomic<uint32_t> unrestored; // its backend in a restored domain is not known yet
    unsigned delivered = nothing_delivered; // under the kernel's lock
    // the scan's
    bool seen = false;
    xenbus_core_device *next = nullptr;
};

namespace {

using Device = xenbus_core_device;

constinit Device *devices = nullptr;
constinit Watch bus_watch;

// The names in a directory, one after the other. A reply of xenstored's fits.
class Names {
public:
    Status load(const char *directory)
    {
        used_ = 0;
        return xenstore::list({}, directory, add, this);
    }
    const char *first() const { return used_ ? names_ : nullptr; }
    const char *after(const char *name) const
    {
        name += text_length(name) + 1;
        return name < names_ + used_ ? name : nullptr;
    }

private:
    static void add(void *context, const char *name)
    {
        auto &self = *static_cast<Names *>(context);
        const size_t size = text_length(name) + 1;
        if (size > sizeof names_ - self.used_)
            return;
        for (size_t i = 0; i < size; i++)
            self.names_[self.used_++] = name[i];
    }

    char names_[4096]{};
    size_t used_ = 0;
};

constinit Names types;
constinit Names ids;
constinit bool incomplete = false; // the scan had no answer to something

// A type becomes part of a file's name and of a module's alias.
bool is_type(const char *name)
{
    const size_t length = text_length(name);
    for (size_t i = 0; i < length; i++) {
        const char c = name[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(c == '_' && i))
            return false;
    }
    return length && length < sizeof Device::type;
}

// A decimal number as the toolstack writes it: 32 bits, no sign, no leading zero.
bool parse_id(const char *name, uint32_t &id)
{
    const size_t length = text_length(name);
    if (!length || length > 10 || (name[0] == '0' && length > 1))
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        value = value * 10 + static_cast<unsigned>(name[i] - '0');
    }
    id = static_cast<uint32_t>(value);
    return value <= UINT32_MAX;
}

// no_entry or invalid: the directory is not a device's.
Result<Backend> read_backend(const char *nodename)
{
    const Value path = TRY(xenstore::read({}, nodename, "backend"));
    const uint64_t domain = TRY(xenstore::read_number({}, nodename, "backend-id"));
    Backend backend;
    if (path.data[0] != '/' || path.length >= sizeof backend.path || domain >= domid_first_reserved)
        return Error::invalid;
    TextBuilder(backend.path, sizeof backend.path).text(path.c_str());
    backend.domain = static_cast<uint16_t>(domain);
    return backend;
}

// Did xenstored say that a key is not there, is nonsense, or is not for us? Otherwise nobody knows
// what it holds, and it has to be read again later.
bool is_answer(Error error)
{
    return error == Error::no_entry || error == Error::invalid || error == Error::too_big ||
           error == Error::access || error == Error::perm;
}

// What the backend's directory says. Errors other than no_entry: there was no answer.
Result<XenbusState> read_backend_state(const Device &device)
{
    const Result<uint64_t> state = xenstore::read_number({}, device.backend.path, "state");
    if (state.error() != Error::no_entry && is_answer(state.error()))
        return XenbusState::unknown;
    if (!state.ok())
        return state.error();
    if (state.value() > static_cast<uint64_t>(XenbusState::reconfigured))
        return XenbusState::unknown;
    return static_cast<XenbusState>(state.value());
}

// A backend that has closed, or has no state, is finished unless it says that it stays online: then
// it is being restarted, and the driver may wait for it. An error: there was no answer.
Result<bool> is_finished(const Device &device, const Result<XenbusState> &state)
{
    if (!state.ok() && state.error() != Error::no_entry)
        return state.error();
    if (state.ok() && state.value() != XenbusState::closed)
        return false;
    const Result<uint64_t> online = xenstore::read_number({}, device.backend.path, "online");
    if (!online.ok() && !is_answer(online.error()))
        return online.error();
    return online.ok() ? online.value() == 0 : online.error() == Error::no_entry;
}

void backend_state_changed(void *context, const char *)
{
    auto *device = static_cast<Device *>(context);
    device->rewritten.store(1);
    xenbus_port_kick(device);
}

// Most of what happens in the directory are the drivers' own keys: only directories and the keys
// that say where the backend is concern the bus.
void directory_changed(void *, const char *path)
{
    unsigned depth = 0;
    const char *last = path;
    for (const char *p = path; *p; p++) {
        if (*p == '/') {
            depth++;
            last = p + 1;
        }
    }
    if (depth < 3 || text_equal(last, "backend") || text_equal(last, "backend-id"))
        xenbus_port_kick_scan();
}

Device *find(const char *type, uint32_t id)
{
    for (Device *device = devices; device; device = device->next)
        if (device->id == id && text_equal(device->type, type))
            return device;
    return nullptr;
}

// Is the directory or key not there, or nonsense? Otherwise there was no answer.
bool is_absent(Error error)
{
    incomplete |= !is_answer(error);
    return error == Error::no_entry || error == Error::invalid || error == Error::too_big;
}

// Fills `device` in and hands it to the kernel. A backend that is finished is not waited for: if it
// comes back, the keys that name it are written again, which makes another scan.
Status start(Device &device, const char *type, uint32_t id, const Backend &backend)
{
    TextBuilder(device.type, sizeof device.type).text(type);
    TextBuilder(device.nodename, sizeof device.nodename)
        .text("device/")
        .text(type)
        .text("/")
        .number(id);
    device.id = id;
    device.backend = backend;
    if (const auto finished = is_finished(device, read_backend_state(device));
        finished.ok() && finished.value())
        return Error::no_device;
    device.state_watch.path = TRY(join_path(device.backend.path, "state"));
    device.state_watch.changed = backend_state_changed;
    device.state_watch.context = &device;
    if (const Status watched = xenstore::watch(device.state_watch); !watched.ok()) {
        // A full quota (no_space) has room when another device goes, which makes a scan anyway.
        incomplete |= !is_answer(watched.error()) && watched.error() != Error::no_space;
        return watched;
    }
    const int rc = xenbus_port_add(&device, device.nodename, device.type, id, device.backend.path,
                                   device.backend.domain);
    if (rc) {
        xenstore::unwatch(device.state_watch);
        return static_cast<Error>(-rc);
    }
    return {};
}

void add(const char *type, uint32_t id, const Backend &backend)
{
    xenbus_core_device *memory = xenbus_port_allocate();
    if (!memory)
        return;
    Device *device = new (memory) Device;
    if (const Status status = start(*device, type, id, backend); !status.ok()) {
        if (status.error() != Error::no_device) {
            Line line;
            log_warning(line.text(type)
                            .text("-")
                            .number(id)
                            .text(": cannot be added: error ")
                            .number(static_cast<unsigned>(status.error())));
        }
        xenbus_port_release(device);
        return;
    }
    device->seen = true;
    device->next = devices;
    devices = device;
    device->life.store(live);
    xenbus_port_kick(device);
}

// Looks at one directory device/TYPE/NAME.
void visit(const char *type, const char *name)
{
    uint32_t id;
    if (!parse_id(name, id))
        return;
    Device *device = find(type, id);
    TextLine<sizeof Device::nodename> nodename;
    nodename.text("device/").text(type).text("/").text(name);
    const Result<Backend> backend = read_backend(nodename.c_str());
    if (!backend.ok()) {
        if (!is_absent(backend.error()) && device)
            device->seen = true;
    } else if (!device) {
        add(type, id, backend.value());
    } else {
        device->seen = device->unrestored.load() != 0 ||
                       (backend.value().domain == device->backend.domain &&
                        text_equal(backend.value().path, device->backend.path));
    }
}

void visit_type(const char *type)
{
    TextLine<sizeof Device::nodename> directory;
    directory.text("device/").text(type);
    const Status status = ids.load(directory.c_str());
    if (status.ok()) {
        for (const char *name = ids.first(); name; name = ids.after(name))
            visit(type, name);
    } else if (!is_absent(status.error())) {
        for (Device *device = devices; device; device = device->next)
            if (text_equal(device->type, type))
                device->seen = true;
    }
}

// Takes the devices off the list that the kernel forgot.
void reap()
{
    Device **link = &devices;
    while (Device *device = *link) {
        if (device->life.load() == dead) {
            *link = device->next;
            xenbus_port_release(device);
        } else {
            link = &device->next;
        }
    }
}

// The backend is finished or the directory gone.
void end(Device &device)
{
    xenstore::unwatch(device.state_watch);
    xenbus_port_remove(&device);
    device.life.store(dead);
    xenbus_port_kick_scan(); // reaps it, and finds a successor that is there already
}

Status restore(Device &device)
{
    device.backend = TRY(read_backend(device.nodename));
    xenstore::unwatch(device.state_watch);
    device.state_watch.path = TRY(join_path(device.backend.path, "state"));
    TRY(xenstore::watch(device.state_watch));
    xenbus_core_bound(&device);
    device.unrestored.store(0);
    xenbus_port_restored(&device, device.backend.path, device.backend.domain);
    return {};
}

// Is it known which backend a device has in a restored domain, or that it has none and goes? If
// not, it is to be asked for again.
Status settle(Device &device)
{
    if (device.gone.load() || device.unrestored.load() == 0)
        return {};
    const Status status = restore(device);
    if (!is_answer(status.error()))
        return status;
    device.gone.store(1);
    return {};
}

// The backend that it had may be a stranger by now.
void wait_for_backend(Device &device, Error error)
{
    Line line;
    log_warning(line.text(device.nodename)
                    .text(": its backend is not known yet: error ")
                    .number(static_cast<unsigned>(error)));
    xenbus_port_restored(&device, "", domid_invalid);
    xenbus_port_kick_later(&device);
}

} // namespace

extern "C" size_t xenbus_core_device_size() { return sizeof(Device); }

extern "C" int xenbus_core_start_bus()
{
    const Status status = xenstore::watch(bus_watch, "device", "", directory_changed);
    xenbus_port_kick_scan();
    return to_errno(status.error());
}

extern "C" void xenbus_core_scan()
{
    reap();
    for (Device *device = devices; device; device = device->next)
        device->seen = false;
    incomplete = false;
    if (const Status status = types.load("device"); !status.ok() && !is_absent(status.error())) {
        if (incomplete)
            xenbus_port_kick_scan_later();
        return;
    }
    for (const char *type = types.first(); type; type = types.after(type))
        if (is_type(type))
            visit_type(type);
    for (Device *device = devices; device; device = device->next) {
        if (!device->seen && !device->gone.exchange(1))
            xenbus_port_kick(device);
    }
    if (incomplete)
        xenbus_port_kick_scan_later();
}

extern "C" void xenbus_core_restore_bus()
{
    Status settled;
    // The devices' watches come before those of programs. Those of a device that waits for its
    // backend even at the end do not: what has no room then is logged, and tried again.
    xenstore::hold_renewals(true);
    for (Device *device = devices; device; device = device->next) {
        if (device->life.load() != live)
            continue;
        device->unrestored.store(1);
        // All of the guest waits: one is enough to find out that xenstored is silent.
        if (settled.error() != Error::timed_out)
            settled = settle(*device);
        if (settled.ok())
            xenbus_port_kick(device);
        else
            wait_for_backend(*device, settled.error());
    }
    xenstore::hold_renewals(false);
    xenbus_port_kick_scan();
}

extern "C" void xenbus_core_step(xenbus_core_device *device)
{
    if (device->life.load() != live)
        return;
    xenbus_port_lock(device);
    const bool settled = settle(*device).ok();
    xenbus_port_unlock(device);
    if (!settled) {
        xenbus_port_kick_later(device);
        return;
    }
    const Result<XenbusState> state = read_backend_state(*device);
    const Result<bool> finished = is_finished(*device, state);
    if (device->gone.load() || (finished.ok() && finished.value())) {
        end(*device);
        return;
    }
    if (!finished.ok()) {
        xenbus_port_kick_later(device);
        return;
    }
    const unsigned now = state.ok() ? static_cast<unsigned>(state.value()) : 0;
    const bool connected = now == static_cast<unsigned>(XenbusState::connected);
    xenbus_port_lock(device);
    // A backend writes Connected again to say that the device has changed. What it wrote by now,
    // the driver will see; what it writes later makes another step.
    const bool again = device->rewritten.exchange(0) && connected;
    if ((device->delivered != now || again) && xenbus_port_deliver(device, now) == 0) {
        device->delivered = now;
        if (connected)
            device->ready.store(1);
    }
    xenbus_port_unlock(device);
}

extern "C" void xenbus_core_bound(xenbus_core_device *device)
{
    device->delivered = nothing_delivered;
    device->ready.store(0);
}

extern "C" int xenbus_core_is_ready(const xenbus_core_device *device)
{
    return device->ready.load();
}

extern "C" unsigned xenbus_core_read_state(const char *nodename)
{
    return static_cast<unsigned>(read_state(nodename));
}
