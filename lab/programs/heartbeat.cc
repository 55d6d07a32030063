// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Beats once a millisecond until it gets SIGTERM, and says how it went: "beats N longest N us
// backwards N". The longest time between two beats counts the time for which the machine was
// stopped; no clock may ever go backwards but the wall clock.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>

namespace {

volatile std::sig_atomic_t ended;

int64_t read(clockid_t clock)
{
    timespec now{};
    clock_gettime(clock, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

} // namespace

int main()
{
    struct sigaction action = {};
    action.sa_handler = [](int) { ended = 1; };
    sigaction(SIGTERM, &action, nullptr);
    constexpr clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW};
    int64_t last[] = {read(clocks[0]), read(clocks[1]), read(clocks[2])};
    int64_t longest = 0;
    unsigned long beats = 0, backwards = 0;
    for (; !ended; ++beats) {
        const timespec pause{0, 1'000'000};
        nanosleep(&pause, nullptr);
        for (unsigned i = 0; i < 3; ++i) {
            const int64_t now = read(clocks[i]);
            backwards += now < last[i];
            if (clocks[i] == CLOCK_BOOTTIME)
                longest = std::max(longest, now - last[i]);
            last[i] = now;
        }
    }
    std::printf("beats %lu longest %ld us backwards %lu\n", beats, longest / 1000, backwards);
}
