// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A watch of the xenstore client's, for its tests.
#pragma once

#include <string>
#include <vector>

#include <xen/xenstore.hpp>

// A watch that remembers what it was told.
struct Recorder {
    explicit Recorder(const char *path)
    {
        watch.path = xen::join_path(path, "").take();
        watch.context = this;
        watch.changed = [](void *context, const char *path) {
            static_cast<Recorder *>(context)->seen.emplace_back(path);
        };
    }
    xen::Watch watch;
    std::vector<std::string> seen;
};
