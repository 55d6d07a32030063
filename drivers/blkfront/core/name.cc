// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a virtual device number means to the guest (docs/man/xen-vbd-interface): a disk or a
// partition given as a disk, always named xvd. Numbers of IDE and SCSI disks, as old configurations
// have them, become the xvd disk or partition at the same place: hda1 and sda1 are xvda1, hdc is
// xvdc.
#include "blkfront_port.h"

#include <xen/format.hpp>

namespace {

constexpr uint32_t extended = 1u << 28;
constexpr uint32_t minor_limit = 1u << 20;
constexpr uint32_t partitions = 16;           // minors of a disk of the original scheme
constexpr uint32_t extended_partitions = 256; // and of the extended one
constexpr uint32_t ide_partitions = 64;

struct Place {
    uint32_t disk;
    uint32_t partition; // 0: the whole disk
    uint32_t partitions_per_disk;
};

// SCSI disks have majors 8, 65..71 and 128..135, of sixteen disks each.
bool scsi_block(uint32_t major, uint32_t &block)
{
    if (major == 8)
        block = 0;
    else if (major >= 65 && major <= 71)
        block = major - 64;
    else if (major >= 128 && major <= 135)
        block = major - 120;
    else
        return false;
    return true;
}

bool locate(uint32_t id, Place &place)
{
    if (id & extended) {
        const uint32_t minor = id - extended;
        place = {minor / extended_partitions, minor % extended_partitions, extended_partitions};
        return minor < minor_limit;
    }
    const uint32_t major = id >> 8;
    const uint32_t minor = id & 0xff;
    uint32_t block = 0;
    if (major == 202) {
        place = {minor / partitions, minor % partitions, partitions};
    } else if (major == 3 || major == 22) {
        const uint32_t first = major == 3 ? 0 : 2;
        place = {first + minor / ide_partitions, minor % ide_partitions, partitions};
    } else if (scsi_block(major, block)) {
        place = {block * 16 + minor / partitions, minor % partitions, partitions};
    } else {
        return false;
    }
    return place.partition < partitions;
}

} // namespace

extern "C" bool blkfront_name(uint32_t id, char *name, uint32_t *first_minor, uint32_t *minors)
{
    Place place;
    if (!locate(id, place))
        return false;

    // a..z, aa..zz, aaa..: digits without a zero, the lowest first.
    char letters[8];
    unsigned count = 0;
    for (uint32_t rest = place.disk + 1; rest > 0; rest = (rest - 1) / 26)
        letters[count++] = static_cast<char>('a' + (rest - 1) % 26);

    xen::TextBuilder text(name, 16);
    text.text("xvd");
    while (count > 0)
        text.text(&letters[--count], 1);
    if (place.partition)
        text.number(place.partition);

    *first_minor = place.disk * place.partitions_per_disk + place.partition;
    *minors = place.partition ? 1 : place.partitions_per_disk;
    return true;
}
