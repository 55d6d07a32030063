# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Linux's tables of where a caller is found on the stack (arch/x86/include/asm/orc_types.h) as the section
.debug_frame (DWARF 4, 6.4), which debuggers read.
"""

import struct

ENTRY = struct.Struct("<hhH")
UNDEFINED, PREV_SP = 0, 1
# Registers by Linux's numbers there, as DWARF's; the last two point to where the stack pointer is.
BASES = {2: 1, 3: 5, 4: 6, 5: 7, 6: 10, 7: 13}
BP_INDIRECT, SP_INDIRECT = 8, 9
RBP, RSP, RETURN = 6, 7, 16
# Where registers are saved, which end so many bytes further: none, all, or those that an interrupt saves.
SAVED = {0: 0, 1: 168, 2: 40}
ALL, BP_IN_ALL = 1, 32
# DWARF's names, DW_CFA_* and DW_OP_*.
ADVANCE_1, ADVANCE_2, ADVANCE_4 = 0x02, 0x03, 0x04
RESTORE, UNDEFINE, SAME, DEF_CFA, DEF_CFA_EXPRESSION, OFFSET = 0x06, 0x07, 0x08, 0x0c, 0x0f, 0x80
OP_DEREF, OP_CONSTS, OP_PLUS, OP_BREG = 0x06, 0x11, 0x22, 0x70


def unsigned(value):
    result = bytearray()
    while value > 0x7f:
        result.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*result, value])


def signed(value):
    result = bytearray()
    while not -0x40 <= value < 0x40:
        result.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*result, value & 0x7f])


def advance(distance):
    if distance < 0x40:
        return bytes([0x40 | distance])
    if distance < 0x100:
        return struct.pack("<BB", ADVANCE_1, distance)
    if distance < 0x10000:
        return struct.pack("<BH", ADVANCE_2, distance)
    return struct.pack("<BI", ADVANCE_4, distance)


def saved_at(register, below):
    """So many bytes below the frame's end."""
    return bytes([OFFSET | register]) + unsigned(below // 8)


def frame_end(base, offset):
    """The instruction that says where a frame ends; None if that is not known."""
    if base in BASES:
        return bytes([DEF_CFA, BASES[base]]) + unsigned(offset) if offset >= 0 else None
    if base not in (BP_INDIRECT, SP_INDIRECT):
        return None
    before, after = (offset, 0) if base == BP_INDIRECT else (0, offset)
    expression = bytes([OP_BREG + (RBP if base == BP_INDIRECT else RSP)]) + signed(before) + \
        bytes([OP_DEREF, OP_CONSTS]) + signed(after) + bytes([OP_PLUS])
    return bytes([DEF_CFA_EXPRESSION]) + unsigned(len(expression)) + expression


def rules(sp_offset, bp_offset, flags):
    """The instructions for the code that one entry is about."""
    sp_base, bp_base, kind = flags & 15, flags >> 4 & 15, flags >> 8 & 3
    saved = SAVED.get(kind, 0)
    end = frame_end(sp_base, sp_offset + saved)
    if end is None:
        return bytes([UNDEFINE, RETURN])
    if kind == 0:
        registers = saved_at(RETURN, 8) + bytes([RESTORE, RSP])
    else:
        registers = saved_at(RETURN, 40) + saved_at(RSP, 16)
    if bp_base == PREV_SP and bp_offset < saved:
        return end + registers + saved_at(RBP, saved - bp_offset)
    if bp_base == UNDEFINED and kind == ALL:
        return end + registers + saved_at(RBP, saved - BP_IN_ALL)
    return end + registers + bytes([SAME, RBP])


def padded(content):
    """With its length in front, a multiple of eight in all."""
    content += bytes(-(len(content) + 4) % 8)
    return struct.pack("<I", len(content)) + content


def debug_frame(places, address, entries):
    """places, at this address, has the distances to the code that the entries are about."""
    common = padded(struct.pack("<IBBBBB", 0xffffffff, 1, 0, 1, 0x78, RETURN) + bytes([DEF_CFA, RSP, 8]) +
                    saved_at(RETURN, 8))
    program, start, at = bytearray(), None, None
    for index, (distance, entry) in enumerate(zip(struct.iter_unpack("<i", places), ENTRY.iter_unpack(entries))):
        place = address + 4 * index + distance[0]
        start = place if start is None else start
        if at is not None and place != at:
            program += advance(place - at)
        at = place
        program += rules(*entry)
    return common + padded(struct.pack("<IQQ", 0, start, at + 1 - start) + program)
