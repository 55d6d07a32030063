// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What script.hpp leaves to a file. Speaks no part of Xen's interface.
#include "script.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <gtest/gtest.h>

#include <xenstore_client.hpp>

namespace fuzz {

namespace {

class Stopper : public testing::EmptyTestEventListener {
    void OnTestPartResult(const testing::TestPartResult &result) override
    {
        if (!result.failed())
            return;
        std::fprintf(stderr, "%s:%d: %s\n", result.file_name(), result.line_number(),
                     result.message());
        std::abort();
    }
};

} // namespace

bool stop_at_failures()
{
    testing::UnitTest::GetInstance()->listeners().Append(new Stopper);
    return true;
}

void forget_store_client()
{
    std::destroy_at(&xen::xenstore::client);
    std::construct_at(&xen::xenstore::client);
}

} // namespace fuzz

// Most of the time goes into what the sanitizer keeps about memory that lives for one input.
extern "C" const char *__asan_default_options()
{
    return "malloc_context_size=3:quarantine_size_mb=16";
}
