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


def xen_core(mapped, cr3=70, without=None, vcpus=2, more=None):
    """One whose kernel maps {number of a page: frame}."""
    pages = [table({511: entry(71), 260: entry(4711)}), table({510: entry(72)}), table({0: entry(73)}),
             table({page: entry(frame) for page, frame in mapped.items()})]
    pages += [bytes([frame]) * core.PAGE for frame in FRAMES[TABLES:]]
    context = bytearray(core.CONTEXT)
    struct.pack_into("<25Q", context, core.USER_REGS, *range(1000, 1025))
    struct.pack_into("<Q", context, core.CR3, cr3 << 12)
    parts = {"": b"", ".shstrtab": b"", ".xen_prstatus": bytes(context) * vcpus,
             ".xen_p2m": b"".join(struct.pack("<QQ", *pair) for pair in enumerate(FRAMES)),
             **(more or {}), ".xen_pages": b"".join(pages)}
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


def vmlinux(data):
    """The same as a program."""
    return data.replace(b"\x04\x00\x3e\x00", b"\x02\x00\x3e\x00", 1)


def changed(data, at, kind, value):
    result = bytearray(data)
    struct.pack_into(kind, result, at, value)
    return bytes(result)


GOOD = xen_core({0: 50})
COUNT, NAMES = 60, 62  # of sections, and the number of that with their names, in the file's header


@pytest.mark.parametrize("data, words", [
    (b"", "empty"), (GOOD[:700], "too early"), (GOOD[:-3 * core.PAGE], "too early"), (GOOD[:-1], "too early"),
    (changed(GOOD, COUNT, "<H", 0), "makes no sense"), (changed(GOOD, NAMES, "<H", 99), "makes no sense"),
    (xen_core({0: 50}, vcpus=0), "makes no sense")],
    ids=["empty", "headers", "pages", "byte", "no-sections", "no-names", "no-vcpus"])
def test_a_damaged_file_is_refused(tmp_path, data, words):
    """And what was made of it by then does not stay."""
    (tmp_path / "dump").write_bytes(data)
    with pytest.raises(LabError, match=words):
        core.main([tmp_path / "dump", "vmlinux", tmp_path / "core"])
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


@pytest.mark.parametrize("kernel, words", [
    (vmlinux(GOOD), "UNWINDER_ORC"), (GOOD, "no vmlinux"),
    (vmlinux(xen_core({0: 50}, more={".orc_unwind": b""})), "UNWINDER_ORC"),
    (vmlinux(xen_core({0: 50}, more={".orc_unwind": b"", ".orc_unwind_ip": b""})), "UNWINDER_ORC"),
    (vmlinux(xen_core({0: 50}, more={".orc_unwind": bytes(6), ".orc_unwind_ip": bytes(4)})), "objcopy")],
    ids=["no-callers", "core", "no-places", "empty", "no-program"])
def test_a_kernel_that_says_nothing_of_callers_is_refused(tmp_path, kernel, words):
    (tmp_path / "dump").write_bytes(GOOD)
    (tmp_path / "vmlinux").write_bytes(kernel)
    with pytest.raises(LabError, match=words):
        core.main([tmp_path / "dump", tmp_path / "vmlinux", tmp_path / "core"])
    assert not (tmp_path / "core").exists() and not (tmp_path / "core.vmlinux").exists()


@pytest.mark.parametrize("dump, kernel, out", [
    ("one", "two", "one"), ("one", "two", "two"), ("one", "two", "link"), ("one", "two.vmlinux", "two")])
def test_what_it_reads_stays(tmp_path, dump, kernel, out):
    (tmp_path / dump).write_bytes(GOOD)
    (tmp_path / kernel).write_bytes(vmlinux(GOOD))
    (tmp_path / "link").symlink_to(dump)
    with pytest.raises(LabError, match="would be overwritten"):
        core.main([str(tmp_path / name) for name in (dump, kernel, out)])
    assert (tmp_path / dump).read_bytes() == GOOD and (tmp_path / kernel).read_bytes() == vmlinux(GOOD)
    assert {path.name for path in tmp_path.iterdir()} == {dump, kernel, "link"}
