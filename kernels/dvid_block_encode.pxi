# DVID blocks: encode voxels.

# MSB first, as DVID packs; returns the bytes written, 64 * bits.
cdef size_t subblock_pack(const uint16_t* local, int bits, uint8_t* out) noexcept nogil:
    cdef uint64_t word = 0
    cdef int held = 0, i
    cdef size_t n = 0
    for i in range(SUBBLOCK_VOXELS):
        word = (word << bits) | local[i]
        held += bits
        while held >= 8:
            held -= 8
            out[n] = <uint8_t>(word >> held)
            n += 1
    return n


cdef int block_encoder_make(BlockEncoder* encoder) except -1:
    """Per voxel at most a palette entry, an index and 9 bits of value; per sub-block a count."""
    cdef size_t n_voxels, size
    encoder.n_subblocks = encoder.gx * encoder.gy * encoder.gz
    n_voxels = <size_t>encoder.n_subblocks * SUBBLOCK_VOXELS
    size = n_voxels * 12 + <size_t>encoder.n_subblocks * (64 * 9 + 2)
    encoder.palettes = <uint64_t*>malloc(size)
    if encoder.palettes == NULL:
        raise MemoryError(f"not enough memory for {size} bytes of scratch")
    encoder.indices = <uint32_t*>(encoder.palettes + n_voxels)
    encoder.counts = <uint16_t*>(encoder.indices + n_voxels)
    encoder.values = <uint8_t*>(encoder.counts + encoder.n_subblocks)
    return 0


cdef void subblock_gather(
    const uint64_t[:, :, :] voxels, uint32_t x, uint32_t y, uint32_t z, uint64_t* tile
) noexcept nogil:
    cdef Py_ssize_t i, j, k
    cdef const uint64_t* row
    for k in range(SUBBLOCK_EDGE):
        for j in range(SUBBLOCK_EDGE):
            row = &voxels[SUBBLOCK_EDGE * z + k, SUBBLOCK_EDGE * y + j, SUBBLOCK_EDGE * x]
            if voxels.strides[2] == sizeof(uint64_t):
                memcpy(tile, row, SUBBLOCK_EDGE * sizeof(uint64_t))
            else:
                for i in range(SUBBLOCK_EDGE):
                    tile[i] = voxels[
                        SUBBLOCK_EDGE * z + k, SUBBLOCK_EDGE * y + j, SUBBLOCK_EDGE * x + i]
            tile += SUBBLOCK_EDGE


cdef void block_encoder_scan(const uint64_t[:, :, :] voxels, BlockEncoder* encoder) noexcept nogil:
    cdef uint64_t tile[SUBBLOCK_VOXELS]
    cdef uint16_t local[SUBBLOCK_VOXELS]
    cdef uint32_t number, n
    encoder.n_indices = encoder.n_values = 0
    for number in range(encoder.n_subblocks):
        subblock_gather(
            voxels, number % encoder.gx, number // encoder.gx % encoder.gy,
            number // (encoder.gx * encoder.gy), tile)
        n = palette_build(tile, encoder.palettes + encoder.n_indices, local)
        encoder.counts[number] = <uint16_t>n
        encoder.n_indices += n
        if n > 1:
            encoder.n_values += subblock_pack(
                local, subblock_bits(n), encoder.values + encoder.n_values)


# The table in order of appearance into scratch.labels; returns its length.
cdef size_t block_encoder_make_table(BlockEncoder* encoder, LabelScratch* scratch) noexcept nogil:
    cdef size_t i, n_distinct, n = 0
    memcpy(scratch.keys, encoder.palettes, 8 * encoder.n_indices)
    n_distinct = rank_labels(
        scratch.keys, scratch.pos, scratch.tmp_keys, scratch.tmp_pos, scratch.rank,
        encoder.n_indices)
    for i in range(n_distinct):
        scratch.pos[i] = <uint32_t>-1
    for i in range(encoder.n_indices):
        if scratch.pos[scratch.rank[i]] == <uint32_t>-1:
            scratch.pos[scratch.rank[i]] = <uint32_t>n
            scratch.labels[n] = encoder.palettes[i]
            n += 1
        encoder.indices[i] = scratch.pos[scratch.rank[i]]
    return n


# Indices into a table that the caller gives; of a label listed twice the last entry is used.
cdef int block_encoder_use_table(
    BlockEncoder* encoder, const uint64_t* table, size_t n, LabelScratch* scratch, Fault* fault
) noexcept nogil:
    cdef size_t i, at
    memcpy(scratch.keys, table, 8 * n)
    for i in range(n):
        scratch.pos[i] = <uint32_t>i
    sort_pairs(scratch.keys, scratch.pos, scratch.tmp_keys, scratch.tmp_pos, n)
    for i in range(encoder.n_indices):
        at = upper_bound(scratch.keys, n, encoder.palettes[i])
        if at == 0 or scratch.keys[at - 1] != encoder.palettes[i]:
            return fail(fault, FAULT_NO_ENTRY, 0, encoder.palettes[i])
        encoder.indices[i] = scratch.pos[at - 1]
    return 0


cdef bytes block_encoder_bytes(BlockEncoder* encoder, const uint64_t* table, size_t n):
    cdef uint32_t header[4]
    header[0] = encoder.gx
    header[1] = encoder.gy
    header[2] = encoder.gz
    header[3] = <uint32_t>n
    head = (<char*>header)[:BLOCK_HEADER_BYTES] + (<char*>table)[:8 * n]
    if n == 1:
        return head
    return b"".join((
        head,
        (<char*>encoder.counts)[:2 * encoder.n_subblocks],
        (<char*>encoder.indices)[:4 * encoder.n_indices],
        (<char*>encoder.values)[:encoder.n_values],
    ))


def encode_block(const uint64_t[:, :, :] voxels not None, const uint64_t[::1] table=None):
    """Encode voxels as an uncompressed DVID block.

    Args:
        voxels: (z, y, x) labels, each axis a multiple of 8.
        table: the block's label table, in any order, with unused or repeated entries if wanted;
            without it labels stand in order of appearance.

    Returns:
        The block's bytes; a block of one label is solid (24 bytes).

    Raises:
        KernelError: wrong shape, or a label that `table` lacks.
    """
    cdef BlockEncoder encoder
    cdef LabelScratch scratch = label_scratch_none()
    cdef Fault fault = no_fault()
    cdef size_t n = 0 if table is None else table.shape[0]
    cdef int failed
    encoder.gx, encoder.gy, encoder.gz = subblock_grid(
        (voxels.shape[0], voxels.shape[1], voxels.shape[2]))
    if n >= 2**32 or (table is not None and n == 0):
        raise KernelError(f"table: expected 1 to 2^32 - 1 labels, found {n}")
    block_encoder_make(&encoder)
    try:
        with nogil:
            block_encoder_scan(voxels, &encoder)
            failed = label_scratch_reserve(&scratch, max(n, encoder.n_indices), &fault)
            if failed == 0 and n == 0:
                n = block_encoder_make_table(&encoder, &scratch)
            elif failed == 0:
                memcpy(scratch.labels, &table[0], 8 * n)
                failed = block_encoder_use_table(&encoder, &table[0], n, &scratch, &fault)
        if failed:
            raise_fault(&fault)
        return block_encoder_bytes(&encoder, scratch.labels, n)
    finally:
        label_scratch_free(&scratch)
        free(encoder.palettes)
