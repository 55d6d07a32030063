// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Runs in the guest's user space and shows that every way into the kernel and back works as it does
// on hardware: system calls, exceptions, bad selectors, descriptor tables, ports. Reports TAP.
#include <asm/ldt.h>
#include <initializer_list>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

sigjmp_buf escape;
volatile int caught;
void *volatile fault_address;
volatile int steps;

void on_fault(int number, siginfo_t *info, void *)
{
    caught = number;
    fault_address = info->si_addr;
    siglongjmp(escape, 1);
}

// The signal that `action` raises, 0 if none; the process survives it.
template <class Action>
int signal_of(Action action)
{
    struct sigaction handler {};
    handler.sa_sigaction = on_fault;
    handler.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP})
        sigaction(number, &handler, nullptr);
    caught = 0;
    if (sigsetjmp(escape, 1) == 0)
        action();
    return caught;
}

// How a child that runs `action` ends: a signal number, or 0.
template <class Action>
int child_signal(Action action)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP})
            signal(number, SIG_DFL);
        action();
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

bool syscall_keeps_registers()
{
    bool ok = true;
    const auto expected = static_cast<uint64_t>(getpid());
    for (int i = 0; i < 1000; i++) {
        register uint64_t r8 asm("r8") = 0x8888888888888888;
        register uint64_t r9 asm("r9") = 0x9999999999999999;
        register uint64_t r10 asm("r10") = 0xaaaaaaaaaaaaaaaa;
        register uint64_t r12 asm("r12") = 0xcccccccccccccccc;
        uint64_t pid = SYS_getpid, di = 1, si = 2, dx = 3;
        asm volatile("syscall"
                     : "+a"(pid), "+D"(di), "+S"(si), "+d"(dx), "+r"(r8), "+r"(r9), "+r"(r10),
                       "+r"(r12)
                     :
                     : "rcx", "r11", "memory");
        ok = ok && pid == expected && di == 1 && si == 2 && dx == 3 && r8 == 0x8888888888888888 &&
             r9 == 0x9999999999999999 && r10 == 0xaaaaaaaaaaaaaaaa && r12 == 0xcccccccccccccccc;
    }
    return ok;
}

bool legacy_syscall()
{
    long pid = 20; // getpid in the 32-bit table
    asm volatile("int $0x80" : "+a"(pid) : : "memory", "r8", "r9", "r10", "r11");
    return pid == getpid();
}

bool selectors_seen()
{
    uint16_t cs, ss;
    asm volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
    return (cs & 3) == 3 && (ss & 3) == 3;
}

bool undefined_instruction()
{
    return signal_of([] { asm volatile("ud2"); }) == SIGILL;
}
bool breakpoint()
{
    return signal_of([] { asm volatile("int3"); }) == SIGTRAP;
}

bool division()
{
    return signal_of([] {
               int zero = 0;
               asm volatile("idivl %0" : : "r"(zero), "a"(1), "d"(0));
           }) == SIGFPE;
}

bool page_fault_address()
{
    auto *wild = reinterpret_cast<volatile char *>(0x123456789000);
    return signal_of([wild] { (void)*wild; }) == SIGSEGV &&
           fault_address == const_cast<char *>(wild);
}

bool kernel_memory_is_out_of_reach()
{
    // The kernel, the direct map, the p2m list, Xen's tables: none may be read.
    for (uintptr_t address : {0xffffffff81000000, 0xffff888001000000, 0xffffc88000000000,
                              0xffff800000000000, 0xffff82d040200000}) {
        auto *wild = reinterpret_cast<volatile char *>(address);
        if (signal_of([wild] { (void)*wild; }) != SIGSEGV)
            return false;
    }
    return true;
}

bool non_canonical_address()
{
    auto *wild = reinterpret_cast<volatile char *>(0x8000000000000000);
    return signal_of([wild] { (void)*wild; }) == SIGSEGV;
}

void on_step(int, siginfo_t *, void *context)
{
    auto &flags = static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_EFL];
    steps = steps + 1;
    if (steps == 50)
        flags &= ~0x100; // the trap flag
}

bool single_step()
{
    struct sigaction handler {};
    handler.sa_sigaction = on_step;
    handler.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &handler, nullptr);
    steps = 0;
    asm volatile("pushfq; orq $0x100, (%%rsp); popfq\n\t"
                 "mov $100, %%ecx\n1: dec %%ecx; jnz 1b"
                 :
                 :
                 : "rcx", "cc", "memory");
    return steps == 50;
}

bool single_step_over_a_system_call()
{
    steps = 0;
    long pid = SYS_getpid;
    asm volatile("pushfq; orq $0x100, (%%rsp); popfq\n\tsyscall\n\t"
                 "mov $100, %%ecx\n1: dec %%ecx; jnz 1b"
                 : "+a"(pid)
                 :
                 : "rcx", "r11", "cc", "memory");
    return steps == 50 && pid == getpid();
}

bool bad_selector_in_a_register()
{
    return signal_of([] {
               asm volatile("mov %0, %%fs" : : "r"(0x7f3));
           }) == SIGSEGV &&
           signal_of([] {
               asm volatile("mov %0, %%es" : : "r"(0x7f3));
           }) == SIGSEGV;
}

void spoil_cs(int, siginfo_t *, void *context)
{
    auto &selectors = static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_CSGSFS];
    selectors = (selectors & ~0xffffll) | 0x7f3;
}

// The return to user mode itself fails: Xen's failsafe callback, or a fault in its iret.
bool return_to_a_bad_code_segment()
{
    return child_signal([] {
               struct sigaction handler {};
               handler.sa_sigaction = spoil_cs;
               handler.sa_flags = SA_SIGINFO;
               sigaction(SIGUSR1, &handler, nullptr);
               raise(SIGUSR1);
           }) == SIGSEGV;
}

void spoil_ip(int, siginfo_t *, void *context)
{
    static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_RIP] =
        static_cast<greg_t>(0x8000000000000000);
}

bool return_to_a_non_canonical_address()
{
    return child_signal([] {
               struct sigaction handler {};
               handler.sa_sigaction = spoil_ip;
               handler.sa_flags = SA_SIGINFO;
               sigaction(SIGUSR1, &handler, nullptr);
               raise(SIGUSR1);
           }) == SIGSEGV;
}

int set_ldt(unsigned entry, void *base)
{
    struct user_desc descriptor {};
    descriptor.entry_number = entry;
    descriptor.base_addr = static_cast<unsigned>(reinterpret_cast<uintptr_t>(base));
    descriptor.limit = 0xfff;
    descriptor.seg_32bit = 1;
    descriptor.useable = 1;
    return static_cast<int>(syscall(SYS_modify_ldt, 0x11, &descriptor, sizeof descriptor));
}

bool local_descriptor_table()
{
    void *low =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        return false;
    *static_cast<uint32_t *>(low) = 0x1d71d7;
    // 600 entries need more than a page, which the kernel takes from vmalloc space.
    for (unsigned entry : {0u, 5u, 600u}) {
        if (set_ldt(entry, low) != 0)
            return false;
        uint32_t value = 0;
        asm volatile("mov %1, %%gs; mov %%gs:0, %0; mov %2, %%gs"
                     : "=&r"(value)
                     : "r"(entry << 3 | 7), "r"(0));
        if (value != 0x1d71d7)
            return false;
        // A child inherits a copy, and frees it.
        if (child_signal([&] {
                asm volatile("mov %1, %%gs; mov %%gs:0, %0; mov %2, %%gs"
                             : "=&r"(value)
                             : "r"(entry << 3 | 7), "r"(0));
                if (value != 0x1d71d7)
                    raise(SIGKILL);
            }) != 0)
            return false;
    }
    return true;
}

// A change of thread-local descriptors leaves the caller's own segments alone.
bool thread_area_keeps_segments()
{
    auto *descriptor = static_cast<struct user_desc *>(mmap(
        nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
    if (descriptor == MAP_FAILED)
        return false;
    *descriptor = {};
    descriptor->entry_number = ~0u;
    descriptor->limit = 0xfff;
    descriptor->seg_32bit = 1;
    descriptor->useable = 1;
    uint64_t before, after;
    long result = 243; // set_thread_area in the 32-bit table
    // glibc's thread block starts with its own address.
    asm volatile("mov %%fs:0, %0" : "=r"(before));
    asm volatile("int $0x80" : "+a"(result) : "b"(descriptor) : "memory", "r8", "r9", "r10", "r11");
    return result == 0 && signal_of([&] { asm volatile("mov %%fs:0, %0"
                                                       : "=r"(after)); }) == 0 &&
           before == after;
}

bool ports_fault()
{
    return signal_of([] { outb(0, 0x80); }) == SIGSEGV;
}

// What one task may do with ports another may not, whoever ran before on the CPU.
bool ports_do_not_leak()
{
    int pipes[2];
    if (pipe(pipes) != 0)
        return false;
    pid_t privileged = fork();
    if (privileged == 0) {
        iopl(3);
        char byte = 0;
        if (write(pipes[1], &byte, 1) != 1)
            _exit(1);
        for (;;)
            sched_yield();
    }
    char byte;
    bool ok = read(pipes[0], &byte, 1) == 1;
    for (int i = 0; i < 100; i++) {
        sched_yield();
        ok = ok && ports_fault();
    }
    kill(privileged, SIGKILL);
    waitpid(privileged, nullptr, 0);
    return ok;
}

bool huge_pages_are_refused()
{
    void *p = mmap(nullptr, 2 << 20, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    return p == MAP_FAILED;
}

bool protection_changes()
{
    auto *page = static_cast<volatile char *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    auto *raw = const_cast<char *>(page);
    *page = 1;
    mprotect(raw, 4096, PROT_READ);
    bool ok = *page == 1 && signal_of([page] { *page = 2; }) == SIGSEGV;
    mprotect(raw, 4096, PROT_NONE);
    ok = ok && signal_of([page] { (void)*page; }) == SIGSEGV;
    mprotect(raw, 4096, PROT_READ | PROT_WRITE);
    *page = 3;
    return ok && *page == 3;
}

bool no_execute()
{
    auto *code = static_cast<unsigned char *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    code[0] = 0xc3;
    auto call = reinterpret_cast<void (*)()>(code);
    bool ok = signal_of([call] { call(); }) == SIGSEGV;
    mprotect(code, 4096, PROT_READ | PROT_EXEC);
    return ok && signal_of([call] { call(); }) == 0;
}

bool floating_point_across_switches()
{
    pid_t pid = fork();
    double x = 1;
    for (int i = 0; i < 2000; i++) {
        x = x * 1.0000001 + (pid == 0 ? 0.5 : 0.25);
        if (i % 50 == 0)
            sched_yield();
    }
    double expected = 1;
    for (int i = 0; i < 2000; i++)
        expected = expected * 1.0000001 + (pid == 0 ? 0.5 : 0.25);
    if (pid == 0)
        _exit(x != expected);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0 && x == expected;
}

struct Test {
    const char *name;
    bool (*run)();
};
const Test tests[] = {
    {"a system call keeps registers", syscall_keeps_registers},
    {"int 0x80 from 64-bit code", legacy_syscall},
    {"selectors are user mode's", selectors_seen},
    {"ud2 is SIGILL", undefined_instruction},
    {"int3 is SIGTRAP", breakpoint},
    {"division by zero is SIGFPE", division},
    {"a page fault tells its address", page_fault_address},
    {"kernel and Xen memory is out of reach", kernel_memory_is_out_of_reach},
    {"a non-canonical address is SIGSEGV", non_canonical_address},
    {"single step", single_step},
    {"single step over a system call", single_step_over_a_system_call},
    {"a bad selector is SIGSEGV", bad_selector_in_a_register},
    {"return to a bad code segment", return_to_a_bad_code_segment},
    {"return to a non-canonical address", return_to_a_non_canonical_address},
    {"local descriptor table, small and large", local_descriptor_table},
    {"set_thread_area keeps the segments", thread_area_keeps_segments},
    {"ports fault", ports_fault},
    {"port permission does not leak between tasks", ports_do_not_leak},
    {"huge pages are refused", huge_pages_are_refused},
    {"mprotect", protection_changes},
    {"no execute", no_execute},
    {"floating point across switches", floating_point_across_switches},
};

} // namespace

int main()
{
    constexpr int count = sizeof tests / sizeof *tests;
    int failed = 0;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    printf("1..%d\n", count);
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        bool ok = tests[i].run();
        failed += !ok;
        printf("%sok %d - %s\n", ok ? "" : "not ", i + 1, tests[i].name);
        fflush(stdout);
    }
    return failed != 0;
}
