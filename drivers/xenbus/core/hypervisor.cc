// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What Xen says of itself (public/version.h).

#include "hypervisor.h"

#include <xen/abi.hpp>
#include <xen/format.hpp>
#include <xen/hypercall.hpp>

using namespace xen;

namespace {

constexpr size_t longest = 1024; // XENVER_capabilities

Result<uint64_t> ask(abi::VersionOp what, void *answer = nullptr)
{
    return static_cast<uint64_t>(TRY(hypercall(abi::hypercall_version, what, answer)));
}

Status add_text(TextBuilder &line, abi::VersionOp what)
{
    char text[longest]{};
    TRY(ask(what, text));
    line.untrusted(text, text_length(text, sizeof(text)));
    return {};
}

void add_byte(TextBuilder &line, uint8_t byte)
{
    const char digits[] = "0123456789abcdef";
    line.text(&digits[byte >> 4], 1).text(&digits[byte & 15], 1);
}

Status add_uuid(TextBuilder &line)
{
    uint8_t handle[16];
    TRY(ask(abi::xenver_guest_handle, handle));
    for (unsigned i = 0; i < sizeof(handle); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            line.text("-");
        add_byte(line, handle[i]);
    }
    return {};
}

Status add_features(TextBuilder &line)
{
    abi::FeatureInfo features{};
    TRY(ask(abi::xenver_get_features, &features));
    for (unsigned shift = 32; shift > 0; shift -= 8)
        add_byte(line, static_cast<uint8_t>(features.submap >> (shift - 8)));
    return {};
}

Status add(TextBuilder &line, xenbus_property property)
{
    switch (property) {
    case XENBUS_MAJOR:
        line.number(TRY(ask(abi::xenver_version)) >> 16);
        return {};
    case XENBUS_MINOR:
        line.number(TRY(ask(abi::xenver_version)) & 0xffff);
        return {};
    case XENBUS_EXTRA:
        return add_text(line, abi::xenver_extraversion);
    case XENBUS_UUID:
        return add_uuid(line);
    case XENBUS_CAPABILITIES:
        return add_text(line, abi::xenver_capabilities);
    case XENBUS_CHANGESET:
        return add_text(line, abi::xenver_changeset);
    case XENBUS_FEATURES:
        return add_features(line);
    case XENBUS_PAGESIZE:
        line.number(TRY(ask(abi::xenver_pagesize)));
        return {};
    }
    return Error::invalid;
}

} // namespace

long xenbus_core_property(xenbus_property property, char *text, size_t size)
{
    TextBuilder line(text, size);
    if (const Status status = add(line, property); !status.ok())
        return to_errno(status.error());
    return static_cast<long>(line.text("\n").length());
}
