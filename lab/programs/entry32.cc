// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A 32-bit program without a library: the compatibility entries of the kernel. Reports TAP.

namespace {

using u32 = unsigned int;

long int80(long number, long a = 0, long b = 0, long c = 0)
{
    long result;
    asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

u32 vsyscall_entry; // from the auxiliary vector: syscall or sysenter, as the CPU has it

long fast(long number, long a = 0)
{
    long result;
    asm volatile("call *%1"
                 : "=a"(result)
                 : "m"(vsyscall_entry), "a"(number), "b"(a), "c"(0), "d"(0)
                 : "memory");
    return result;
}

void print(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    int80(4, 1, reinterpret_cast<long>(text), length);
}

int number = 0;
int failed = 0;

void check(bool ok, const char *name)
{
    number++;
    failed += !ok;
    char line[] = "ok   - ";
    line[3] = static_cast<char>('0' + number);
    if (!ok)
        print("not ");
    print(line);
    print(name);
    print("\n");
}

bool registers_survive()
{
    u32 si = 0x51515151, di = 0xd1d1d1d1;
    long pid = 20;
    asm volatile("int $0x80" : "+a"(pid), "+S"(si), "+D"(di) : : "memory");
    return pid > 0 && si == 0x51515151 && di == 0xd1d1d1d1;
}

struct UserDesc {
    u32 entry, base, limit, flags;
};

// A descriptor of its own in the GDT, which the kernel loads at every switch to this task.
bool thread_local_segment()
{
    static u32 data = 0x71571571;
    UserDesc descriptor = {~0u, reinterpret_cast<u32>(&data), 0xfffff, 0x51};
    if (int80(243, reinterpret_cast<long>(&descriptor)) != 0) // set_thread_area
        return false;
    asm volatile("mov %0, %%gs" : : "r"(descriptor.entry << 3 | 3));
    for (int i = 0; i < 200; i++) {
        int80(158); // sched_yield
        u32 value;
        asm volatile("mov %%gs:0, %0" : "=r"(value));
        if (value != 0x71571571)
            return false;
    }
    return true;
}

u32 set_area(u32 *base)
{
    UserDesc descriptor = {~0u, reinterpret_cast<u32>(base), 0xfffff, 0x51};
    return int80(243, reinterpret_cast<long>(&descriptor)) == 0 ? descriptor.entry << 3 | 3 : 0;
}

// A second descriptor leaves the register that holds the first one alone.
bool second_segment()
{
    static u32 first = 0xf1f1f1f1, second = 0xf2f2f2f2;
    u32 selector = set_area(&first);
    asm volatile("mov %0, %%fs" : : "r"(selector));
    if (selector == 0 || set_area(&second) == 0)
        return false;
    u32 seen, value = 0;
    asm volatile("mov %%fs, %0" : "=r"(seen));
    if ((seen & 0xffff) == selector)
        asm volatile("mov %%fs:0, %0" : "=r"(value));
    return value == first;
}

} // namespace

extern "C" [[noreturn]] void start_here(u32 *stack)
{
    u32 *p = stack + 1 + stack[0] + 1; // past the arguments
    while (*p)
        p++;
    for (p++; p[0]; p += 2) {
        if (p[0] == 32) // AT_SYSINFO
            vsyscall_entry = p[1];
    }
    print("1..6\n");
    long pid = int80(20);
    check(pid > 0, "int 0x80 from 32-bit code");
    check(registers_survive(), "registers survive it");
    check(vsyscall_entry != 0, "the kernel offers a fast entry");
    bool same = vsyscall_entry != 0;
    for (int i = 0; same && i < 1000; i++)
        same = fast(20) == pid;
    check(same, "the fast entry answers the same");
    check(thread_local_segment(), "a segment of its own survives switches");
    check(second_segment(), "a second one leaves the first alone");
    int80(1, failed != 0);
    for (;;) {
    }
}

asm(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call "
    "start_here\n");
