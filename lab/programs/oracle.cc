// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Knows what a disk has to hold. A seed decides on everything that is written, so that a volume can
// be judged afterwards, anywhere, by the seed and by what was acknowledged:
//
//   oracle fill  VOLUME SEED MIB JOBS             generation 0 everywhere, then a flush;
//                                                 once before each write
//   oracle write VOLUME SEED MIB JOBS SECONDS     each job overwrites parts of its own area, in
//   batches
//                                                 that end with a flush; says "flushed JOB N" for
//                                                 each
//   oracle check VOLUME SEED MIB JOBS [JOB=N...]  JOB=N: what was said last of a job
//
// Write number N of a job gives its sectors generation N. Every sector says in its content which
// sector and generation it is. What was flushed must be there; a sector may be newer only by a
// write of the one batch that can have been under way; the last part of each area, which is never
// written, and what lies beyond MIB, which is zero, may not have changed. A request that fails ends
// its job with "error".
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

constexpr uint64_t sector_size = 512;
constexpr uint64_t align = 8;      // sectors: fits disks with sectors of 4096 bytes
constexpr uint64_t longest = 512;  // of a write: 256 KiB
constexpr uint64_t guard_part = 8; // one of so many parts of an area is never written
constexpr uint64_t magic = 0x70726f78656e6f73;
constexpr unsigned faults_shown = 10;

struct Random {
    uint64_t state;
    uint64_t next() // splitmix64
    {
        uint64_t x = state += 0x9e3779b97f4a7c15;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        return x ^ x >> 31;
    }
    uint64_t below(uint64_t limit) { return next() % limit; }
};

struct Sector {
    uint64_t magic, number, generation;
    uint64_t rest[61];
};
static_assert(sizeof(Sector) == sector_size);

void make(Sector &sector, uint64_t seed, uint64_t number, uint64_t generation)
{
    sector = {magic ^ seed, number, generation, {}};
    Random random{seed ^ number << 24 ^ generation};
    for (uint64_t &word : sector.rest)
        word = random.next();
}

struct Settings {
    const char *path;
    uint64_t seed;
    uint64_t sectors;
    unsigned jobs;
    const char *name() const
    {
        const char *slash = std::strrchr(path, '/');
        return slash ? slash + 1 : path;
    }
    uint64_t area() const { return sectors / jobs / align * align; }
};

struct Write {
    uint64_t first, count; // sectors, in the volume
    bool flush;            // ends its batch
};

// The writes of one job, in order.
class Job {
public:
    Job(const Settings &settings, unsigned index)
        : first_(settings.area() * index),
          room_(settings.area() - settings.area() / guard_part), random_{settings.seed * 1000003 +
                                                                         index}
    {
    }
    Write next()
    {
        const uint64_t blocks = random_.below(4) ? 1 + random_.below(4) : 1 + random_.below(64);
        const uint64_t count = std::min(blocks * align, longest);
        const uint64_t start = random_.below((room_ - count) / align) * align;
        return {first_ + start, count, random_.below(12) == 0};
    }

private:
    uint64_t first_, room_;
    Random random_;
};

[[noreturn]] void die(const char *what)
{
    std::printf("oracle: %s: %s\n", what, std::strerror(errno));
    std::exit(2);
}

// Caches of this machine must not stand in for the volume's.
int open_volume(const char *path, int mode)
{
    struct stat status;
    if (stat(path, &status))
        die(path);
    const int fd = open(path, mode | (S_ISBLK(status.st_mode) ? O_DIRECT : 0));
    if (fd < 0)
        die(path);
    return fd;
}

struct Buffer {
    explicit Buffer(uint64_t sectors)
        : sector(static_cast<Sector *>(std::aligned_alloc(4096, sectors * sector_size)))
    {
    }
    ~Buffer() { std::free(sector); }
    Buffer(const Buffer &) = delete;
    Sector *sector;
};

bool put(int fd, const Buffer &buffer, uint64_t first, uint64_t count)
{
    const auto size = static_cast<ssize_t>(count * sector_size);
    const ssize_t done =
        pwrite(fd, buffer.sector, count * sector_size, static_cast<off_t>(first * sector_size));
    if (done >= 0 && done != size)
        errno = ENOSPC;
    return done == size;
}

int fill(const Settings &settings)
{
    const int fd = open_volume(settings.path, O_WRONLY);
    Buffer buffer(longest);
    for (uint64_t at = 0; at < settings.sectors;) {
        const uint64_t count = std::min(longest, settings.sectors - at);
        for (uint64_t i = 0; i < count; i++)
            make(buffer.sector[i], settings.seed, at + i, 0);
        if (!put(fd, buffer, at, count))
            die("fill");
        at += count;
    }
    if (fsync(fd))
        die("fill");
    return 0;
}

// One line in one call, so that lines of different jobs do not mix.
void say(const Settings &settings, const char *word, unsigned job, uint64_t number)
{
    char line[128];
    const int length = std::snprintf(line, sizeof line, "%.64s %s %u %llu\n", settings.name(), word,
                                     job, static_cast<unsigned long long>(number));
    if (write(STDOUT_FILENO, line, static_cast<size_t>(length)) != length)
        std::exit(3);
}

void run(const Settings &settings, unsigned index, std::chrono::steady_clock::time_point end)
{
    const int fd = open_volume(settings.path, O_WRONLY);
    Buffer buffer(longest);
    Job job(settings, index);
    for (uint64_t number = 1;; number++) {
        const Write now = job.next();
        for (uint64_t i = 0; i < now.count; i++)
            make(buffer.sector[i], settings.seed, now.first + i, number);
        if (!put(fd, buffer, now.first, now.count) || (now.flush && fsync(fd)))
            return say(settings, "error", index, static_cast<uint64_t>(errno));
        if (!now.flush)
            continue;
        say(settings, "flushed", index, number);
        if (std::chrono::steady_clock::now() >= end)
            return;
    }
}

int write_all(const Settings &settings, unsigned seconds)
{
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    std::vector<std::thread> jobs;
    for (unsigned i = 0; i < settings.jobs; i++)
        jobs.emplace_back(run, std::cref(settings), i, end);
    for (std::thread &job : jobs)
        job.join();
    std::printf("%s written\n", settings.name());
    return 0;
}

// ---- check ----

class Check {
public:
    explicit Check(const Settings &settings) : settings_(settings) {}
    int run(const std::map<unsigned, uint64_t> &flushed);

private:
    void read();
    void check_job(unsigned index, uint64_t flushed);
    void fault(uint64_t sector, const char *what, uint64_t is, uint64_t should);

    static constexpr uint64_t foreign = UINT64_MAX; // content that nobody wrote

    const Settings &settings_;
    std::vector<uint64_t> found_; // each sector's generation
    uint64_t beyond_ = 0;         // sectors after the last area that are not zero
    uint64_t newer_ = 0;
    unsigned faults_ = 0;
};

void Check::fault(uint64_t sector, const char *what, uint64_t is, uint64_t should)
{
    if (faults_++ < faults_shown)
        std::printf("sector %llu: %s: generation %lld, flushed: %lld\n",
                    static_cast<unsigned long long>(sector), what, static_cast<long long>(is),
                    static_cast<long long>(should));
}

void Check::read()
{
    const int fd = open_volume(settings_.path, O_RDONLY);
    Buffer buffer(longest);
    Sector expected;
    for (uint64_t at = 0;;) {
        const ssize_t size = ::read(fd, buffer.sector, longest * sector_size);
        if (size < 0)
            die(settings_.path);
        if (size == 0)
            break;
        for (uint64_t i = 0; i < static_cast<uint64_t>(size) / sector_size; i++, at++) {
            const Sector &sector = buffer.sector[i];
            if (at >= settings_.sectors) {
                static const Sector zero{};
                beyond_ += std::memcmp(&sector, &zero, sizeof zero) != 0;
                continue;
            }
            make(expected, settings_.seed, at, sector.generation);
            found_.push_back(std::memcmp(&sector, &expected, sizeof expected) ? foreign
                                                                              : sector.generation);
        }
    }
}

void Check::check_job(unsigned index, uint64_t flushed)
{
    const uint64_t area = settings_.area();
    const uint64_t first = area * index;
    uint64_t newest = 0;
    for (uint64_t i = first; i < first + area; i++)
        if (found_[i] != foreign)
            newest = std::max(newest, found_[i]);
    // A write begins after the flush of the batch before it was acknowledged, heard of or not.
    std::vector<uint64_t> must(area, 0);
    std::vector<Write> pending;
    Job job(settings_, index);
    for (uint64_t number = 1;; number++) {
        pending.push_back(job.next());
        if (!pending.back().flush)
            continue;
        if (number > flushed && number >= newest)
            break;
        for (size_t i = 0; i < pending.size(); i++)
            for (uint64_t at = 0; at < pending[i].count; at++)
                must[pending[i].first - first + at] = number - pending.size() + 1 + i;
        flushed = std::max(flushed, number);
        pending.clear();
    }
    for (uint64_t i = 0; i < area; i++) {
        const uint64_t is = found_[first + i];
        if (is == must[i])
            continue;
        const uint64_t at = is - flushed - 1; // in the batch under way
        if (is == foreign)
            fault(first + i, "nobody wrote this", is, must[i]);
        else if (is < must[i])
            fault(first + i, "lost", is, must[i]);
        else if (is <= flushed || at >= pending.size() || first + i < pending[at].first ||
                 first + i >= pending[at].first + pending[at].count)
            fault(first + i, "never written here", is, must[i]);
        else
            newer_++;
    }
    std::printf("job %u: flushed %llu, newest %llu\n", index,
                static_cast<unsigned long long>(flushed), static_cast<unsigned long long>(newest));
}

int Check::run(const std::map<unsigned, uint64_t> &flushed)
{
    read();
    if (found_.size() < settings_.sectors) {
        std::printf("the volume is too short: %zu sectors\n", found_.size());
        return 1;
    }
    for (unsigned i = 0; i < settings_.jobs; i++)
        check_job(i, flushed.count(i) ? flushed.at(i) : 0);
    for (uint64_t i = settings_.area() * settings_.jobs; i < settings_.sectors; i++)
        if (found_[i] != 0)
            fault(i, "after the last area", found_[i], 0);
    if (beyond_)
        std::printf("%llu sectors beyond the volume's first size are not zero\n",
                    static_cast<unsigned long long>(beyond_));
    std::printf("%s: %u sectors wrong, %llu of an unfinished batch\n",
                faults_ || beyond_ ? "failed" : "intact", faults_,
                static_cast<unsigned long long>(newer_));
    return faults_ || beyond_;
}

uint64_t number(const char *text, const char *what, uint64_t least, uint64_t most)
{
    char *end = nullptr;
    errno = 0;
    const uint64_t value = std::strtoull(text, &end, 0);
    if (errno || *end || end == text || value < least || value > most) {
        std::printf("oracle: %s is no %s\n", text, what);
        std::exit(2);
    }
    return value;
}

} // namespace

int main(int count, char **words)
{
    const std::string command = count > 1 ? words[1] : "";
    const bool known = (command == "fill" && count == 6) || (command == "write" && count == 7) ||
                       (command == "check" && count >= 6);
    if (!known) {
        std::puts("usage: oracle fill|write|check VOLUME SEED MIB JOBS [SECONDS | JOB=N...]");
        return 2;
    }
    const Settings settings{words[2], number(words[3], "seed", 0, UINT64_MAX),
                            number(words[4], "size in MiB", 1, 1 << 20) << 11,
                            static_cast<unsigned>(number(words[5], "number of jobs", 1, 16))};
    if (settings.area() < 2 * longest) {
        std::puts("oracle: too many jobs for the size");
        return 2;
    }
    if (command == "fill")
        return fill(settings);
    if (command == "write")
        return write_all(settings, static_cast<unsigned>(number(words[6], "time", 0, 86400)));
    std::map<unsigned, uint64_t> flushed;
    for (int i = 6; i < count; i++) {
        char *equals = std::strchr(words[i], '=');
        if (equals)
            *equals = 0;
        const auto job = static_cast<unsigned>(number(words[i], "job", 0, settings.jobs - 1));
        flushed[job] = number(equals ? equals + 1 : "", "number of a write", 0, UINT64_MAX);
    }
    return Check(settings).run(flushed);
}
