# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What xl saves of a crashed domain (docs/misc/dump-core-format), as a core that gdb opens: the vCPUs are its
threads, and its addresses are the kernel's own. Beside it a copy of the kernel with what gdb needs for
backtraces, which vmlinux has for the kernel's own alone.

python3 -m lab.core XEN_CORE VMLINUX CORE; gdb CORE.vmlinux CORE
"""

import mmap
import pathlib
import struct
import subprocess
import sys
import tempfile

from lab import unwind
from lab.steps import LabError

PAGE = 4096
SECTION = struct.Struct("<IIQQQQIIQQ")
PROGRAM = struct.Struct("<IIQQQQQQ")
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
CONTEXT = 5168  # struct vcpu_guest_context, arch-x86/xen.h
USER_REGS, CR3, FS_BASE, GS_BASE = 520, 4984 + 3 * 8, 5144, 5152
FIRST_SLOT = 272  # of the top table: those from 256 on are Xen's
PRESENT, FRAME = 1, 0x000ffffffffff000
ET_EXEC, ET_CORE, EM_X86_64, PT_LOAD, PT_NOTE, NT_PRSTATUS = 2, 4, 62, 1, 4, 1
MOST_RUNS = 65000  # of pages; e_phnum has 16 bits


def sections(data, kind):
    """Place, size and address by name."""
    header = HEADER.unpack_from(data) if len(data) >= HEADER.size else [b"", None]
    if header[0][:5] != b"\x7fELF\x02" or header[1] != kind:
        raise LabError(f"this is no {'core of a 64-bit domain' if kind == ET_CORE else 'vmlinux'}")
    start, count, names = header[6], header[12], header[13]
    found = [SECTION.unpack_from(data, start + index * SECTION.size) for index in range(count)]
    strings = bytes(data[found[names][4]:][:found[names][5]])
    return {strings[section[0]:].partition(b"\0")[0].decode(): (section[4], section[5], section[3])
            for section in found}


class Domain:
    """The memory and the vCPUs of such a file."""

    def __init__(self, data):
        parts = sections(data, ET_CORE)
        missing = {".xen_p2m", ".xen_pages", ".xen_prstatus"} - parts.keys()
        if missing:
            raise LabError(f"the core has no {missing.pop()}: it is not a PV domain's")
        self.data = data
        self.pages, self.length, _ = parts[".xen_pages"]
        if self.pages + self.length > len(data):  # dom0's disk was full
            raise LabError("the core ends too early")
        at, size, _ = parts[".xen_p2m"]
        self.place = {frame: index for index, (_, frame) in
                      enumerate(struct.iter_unpack("<QQ", data[at:at + size]))}
        at, size, _ = parts[".xen_prstatus"]
        self.vcpus = [data[at + start:at + start + CONTEXT] for start in range(0, size, CONTEXT)]

    def entries(self, frame):
        """The present ones of a table: their number and frame."""
        if frame not in self.place:
            return
        table = struct.unpack_from("<512Q", self.data, self.pages + self.place[frame] * PAGE)
        for index, entry in enumerate(table):
            if entry & PRESENT:
                yield index, (entry & FRAME) >> 12

    def mapped(self):
        """Pairs of a page's address in the kernel and its place in the file."""
        top, = struct.unpack_from("<Q", self.vcpus[0], CR3)
        for l4, third in self.entries(top >> 12):
            if l4 < FIRST_SLOT:
                continue
            for l3, second in self.entries(third):
                for l2, first in self.entries(second):
                    for l1, frame in self.entries(first):
                        if frame in self.place:
                            address = l4 << 39 | l3 << 30 | l2 << 21 | l1 << 12
                            yield address | 0xffff << 48, self.place[frame]

    def runs(self):
        """[address, place, pages] of what is side by side in both."""
        result = []
        for address, place in self.mapped():
            if result and address == result[-1][0] + result[-1][2] * PAGE \
                    and place == result[-1][1] + result[-1][2]:
                result[-1][2] += 1
            else:
                result.append([address, place, 1])
        return result


def status(number, context):
    """A vCPU as a thread: NT_PRSTATUS."""
    regs = struct.unpack_from("<25Q", context, USER_REGS)
    rip, cs, flags, rsp, ss, es, ds, fs, gs = regs[16:25]
    fs_base, gs_base = struct.unpack_from("<QQ", context, FS_BASE)
    registers = [*regs[:15], 2 ** 64 - 1, rip, cs & 0xffff, flags, rsp, ss & 0xffff, fs_base, gs_base,
                 ds & 0xffff, es & 0xffff, fs & 0xffff, gs & 0xffff]
    body = bytearray(336)
    struct.pack_into("<I", body, 32, number + 1)
    struct.pack_into("<27Q", body, 112, *registers)
    return struct.pack("<III8s", 5, len(body), NT_PRSTATUS, b"CORE") + body


def convert(data, out):
    domain = Domain(data)
    notes = b"".join(status(*vcpu) for vcpu in enumerate(domain.vcpus))
    runs = domain.runs()
    if not runs or len(runs) > MOST_RUNS:
        raise LabError(f"the kernel's memory is {len(runs)} pieces: its tables make no sense")
    start = HEADER.size + (1 + len(runs)) * PROGRAM.size
    pages = -(-(start + len(notes)) // PAGE) * PAGE
    out.write(HEADER.pack(b"\x7fELF\x02\x01\x01", ET_CORE, EM_X86_64, 1, 0, HEADER.size, 0, 0, HEADER.size,
                          PROGRAM.size, 1 + len(runs), 0, 0, 0))
    out.write(PROGRAM.pack(PT_NOTE, 0, start, 0, 0, len(notes), len(notes), 4))
    for address, place, count in runs:
        out.write(PROGRAM.pack(PT_LOAD, 7, pages + place * PAGE, address, 0, count * PAGE, count * PAGE, PAGE))
    out.write(notes)
    out.write(bytes(pages - start - len(notes)))
    out.write(data[domain.pages:domain.pages + domain.length])


def content(path):
    """A dump may be larger than this machine's memory."""
    with open(path, "rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError as error:
            raise LabError(f"{path}: {error}") from error


def with_frames(vmlinux, out):
    """A copy of the kernel that says how to find callers in a debugger's terms, too."""
    data = content(vmlinux)
    parts = sections(data, ET_EXEC)
    (at, size, address), (entries, length, _) = [parts.get(name, (0, 0, 0))
                                                 for name in (".orc_unwind_ip", ".orc_unwind")]
    if not (size and length):
        raise LabError(f"{vmlinux} does not say how to find callers (CONFIG_UNWINDER_ORC)")
    with tempfile.NamedTemporaryFile() as frames:
        frames.write(unwind.debug_frame(data[at:at + size], address, data[entries:entries + length]))
        frames.flush()
        subprocess.run(["objcopy", "--add-section", f".debug_frame={frames.name}", vmlinux, out], check=True)


def main(arguments):
    if len(arguments) != 3:
        raise LabError("usage: python3 -m lab.core XEN_CORE VMLINUX CORE")
    core, vmlinux, out = map(pathlib.Path, arguments)
    made = [out, out.with_name(f"{out.name}.vmlinux")]
    for path in made:
        if path.exists() and any(path.samefile(read) for read in (core, vmlinux) if read.exists()):
            raise LabError(f"{path} would be overwritten")
    domain = content(core)
    try:
        with open(out, "wb") as file:
            convert(domain, file)
        with_frames(vmlinux, made[1])
    except BaseException as error:
        for path in filter(pathlib.Path.is_file, made):
            path.unlink()
        if isinstance(error, struct.error):
            raise LabError(f"a file ends too early: {error}") from error
        if isinstance(error, (IndexError, ValueError, subprocess.CalledProcessError)):
            raise LabError(f"a file makes no sense: {error}") from error
        raise


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (LabError, OSError) as error:
        sys.exit(f"core: error: {error}")
