# compressed_segmentation chunks of one channel: written block by block.
#
#   u32 = 1                     offset of the channel, in words (u32) from the chunk's start
#   per block, x fastest:       u32 table offset (24 bits) | encoding bits << 24
#                               u32 offset of the values
#   then, block after block:    values, then its table if no equal one was written before
#
# Offsets are in words from the channel's start. Values are LSB first, in whole words, indices into
# the block's table; the table ascends and holds only labels that occur.

cdef int cseg_writer_make(
    CsegWriter* writer, uint32_t n_blocks, uint32_t label_words, Fault* fault
) noexcept nogil:
    """Scratch for chunks of up to n_blocks blocks; freed by `cseg_writer_free`."""
    cdef uint32_t n_slots = 2
    cdef size_t size
    while n_slots < 2 * <uint64_t>n_blocks:
        n_slots *= 2
    size = n_slots * sizeof(CsegTableSlot)
    writer.slots = <CsegTableSlot*>calloc(1, size)
    writer.slot_mask = n_slots - 1
    writer.stamp = 0
    writer.label_words = label_words
    return 0 if writer.slots != NULL else fail(fault, FAULT_MEMORY, size, 0)


cdef void cseg_writer_free(CsegWriter* writer) noexcept nogil:
    free(writer.slots)
    writer.slots = NULL


cdef int cseg_writer_begin(
    CsegWriter* writer, uint8_t* out, uint64_t room_words, uint32_t n_blocks, Fault* fault
) noexcept nogil:
    """Start a chunk at `out`, which has room for `room_words` words."""
    cdef uint64_t head = 1 + 2 * <uint64_t>n_blocks
    if head > room_words:
        return fail(fault, FAULT_ROOM, head, room_words)
    out[0] = 1
    out[1] = out[2] = out[3] = 0
    writer.channel = out + 4
    writer.room = room_words - 1
    writer.used = head - 1
    writer.n_blocks = n_blocks
    writer.block = 0
    writer.has_solid = False
    writer.stamp += 1
    if writer.stamp == 0:    # after 2^32 chunks old stamps could be taken for new
        memset(writer.slots, 0, (<size_t>writer.slot_mask + 1) * sizeof(CsegTableSlot))
        writer.stamp = 1
    return 0


cdef inline uint64_t cseg_writer_bytes(const CsegWriter* writer) noexcept nogil:
    """Size of the chunk so far, its first word included."""
    return 4 * (writer.used + 1)


cdef inline int cseg_bits(uint32_t n) noexcept nogil:
    """Bits per value for a table of n labels: 0, 1, 2, 4, 8, 16 or 32."""
    cdef int bits = 1
    if n < 2:
        return 0
    while bits < 32 and (<uint64_t>1 << bits) < n:
        bits *= 2
    return bits


cdef inline void cseg_put_header(
    CsegWriter* writer, uint32_t table, int bits, uint32_t values
) noexcept nogil:
    cdef uint32_t words[2]
    words[0] = table | <uint32_t>bits << 24
    words[1] = values
    memcpy(writer.channel + 8 * <size_t>writer.block, words, 8)
    writer.block += 1


cdef inline uint32_t cseg_table_hash(const uint64_t* table, uint32_t n) noexcept nogil:
    cdef uint64_t mixed = n
    cdef uint32_t i
    for i in range(n):
        mixed = (mixed ^ table[i]) * <uint64_t>0x9E3779B97F4A7C15
        mixed ^= mixed >> 29
    return <uint32_t>(mixed >> 16)


cdef inline bint cseg_table_equal(
    const CsegWriter* writer, uint32_t offset, const uint64_t* table, uint32_t n
) noexcept nogil:
    cdef const uint8_t* written = writer.channel + 4 * <size_t>offset
    cdef uint32_t i
    if writer.label_words == 2:
        return memcmp(written, table, 8 * <size_t>n) == 0
    for i in range(n):
        if load32(written + 4 * i) != table[i]:
            return False
    return True


cdef inline int cseg_table_write(
    CsegWriter* writer, const uint64_t* table, uint32_t n, Fault* fault
) noexcept nogil:
    cdef uint32_t label, i
    cdef uint8_t* out = writer.channel + 4 * writer.used
    if writer.label_words == 2:
        memcpy(out, table, 8 * <size_t>n)
        return 0
    for i in range(n):
        label = <uint32_t>table[i]
        if label != table[i]:
            return fail_at(fault, FAULT_CSEG_LABELS, writer.block, 32, table[i])
        memcpy(out + 4 * i, &label, 4)
    return 0


# Offset of an equal table written before, or of this one, written now; -1 on a fault.
cdef int64_t cseg_put_table(
    CsegWriter* writer, const uint64_t* table, uint32_t n, Fault* fault
) noexcept nogil:
    cdef uint32_t hashed = cseg_table_hash(table, n)
    cdef uint32_t at = hashed & writer.slot_mask
    cdef CsegTableSlot* slot = &writer.slots[at]
    cdef uint64_t words = <uint64_t>n * writer.label_words
    while slot.stamp == writer.stamp:
        if slot.hash == hashed and slot.n == n and cseg_table_equal(writer, slot.offset, table, n):
            return slot.offset
        at = (at + 1) & writer.slot_mask
        slot = &writer.slots[at]
    if writer.used + words > writer.room:
        return fail(fault, FAULT_ROOM, words, writer.room - writer.used)
    if writer.used > CSEG_LAST_OFFSET:
        return fail_at(fault, FAULT_CSEG_LARGE, writer.block, CSEG_LAST_OFFSET, writer.used)
    if cseg_table_write(writer, table, n, fault):
        return -1
    slot.stamp = writer.stamp
    slot.hash = hashed
    slot.n = n
    slot.offset = <uint32_t>writer.used
    writer.used += words
    return slot.offset


cdef inline int cseg_put_solid(CsegWriter* writer, uint64_t label, Fault* fault) noexcept nogil:
    """The next block, all of one label."""
    cdef uint64_t values = writer.used
    cdef int64_t table
    if values > CSEG_LAST_OFFSET:
        return fail_at(fault, FAULT_CSEG_LARGE, writer.block, CSEG_LAST_OFFSET, values)
    if not writer.has_solid or writer.solid_label != label:
        table = cseg_put_table(writer, &label, 1, fault)
        if table < 0:
            return -1
        writer.has_solid = True
        writer.solid_label = label
        writer.solid_offset = <uint32_t>table
    cseg_put_header(writer, writer.solid_offset, 0, <uint32_t>values)
    return 0


# A block of several labels takes two steps, so that its values are packed where they will stay:
# `cseg_values_begin` gives the address of `words` words, `cseg_values_end` adds table and header.
cdef inline uint8_t* cseg_values_begin(
    CsegWriter* writer, uint64_t words, Fault* fault
) noexcept nogil:
    if writer.used + words > writer.room:
        fail(fault, FAULT_ROOM, words, writer.room - writer.used)
        return NULL
    if writer.used > CSEG_LAST_OFFSET:
        fail_at(fault, FAULT_CSEG_LARGE, writer.block, CSEG_LAST_OFFSET, writer.used)
        return NULL
    return writer.channel + 4 * writer.used


cdef inline int cseg_values_end(
    CsegWriter* writer, uint64_t words, const uint64_t* table, uint32_t n, int bits, Fault* fault
) noexcept nogil:
    cdef uint32_t values = <uint32_t>writer.used
    cdef int64_t offset
    writer.used += words
    offset = cseg_put_table(writer, table, n, fault)
    if offset < 0:
        return -1
    cseg_put_header(writer, <uint32_t>offset, bits, values)
    return 0


cdef int cseg_put_block(
    CsegWriter* writer, const uint8_t* index, const uint8_t* remap, int entries,
    const uint64_t* table, uint32_t n, Fault* fault
) noexcept nogil:
    """The next 8 x 8 x 8 block, of n = 2 to 256 labels.

    index[512] points into `remap` (`entries` bytes, readable up to 32), which points into the
    ascending table[n].
    """
    cdef int bits = cseg_bits(n)
    cdef uint8_t* out = cseg_values_begin(writer, 16 * bits, fault)
    if out == NULL:
        return -1
    lanes_pack(index, remap, entries, bits, out)
    return cseg_values_end(writer, 16 * bits, table, n, bits, fault)


cdef int cseg_put_block_wide(
    CsegWriter* writer, const uint16_t* index, const uint16_t* remap, int entries,
    const uint64_t* table, uint32_t n, Fault* fault
) noexcept nogil:
    """The same for up to 512 entries and labels."""
    cdef uint8_t narrow[SUBBLOCK_VOXELS]
    cdef uint8_t narrow_remap[256]
    cdef uint16_t entry
    cdef uint8_t* out
    cdef int i
    if n <= 256:
        # Either the entries fit in a byte, or only what they become does.
        for i in range(SUBBLOCK_VOXELS):
            narrow[i] = <uint8_t>(index[i] if entries <= 256 else remap[index[i]])
        for i in range(256):
            narrow_remap[i] = <uint8_t>(remap[i] if entries <= 256 else i)
        return cseg_put_block(writer, narrow, narrow_remap, min(entries, 256), table, n, fault)
    out = cseg_values_begin(writer, 256, fault)
    if out == NULL:
        return -1
    for i in range(SUBBLOCK_VOXELS):
        entry = remap[index[i]]
        memcpy(out + 2 * i, &entry, 2)
    return cseg_values_end(writer, 256, table, n, 16, fault)


# Packs the indices of a block of any size, in whole words.
cdef void cseg_pack(
    const uint32_t* indices, size_t n_voxels, int bits, uint8_t* out
) noexcept nogil:
    cdef size_t each = 32 // bits, i = 0, j, n
    cdef uint32_t word
    while i < n_voxels:
        word = 0
        n = min(each, n_voxels - i)
        for j in range(n):
            word |= indices[i + j] << (j * bits)
        memcpy(out, &word, 4)
        out += 4
        i += n
