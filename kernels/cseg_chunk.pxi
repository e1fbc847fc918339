# compressed_segmentation chunks: parsed, block by block.

cdef int cseg_chunk_open(
    const uint8_t* data, uint64_t size, uint32_t n_blocks, uint32_t label_words,
    CsegChunk* chunk, Fault* fault
) noexcept nogil:
    cdef uint64_t words = size // 4, channel
    if size % 4 or size < 4:
        return fail(fault, FAULT_CSEG_SIZE, 0, size)
    channel = load32(data)
    if channel < 1 or channel > words:
        return fail(fault, FAULT_CSEG_CHANNEL, words, channel)
    chunk.channel = data + 4 * channel
    chunk.n_words = words - channel
    chunk.n_blocks = n_blocks
    chunk.label_words = label_words
    if 2 * <uint64_t>n_blocks > chunk.n_words:
        return fail(fault, FAULT_CSEG_HEADERS, 2 * <uint64_t>n_blocks, chunk.n_words)
    return 0


cdef int cseg_block_open(
    const CsegChunk* chunk, uint32_t number, size_t n_voxels, CsegBlock* block, Fault* fault
) noexcept nogil:
    """Block `number`, of n_voxels voxels (the whole block's size also at an edge)."""
    cdef uint32_t first = load32(chunk.channel + 8 * <size_t>number)
    cdef uint64_t values = load32(chunk.channel + 8 * <size_t>number + 4) & CSEG_LAST_OFFSET
    cdef uint64_t table = first & CSEG_LAST_OFFSET
    cdef uint64_t words
    block.bits = first >> 24
    if block.bits & (block.bits - 1) or block.bits > 32:
        return fail_at(fault, FAULT_CSEG_BITS, number, 0, block.bits)
    words = (<uint64_t>n_voxels * block.bits + 31) // 32
    if words and values + words > chunk.n_words:
        return fail_at(fault, FAULT_CSEG_VALUES, number, chunk.n_words, values + words)
    if table + chunk.label_words > chunk.n_words:
        return fail_at(fault, FAULT_CSEG_TABLE, number, chunk.n_words, table)
    block.values = chunk.channel + 4 * values if words else chunk.channel
    block.table = chunk.channel + 4 * table
    block.n_entries = (chunk.n_words - table) // chunk.label_words
    return 0


cdef inline uint64_t cseg_label(
    const CsegChunk* chunk, const CsegBlock* block, uint64_t entry
) noexcept nogil:
    """Label of an entry below block.n_entries."""
    if chunk.label_words == 2:
        return load64(block.table + 8 * entry)
    return load32(block.table + 4 * entry)


cdef int cseg_block_indices(
    const CsegBlock* block, uint32_t number, size_t n_voxels, uint32_t* out, Fault* fault
) noexcept nogil:
    """Every voxel's index in the table, checked; `out` holds n_voxels rounded up to 32."""
    cdef uint32_t largest = 0
    cdef size_t i
    if block.bits == 0:
        memset(out, 0, 4 * n_voxels)
        return 0
    cseg_unpack(block.values, n_voxels, block.bits, out)
    if block.bits < 24 and (<uint64_t>1 << block.bits) <= block.n_entries:
        return 0    # no value can be too large
    for i in range(n_voxels):
        largest = max(largest, out[i])
    if largest >= block.n_entries:
        return fail_at(fault, FAULT_CSEG_VALUE, number, block.n_entries, largest)
    return 0


cdef inline void cseg_unpack_as(
    const uint8_t* values, size_t n_voxels, const int bits, uint32_t* out
) noexcept nogil:
    cdef size_t i, words = (n_voxels * bits + 31) // 32
    cdef uint32_t word, mask = <uint32_t>((<uint64_t>1 << bits) - 1)
    cdef int j
    for i in range(words):
        word = load32(values + 4 * i)
        for j in range(32 // bits):
            out[j] = (word >> (j * bits)) & mask
        out += 32 // bits


cdef void cseg_unpack(
    const uint8_t* values, size_t n_voxels, int bits, uint32_t* out
) noexcept nogil:
    # Constant widths let the compiler unroll each loop.
    if bits == 1:
        cseg_unpack_as(values, n_voxels, 1, out)
    elif bits == 2:
        cseg_unpack_as(values, n_voxels, 2, out)
    elif bits == 4:
        cseg_unpack_as(values, n_voxels, 4, out)
    elif bits == 8:
        cseg_unpack_as(values, n_voxels, 8, out)
    elif bits == 16:
        cseg_unpack_as(values, n_voxels, 16, out)
    else:
        cseg_unpack_as(values, n_voxels, 32, out)
