// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Does to pages that it has mapped of another domain's what programs may do to memory, over
// libxengnttab at /dev/xen/gntdev. The other domain is its own: it granted them by gntalloc.
//
//     mapping DOMAIN FILE        DOMAIN: its own number; prints what is not as it should be

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <xengnttab.h>
}

namespace {

constexpr size_t page = 4096, count = 4;

int wrong = 0;
int ends[2]; // of a pipe
const char *path;

void expect(bool right, const char *what, const char *when)
{
    if (right)
        return;
    std::printf("%s: not %s (%s)\n", when, what, std::strerror(errno));
    wrong = 1;
}

// May it be read? The kernel tells without a signal.
bool there(const void *address)
{
    char byte;
    return write(ends[1], address, 1) == 1 && read(ends[0], &byte, 1) == 1;
}

class Pages {
public:
    explicit Pages(uint32_t domain) : domain_(domain)
    {
        shares_ = xengntshr_open(nullptr, 0);
        loans_ = xengnttab_open(nullptr, 0);
        if (shares_ != nullptr && loans_ != nullptr)
            ours =
                static_cast<char *>(xengntshr_share_pages(shares_, domain, count, references_, 1));
    }
    char *map()
    {
        return static_cast<char *>(xengnttab_map_domain_grant_refs(
            loans_, count, domain_, references_, PROT_READ | PROT_WRITE));
    }
    void unmap(char *theirs) { xengnttab_unmap(loans_, theirs, count); }
    void unshare() { xengntshr_unshare(shares_, ours, count); }
    char *ours = nullptr;

private:
    xengntshr_handle *shares_;
    xengnttab_handle *loans_;
    uint32_t domain_, references_[count];
};

using Act = bool (*)(char *theirs);

bool forked(char *theirs)
{
    const pid_t child = fork();
    if (child == 0)
        _exit(there(theirs));
    int status = 1;
    return waitpid(child, &status, 0) == child && status == 0;
}

bool refused(long result) { return result < 0; }

bool direct(char *theirs)
{
    const int file = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
    const bool right = file >= 0 && refused(write(file, theirs, page));
    close(file);
    return right;
}

bool read_by_others(char *theirs)
{
    char copy[page];
    const iovec local{copy, page}, remote{theirs, page};
    return refused(process_vm_readv(getpid(), &local, 1, &remote, 1, 0)) &&
           system("cat /proc/$PPID/smaps /proc/$PPID/numa_maps > /dev/null 2>&1") >= 0;
}

bool cleared(char *)
{
    const int file = open("/proc/self/clear_refs", O_WRONLY);
    const bool right = write(file, "1", 1) == 1;
    close(file);
    return right;
}

// They are unmapped at the old place, and what comes there later has nothing of them.
bool moved(char *theirs)
{
    void *place = mmap(nullptr, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *now = mremap(theirs, count * page, count * page, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    const bool right = now == place && !there(now);
    void *old = mmap(theirs, count * page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    std::memset(old, 3, count * page);
    munmap(old, count * page);
    munmap(now, count * page);
    return right;
}

struct {
    const char *name;
    Act act;
    bool keeps; // the mapping
} const acts[]{
    {"fork", forked, true},
    {"unmap a part", [](char *p) { return refused(munmap(p + page, page)); }, true},
    {"protect a part", [](char *p) { return refused(mprotect(p, page, PROT_READ)); }, true},
    {"grow", [](char *p) { return mremap(p, page, 9 * page, MREMAP_MAYMOVE) == MAP_FAILED; }, true},
    {"forget", [](char *p) { return refused(madvise(p, count * page, MADV_DONTNEED)); }, true},
    {"inherit", [](char *p) { return refused(madvise(p, count * page, MADV_DOFORK)); }, true},
    {"direct I/O", direct, true},
    {"lock", [](char *) { return mlockall(MCL_CURRENT) == 0 && munlockall() == 0; }, true},
    {"be read by others", read_by_others, true},
    {"count references", cleared, true},
    {"protect", [](char *p) { return mprotect(p, count * page, PROT_READ) == 0; }, false},
    {"move", moved, false},
};

void check(Pages &pages, unsigned i)
{
    const auto &[name, act, keeps] = acts[i];
    char *theirs = pages.map();
    if (theirs == nullptr) {
        expect(false, "mapped", name);
        return;
    }
    theirs[page + 5] = static_cast<char>(i + 1);
    expect(pages.ours[page + 5] == static_cast<char>(i + 1), "the same memory", name);
    expect(act(theirs), "as expected", name);
    if (act != moved) {
        expect(there(theirs + page) == keeps, keeps ? "there" : "gone", name);
        pages.unmap(theirs);
    }
    expect(pages.ours[page + 5] == static_cast<char>(i + 1), "left alone", name);
}

// Somebody still reads a page when it is not shared any more.
void check_unshared(Pages &pages)
{
    pages.ours[2 * page] = 77;
    const iovec part{pages.ours + 2 * page, 1};
    expect(vmsplice(ends[1], &part, 1, 0) == 1, "in the pipe", "unshare");
    pages.unshare();
    char byte = 0;
    expect(read(ends[0], &byte, 1) == 1 && byte == 77, "read", "unshare");
}

} // namespace

int main(int words, char **word)
{
    if (words != 3)
        return 2;
    path = word[2];
    Pages pages(static_cast<uint32_t>(std::atoi(word[1])));
    if (pages.ours == nullptr || pipe(ends) != 0) {
        std::perror("pages");
        return 1;
    }
    for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        check(pages, i);
    char *theirs = pages.map(); // until the end of the program
    expect(theirs != nullptr, "mapped", "end");
    check_unshared(pages);
    return wrong;
}
