// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Attaches an XDP program to an interface, in its driver and nowhere else, until it is killed:
//
//   xdp INTERFACE pass|drop|tx
//   xdp INTERFACE redirect OTHER
//
// The program decides so on frames whose source address begins with 02:77 and passes all others.
// Says "attached", or why not.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <map>
#include <net/if.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

using Program = std::vector<bpf_insn>;

constexpr bpf_insn insn(int code, uint8_t to, uint8_t from, int16_t offset, int32_t value)
{
    bpf_insn made{};
    made.code = static_cast<uint8_t>(code);
    made.dst_reg = to & 15;
    made.src_reg = from & 15;
    made.off = offset;
    made.imm = value;
    return made;
}

constexpr bpf_insn load(int size, uint8_t to, uint8_t from, int16_t offset)
{
    return insn(BPF_LDX | BPF_MEM | size, to, from, offset, 0);
}

constexpr bpf_insn set(uint8_t to, int32_t value)
{
    return insn(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value);
}

constexpr bpf_insn leave = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

// Register 1 is a struct xdp_md when a program begins.
Program make(xdp_action action, int32_t other)
{
    Program decide{set(BPF_REG_0, action), leave};
    if (action == XDP_REDIRECT)
        decide = {set(BPF_REG_1, other), set(BPF_REG_2, 0),
                  insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect), leave};
    const auto skip = static_cast<int16_t>(decide.size());
    Program program{
        load(BPF_W, BPF_REG_2, BPF_REG_1, offsetof(xdp_md, data)),
        load(BPF_W, BPF_REG_3, BPF_REG_1, offsetof(xdp_md, data_end)),
        insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_4, BPF_REG_2, 0, 0),
        insn(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, 14),
        insn(BPF_JMP | BPF_JGT | BPF_X, BPF_REG_4, BPF_REG_3, static_cast<int16_t>(skip + 2), 0),
        load(BPF_H, BPF_REG_5, BPF_REG_2, 6),
        insn(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, skip, 0x7702), // as two bytes in memory
    };
    program.insert(program.end(), decide.begin(), decide.end());
    program.insert(program.end(), {set(BPF_REG_0, XDP_PASS), leave});
    return program;
}

long bpf(bpf_cmd command, bpf_attr &attributes)
{
    return syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

[[noreturn]] void die(const char *what)
{
    std::printf("xdp: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

int index_of(const char *interface)
{
    const auto index = static_cast<int>(if_nametoindex(interface));
    if (!index)
        die(interface);
    return index;
}

int load_program(const Program &program)
{
    static char log[65536];
    bpf_attr attributes{};
    attributes.prog_type = BPF_PROG_TYPE_XDP;
    attributes.insns = reinterpret_cast<uint64_t>(program.data());
    attributes.insn_cnt = static_cast<uint32_t>(program.size());
    attributes.license = reinterpret_cast<uint64_t>("Dual MIT/GPL");
    attributes.log_buf = reinterpret_cast<uint64_t>(log);
    attributes.log_size = sizeof log;
    attributes.log_level = 1;
    const long fd = bpf(BPF_PROG_LOAD, attributes);
    if (fd < 0) {
        std::fputs(log, stdout);
        die("the program");
    }
    return static_cast<int>(fd);
}

} // namespace

int main(int count, char **words)
{
    const std::map<std::string, xdp_action> actions{
        {"pass", XDP_PASS}, {"drop", XDP_DROP}, {"tx", XDP_TX}, {"redirect", XDP_REDIRECT}};
    const auto action = count > 2 ? actions.find(words[2]) : actions.end();
    if (action == actions.end() || count != (action->second == XDP_REDIRECT ? 4 : 3)) {
        std::puts("usage: xdp INTERFACE pass|drop|tx | INTERFACE redirect OTHER");
        return 2;
    }
    bpf_attr attributes{};
    attributes.link_create.prog_fd = static_cast<uint32_t>(
        load_program(make(action->second, count == 4 ? index_of(words[3]) : 0)));
    attributes.link_create.target_ifindex = static_cast<uint32_t>(index_of(words[1]));
    attributes.link_create.attach_type = BPF_XDP;
    attributes.link_create.flags = XDP_FLAGS_DRV_MODE;
    if (bpf(BPF_LINK_CREATE, attributes) < 0)
        die(words[1]);
    std::puts("attached");
    std::fflush(stdout);
    pause(); // the program goes with this process
    return 0;
}
