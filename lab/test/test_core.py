# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A domain's core becomes one that debuggers read."""

import io
import struct

import pytest

from lab import core
from lab.steps import LabError

KERNEL = 0xffffffff80000000
FRAMES = [70, 71, 72, 73, 100, 50, 51]  # of the domain's pages; the first four are tables
TABLES = 4


def table(entries):
    return b"".join(struct.pack("<Q", entries.get(index, 0)) for index in range(512))


def entry(frame):
    return frame << 12 | core.PRESENT


def xen_core(mapped, cr3=70, without=None):
    """One whose kernel maps {number of a page: frame}."""
    pages = [table({511: entry(71), 260: entry(4711)}), table({510: entry(72)}), table({0: entry(73)}),
             table({page: entry(frame) for page, frame in mapped.items()})]
    pages += [bytes([frame]) * core.PAGE for frame in FRAMES[TABLES:]]
    context = bytearray(core.CONTEXT)
    struct.pack_into("<25Q", context, core.USER_REGS, *range(1000, 1025))
    struct.pack_into("<Q", context, core.CR3, cr3 << 12)
    parts = {"": b"", ".shstrtab": b"", ".xen_prstatus": bytes(context) * 2,
             ".xen_p2m": b"".join(struct.pack("<QQ", *pair) for pair in enumerate(FRAMES)),
             ".xen_pages": b"".join(pages)}
    parts.pop(without, None)
    parts[".shstrtab"] = "".join(name + "\0" for name in parts).encode()
    at = core.HEADER.size + len(parts) * core.SECTION.size
    headers, contents = b"", b""
    for name, content in parts.items():
        headers += core.SECTION.pack(parts[".shstrtab"].index(name.encode() + b"\0"), 1, 0, 0,
                                     at + len(contents), len(content), 0, 0, 1, 0)
        contents += content
    head = core.HEADER.pack(b"\x7fELF\x02\x01\x01", core.ET_CORE, core.EM_X86_64, 1, 0, 0, core.HEADER.size,
                            0, core.HEADER.size, 0, 0, core.SECTION.size, len(parts), 1)
    return head + headers + contents


def converted(data):
    out = io.BytesIO()
    core.convert(memoryview(data), out)
    return out.getvalue()


def programs(data):
    header = core.HEADER.unpack_from(data)
    return [core.PROGRAM.unpack_from(data, header[5] + index * core.PROGRAM.size) for index in range(header[10])]


def read(data, address, length):
    for kind, _, offset, start, _, size, _, _ in programs(data):
        if kind == core.PT_LOAD and start <= address < start + size:
            return data[offset + address - start:][:length]
    return None


def test_memory_is_where_the_kernel_has_it():
    data = converted(xen_core({0: 50, 1: 51, 2: 100, 7: 50}))
    for page, frame in ((0, 50), (1, 51), (2, 100), (7, 50)):
        assert read(data, KERNEL + page * core.PAGE + 5, 3) == bytes([frame]) * 3
    assert read(data, KERNEL + 3 * core.PAGE, 1) is None
    assert sum(program[0] == core.PT_LOAD for program in programs(data)) == 3  # 50 and 51 are neighbours


def test_frames_of_others_are_left_out():
    data = converted(xen_core({0: 50, 1: 4711}))
    assert read(data, KERNEL, 1) and read(data, KERNEL + core.PAGE, 1) is None


def test_vcpus_are_threads():
    data = converted(xen_core({0: 50}))
    kind, _, offset, *_ = programs(data)[0]
    note = struct.unpack_from("<III8s", data, offset)
    assert kind == core.PT_NOTE and note == (5, 336, core.NT_PRSTATUS, b"CORE\0\0\0\0")
    body = data[offset + 20:]
    registers = struct.unpack_from("<27Q", body, 112)
    assert registers[:15] == tuple(range(1000, 1015))
    assert registers[16] == 1016 and registers[19] == 1019  # rip, rsp
    assert struct.unpack_from("<I", body, 32) == (1,)
    assert struct.unpack_from("<I", body, 336 + 20 + 32) == (2,)


@pytest.mark.parametrize("data, words", [
    (b"\x7fELF\x01" + bytes(100), "no core"), (xen_core({0: 50}, without=".xen_p2m"), "not a PV domain's"),
    (xen_core({0: 50}, cr3=4711), "make no sense")], ids=["32-bit", "hvm", "lost"])
def test_others_are_refused(data, words):
    with pytest.raises(LabError, match=words):
        converted(data)


def test_a_file_that_was_cut_is_refused(tmp_path):
    (tmp_path / "dump").write_bytes(xen_core({0: 50})[:700])
    with pytest.raises(LabError, match="too early"):
        core.main([tmp_path / "dump", "vmlinux", tmp_path / "core"])


def test_a_kernel_without_callers_is_refused(tmp_path):
    (tmp_path / "vmlinux").write_bytes(xen_core({0: 50}).replace(b"\x04\x00\x3e\x00", b"\x02\x00\x3e\x00", 1))
    with pytest.raises(LabError, match="UNWINDER_ORC"):
        core.with_frames(tmp_path / "vmlinux", tmp_path / "out")
    (tmp_path / "vmlinux").write_bytes(xen_core({0: 50}))
    with pytest.raises(LabError, match="no vmlinux"):
        core.with_frames(tmp_path / "vmlinux", tmp_path / "out")
