// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The lines of /sys/hypervisor.
#include <cerrno>
#include <cstring>

#include <xen/abi.hpp>
#include <xenbus/core/hypervisor.h>

#include "fake_kernel.hpp"

namespace {

class Hypervisor : public BusTest {
protected:
    void SetUp() override
    {
        BusTest::SetUp();
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            if (number != xen::abi::hypercall_version)
                return std::optional<long>();
            if (arguments[1] != 0 && result_ >= 0)
                std::memcpy(reinterpret_cast<void *>(arguments[1]), answer_.data(), answer_.size());
            asked_ = arguments[0];
            return std::optional<long>(result_);
        });
    }
    static std::string line(xenbus_property property)
    {
        char text[1100];
        const long length = xenbus_core_property(property, text, sizeof(text));
        return length < 0 ? "error " + std::to_string(length)
                          : std::string(text, static_cast<size_t>(length));
    }
    std::string answer_;
    long result_ = 0;
    unsigned long asked_ = 0;
};

TEST_F(Hypervisor, HasAVersion)
{
    result_ = 4 << 16 | 17;
    EXPECT_EQ(line(XENBUS_MAJOR), "4\n");
    EXPECT_EQ(line(XENBUS_MINOR), "17\n");
    result_ = 0;
    answer_ = ".5-pre";
    EXPECT_EQ(line(XENBUS_EXTRA), ".5-pre\n");
    EXPECT_EQ(asked_, xen::abi::xenver_extraversion);
    EXPECT_EQ(line(XENBUS_CHANGESET), ".5-pre\n");
    EXPECT_EQ(asked_, xen::abi::xenver_changeset);
}

TEST_F(Hypervisor, GivesTheDomainAUuid)
{
    for (char c = 0; c < 16; ++c)
        answer_ += static_cast<char>(c * 17);
    EXPECT_EQ(line(XENBUS_UUID), "00112233-4455-6677-8899-aabbccddeeff\n");
}

TEST_F(Hypervisor, HasProperties)
{
    const uint32_t features[] = {0, 0x0102'70af};
    answer_.assign(reinterpret_cast<const char *>(features), sizeof(features));
    EXPECT_EQ(line(XENBUS_FEATURES), "010270af\n");
    answer_ = "xen-3.0-x86_64 hvm-3.0-x86_32 ";
    EXPECT_EQ(line(XENBUS_CAPABILITIES), answer_ + "\n");
    answer_ = std::string(1024, 'x');
    EXPECT_EQ(line(XENBUS_CAPABILITIES), answer_ + "\n");
    result_ = 4096;
    EXPECT_EQ(line(XENBUS_PAGESIZE), "4096\n");
}

TEST_F(Hypervisor, RefusesToSay)
{
    result_ = -EPERM;
    for (const auto property : {XENBUS_MAJOR, XENBUS_MINOR, XENBUS_EXTRA, XENBUS_UUID,
                                XENBUS_CAPABILITIES, XENBUS_FEATURES, XENBUS_PAGESIZE})
        EXPECT_EQ(line(property), "error -1") << property;
}

} // namespace
