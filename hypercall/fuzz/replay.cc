// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Plays a corpus to a fuzz target that was built without libFuzzer: each argument is an input or a
// folder of them. The last line named is the input that failed. Speaks no part of Xen's interface.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **arguments)
{
    std::vector<std::filesystem::path> inputs;
    for (int i = 1; i < count; ++i) {
        if (!std::filesystem::is_directory(arguments[i])) {
            inputs.emplace_back(arguments[i]);
            continue;
        }
        for (const auto &entry : std::filesystem::directory_iterator(arguments[i]))
            inputs.push_back(entry.path());
    }
    std::sort(inputs.begin(), inputs.end());
    for (const auto &path : inputs) {
        std::ifstream file(path, std::ios::binary);
        if (!file) {
            std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
            return 1;
        }
        const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
        std::printf("%s %s\n", arguments[0], path.c_str());
        std::fflush(stdout);
        // A copy of the exact size, so that the sanitizer sees a read behind its end.
        const std::vector<uint8_t> input(bytes.begin(), bytes.end());
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    std::printf("%zu inputs\n", inputs.size());
    return inputs.empty();
}
