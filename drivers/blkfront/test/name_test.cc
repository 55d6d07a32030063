// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Virtual device numbers and the names, minors and kinds of disk they stand for.
#include <string>

#include <gtest/gtest.h>

#include <blkfront/core/blkfront_port.h>

namespace {

struct Row {
    uint32_t id;
    const char *name; // empty: no disk
    uint32_t minor;
    uint32_t minors;
};

const Row rows[] = {
    {51712, "xvda", 0, 16},
    {51713, "xvda1", 1, 1},
    {51727, "xvda15", 15, 1},
    {51728, "xvdb", 16, 16},
    {51952, "xvdp", 240, 16},
    {51967, "xvdp15", 255, 1},
    // IDE: 64 minors a disk
    {3 << 8, "xvda", 0, 16},
    {3 << 8 | 1, "xvda1", 1, 1},
    {3 << 8 | 15, "xvda15", 15, 1},
    {3 << 8 | 16, "", 0, 0},
    {3 << 8 | 64, "xvdb", 16, 16},
    {3 << 8 | 66, "xvdb2", 18, 1},
    {22 << 8, "xvdc", 32, 16},
    {22 << 8 | 65, "xvdd1", 49, 1},
    // SCSI: sixteen disks a major
    {8 << 8, "xvda", 0, 16},
    {8 << 8 | 1, "xvda1", 1, 1},
    {8 << 8 | 16, "xvdb", 16, 16},
    {8 << 8 | 255, "xvdp15", 255, 1},
    {65 << 8, "xvdq", 256, 16},
    {71 << 8 | 0xf0, "xvddx", 2032, 16},
    {128 << 8, "xvddy", 2048, 16},
    {135 << 8 | 0xf1, "xvdiv1", 4081, 1},
    // the extended scheme: 256 minors a disk
    {1u << 28, "xvda", 0, 256},
    {1u << 28 | 16 << 8, "xvdq", 4096, 256},
    {1u << 28 | 26 << 8, "xvdaa", 26 * 256, 256},
    {1u << 28 | 26 << 8 | 200, "xvdaa200", 26 * 256 + 200, 1},
    {1u << 28 | 0xfffff, "xvdfan255", 0xfffff, 1},
    {1u << 28 | 0x100000, "", 0, 0},
    // neither
    {0, "", 0, 0},
    {9 << 8, "", 0, 0},
    {64 << 8, "", 0, 0},
    {72 << 8, "", 0, 0},
    {136 << 8, "", 0, 0},
    {203 << 8, "", 0, 0},
    {0xca00 | 1u << 16, "", 0, 0},
    {UINT32_MAX, "", 0, 0},
};

TEST(BlkfrontName, Table)
{
    for (const Row &row : rows) {
        SCOPED_TRACE(row.id);
        char name[16] = "";
        uint32_t minor = 0, minors = 0;
        EXPECT_EQ(blkfront_name(row.id, name, &minor, &minors), row.name[0] != 0);
        EXPECT_STREQ(name, row.name);
        EXPECT_EQ(minor, row.minor);
        EXPECT_EQ(minors, row.minors);
    }
}

// Every name is that of one disk, whatever the scheme, and fits.
TEST(BlkfrontName, FitsForEveryNumber)
{
    for (uint32_t id = 0; id < 1u << 29; id += id < 1u << 17 ? 1 : 255) {
        char name[17];
        name[16] = 'x';
        uint32_t minor, minors;
        if (!blkfront_name(id, name, &minor, &minors))
            continue;
        EXPECT_EQ(name[16], 'x');
        EXPECT_EQ(std::string(name).substr(0, 3), "xvd");
        EXPECT_LE(minor + minors, 1u << 20);
    }
}

} // namespace
