# DVID blocks: parse, decode to voxels.
#
#   0   u32 gx, gy, gz     sub-blocks of 8 x 8 x 8 voxels per axis
#   12  u32 N              labels in the table
#   16  u64[N]             the table; N = 1: the block is solid and ends here
#       u16[sub-blocks]    labels per sub-block
#       u32[their sum]     indices into the table
#       bits               64 * subblock_bits(labels) bytes per sub-block with two labels or more
#
# Nothing is aligned, so every field is read with memcpy. Sub-blocks and voxels run x fastest.

cdef inline int subblock_bits(uint32_t labels) noexcept nogil:
    """Bits per value in a DVID sub-block: ceil(log2(labels)), 0 for one label or none."""
    return 0 if labels < 2 else 32 - __builtin_clz(labels - 1)


# ---------------------------------------------------------------- parse

cdef int block_open(
    const uint8_t* data, uint64_t size, uint32_t gx, uint32_t gy, uint32_t gz,
    Block* block, Fault* fault
) noexcept nogil:
    """Check header and counts of a block of gx, gy, gz sub-blocks; allocates nothing."""
    cdef uint64_t table_end
    if size < BLOCK_HEADER_BYTES + 8:
        return fail(fault, FAULT_BLOCK_SHORT, BLOCK_HEADER_BYTES + 8, size)
    block.gx = gx
    block.gy = gy
    block.gz = gz
    block.n_subblocks = gx * gy * gz
    if load32(data) != gx:
        return fail(fault, FAULT_BLOCK_GRID, gx, load32(data))
    if load32(data + 4) != gy:
        return fail(fault, FAULT_BLOCK_GRID, gy, load32(data + 4))
    if load32(data + 8) != gz:
        return fail(fault, FAULT_BLOCK_GRID, gz, load32(data + 8))
    block.n_labels = load32(data + 12)
    if block.n_labels == 0:
        return fail(fault, FAULT_BLOCK_EMPTY, 1, 0)
    table_end = BLOCK_HEADER_BYTES + 8 * <uint64_t>block.n_labels
    if table_end > size:
        return fail(fault, FAULT_BLOCK_TABLE, block.n_labels, (size - BLOCK_HEADER_BYTES) // 8)
    block.table = data + BLOCK_HEADER_BYTES
    block.most_words = 1 + 2 * <uint64_t>block.n_subblocks + 2
    block.end = data + size
    if block.n_labels > 1:
        return block_open_counts(data, size, table_end, block, fault)
    block.counts = block.indices = block.values = block.end
    if size != table_end:
        return fail(fault, FAULT_BLOCK_SIZE, table_end, size)
    return 0


cdef int block_open_counts(
    const uint8_t* data, uint64_t size, uint64_t table_end, Block* block, Fault* fault
) noexcept nogil:
    cdef uint64_t counts_end = table_end + 2 * <uint64_t>block.n_subblocks
    cdef uint64_t n_indices = 0, n_bits = 0
    cdef uint32_t i, count
    if counts_end > size:
        return fail(fault, FAULT_BLOCK_COUNTS, 2 * <uint64_t>block.n_subblocks, size - table_end)
    block.counts = data + table_end
    for i in range(block.n_subblocks):
        count = load16(block.counts + 2 * i)
        if count > SUBBLOCK_LABELS:
            return fail_at(fault, FAULT_BLOCK_COUNT, i, SUBBLOCK_LABELS, count)
        n_indices += count
        n_bits += SUBBLOCK_BITS[count]
        block.most_words += CSEG_MOST_WORDS[count]
    if counts_end + 4 * n_indices + 64 * n_bits != size:
        return fail(fault, FAULT_BLOCK_SIZE, counts_end + 4 * n_indices + 64 * n_bits, size)
    block.indices = data + counts_end
    block.values = block.indices + 4 * n_indices
    return 0


cdef inline SubBlock subblock_first(const Block* block) noexcept nogil:
    cdef SubBlock sub
    sub.number = 0
    sub.indices = block.indices
    sub.values = block.values
    subblock_load(block, &sub)
    return sub


cdef inline void subblock_load(const Block* block, SubBlock* sub) noexcept nogil:
    sub.n_labels = load16(block.counts + 2 * sub.number)
    sub.bits = SUBBLOCK_BITS[sub.n_labels]


cdef inline bint subblock_next(const Block* block, SubBlock* sub) noexcept nogil:
    sub.indices += 4 * sub.n_labels
    sub.values += 64 * sub.bits
    sub.number += 1
    if sub.number >= block.n_subblocks:
        return False
    subblock_load(block, sub)
    return True


# The index of entry i of a sub-block's palette into the block's table, checked.
cdef inline int64_t subblock_entry(
    const Block* block, const SubBlock* sub, uint32_t i, Fault* fault
) noexcept nogil:
    cdef uint32_t index = load32(sub.indices + 4 * i)
    if index >= block.n_labels:
        return fail_at(fault, FAULT_BLOCK_INDEX, sub.number, block.n_labels, index)
    return index


# Values that may be read LANES_SLACK bytes past their end: themselves, or a copy in `spare`
# (64 * 9 + LANES_SLACK bytes) at the end of the block.
cdef inline const uint8_t* subblock_values(
    const Block* block, const SubBlock* sub, uint8_t* spare
) noexcept nogil:
    cdef size_t size = 64 * sub.bits
    if <size_t>(block.end - sub.values) >= size + LANES_SLACK:
        return sub.values
    memcpy(spare, sub.values, size)
    memset(spare + size, 0, LANES_SLACK)
    return spare


# One byte per voxel, for palettes of 2 to 256 labels; values are not yet checked.
cdef inline void subblock_unpack(
    const Block* block, const SubBlock* sub, uint8_t* index
) noexcept nogil:
    cdef uint8_t spare[64 * 9 + LANES_SLACK]
    lanes_unpack(subblock_values(block, sub, spare), sub.bits, index)


# The same in 16 bits, for palettes of any size above one, values checked.
cdef int subblock_unpack_wide(
    const Block* block, const SubBlock* sub, uint16_t* index, Fault* fault
) noexcept nogil:
    cdef uint8_t narrow[SUBBLOCK_VOXELS]
    cdef uint16_t largest = 0
    cdef int i
    if sub.bits == 9:
        lanes_unpack9(sub.values, index)
    else:
        subblock_unpack(block, sub, narrow)
        for i in range(SUBBLOCK_VOXELS):
            index[i] = narrow[i]
    for i in range(SUBBLOCK_VOXELS):
        largest = max(largest, index[i])
    if largest >= sub.n_labels:
        return fail_at(fault, FAULT_BLOCK_VALUE, sub.number, sub.n_labels, largest)
    return 0


# ---------------------------------------------------------------- decode

cdef int block_decode(
    const Block* block, const uint64_t* table, uint64_t* out, Fault* fault
) noexcept nogil:
    """Voxels of a block (z, y, x of 8 gz, 8 gy, 8 gx) through its (mapped) table."""
    cdef size_t i, n_voxels = <size_t>block.n_subblocks * SUBBLOCK_VOXELS
    cdef SubBlock sub
    if block.n_labels == 1:
        for i in range(n_voxels):
            out[i] = table[0]
        return 0
    sub = subblock_first(block)
    while True:
        if subblock_decode(block, &sub, table, subblock_origin(block, sub.number, out), fault):
            return -1
        if not subblock_next(block, &sub):
            return 0


cdef inline uint64_t* subblock_origin(
    const Block* block, uint32_t number, uint64_t* out
) noexcept nogil:
    cdef size_t x = number % block.gx
    cdef size_t y = number // block.gx % block.gy
    cdef size_t z = number // (block.gx * block.gy)
    return out + SUBBLOCK_EDGE * (x + SUBBLOCK_EDGE * block.gx * (y + SUBBLOCK_EDGE * block.gy * z))


cdef int subblock_decode(
    const Block* block, const SubBlock* sub, const uint64_t* table, uint64_t* out, Fault* fault
) noexcept nogil:
    cdef uint64_t palette[SUBBLOCK_LABELS]
    cdef uint16_t index[SUBBLOCK_VOXELS]
    cdef size_t row = SUBBLOCK_EDGE * block.gx
    cdef size_t slice_ = row * SUBBLOCK_EDGE * block.gy
    cdef int64_t at
    cdef uint32_t i
    palette[0] = 0
    for i in range(sub.n_labels):
        at = subblock_entry(block, sub, i, fault)
        if at < 0:
            return -1
        palette[i] = table[at]
    if sub.n_labels < 2:
        subblock_fill(palette[0], out, row, slice_)
        return 0
    if subblock_unpack_wide(block, sub, index, fault):
        return -1
    subblock_scatter(palette, index, out, row, slice_)
    return 0


cdef inline void subblock_fill(
    uint64_t label, uint64_t* out, size_t row, size_t slice_
) noexcept nogil:
    cdef size_t x, y, z
    for z in range(<size_t>SUBBLOCK_EDGE):
        for y in range(<size_t>SUBBLOCK_EDGE):
            for x in range(<size_t>SUBBLOCK_EDGE):
                out[z * slice_ + y * row + x] = label


cdef inline void subblock_scatter(
    const uint64_t* palette, const uint16_t* index, uint64_t* out, size_t row, size_t slice_
) noexcept nogil:
    cdef size_t x, y, z
    for z in range(<size_t>SUBBLOCK_EDGE):
        for y in range(<size_t>SUBBLOCK_EDGE):
            for x in range(<size_t>SUBBLOCK_EDGE):
                out[z * slice_ + y * row + x] = palette[index[x]]
            index += SUBBLOCK_EDGE


cdef tuple subblock_grid(shape_zyx):
    """gx, gy, gz of a block of (z, y, x) voxels, each a multiple of 8."""
    grid = []
    for edge in reversed(tuple(shape_zyx)):
        if edge <= 0 or edge % SUBBLOCK_EDGE:
            raise KernelError(
                f"a block's edges are multiples of {SUBBLOCK_EDGE}: found {tuple(shape_zyx)}")
        grid.append(edge // SUBBLOCK_EDGE)
    if len(grid) != 3 or grid[0] * grid[1] * grid[2] * SUBBLOCK_VOXELS >= 2**32:
        raise KernelError(
            f"a block has three axes and fewer than 2^32 voxels: found {tuple(shape_zyx)}")
    return tuple(grid)
