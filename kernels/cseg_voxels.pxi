# compressed_segmentation chunks: voxels encoded and decoded.

# ---------------------------------------------------------------- grid of blocks

cdef CsegGrid cseg_grid_make(shape_zyx, block_size_xyz) except *:
    """A checked grid; numbers are Python's own until they are known to be small."""
    cdef CsegGrid grid
    shape = tuple(shape_zyx)
    block = tuple(block_size_xyz)
    if len(block) != 3 or min(block) < 1:
        raise KernelError(f"block size: expected three positive edges, found {block}")
    if block[0] * block[1] * block[2] > CSEG_LARGEST_BLOCK:
        raise KernelError(
            f"block size: expected at most {CSEG_LARGEST_BLOCK} voxels, found {block}")
    if min(shape) < 1:
        raise KernelError(f"chunk shape: expected three positive edges, found {shape}")
    blocks = [-(-edge // size) for edge, size in zip(shape[::-1], block)]
    if 2 * blocks[0] * blocks[1] * blocks[2] > CSEG_LAST_OFFSET:
        raise KernelError(
            f"chunk too large: block headers of {shape} end beyond the last offset, "
            f"{CSEG_LAST_OFFSET} words"
        )
    grid.sz, grid.sy, grid.sx = shape
    grid.bx, grid.by, grid.bz = block
    grid.gx, grid.gy, grid.gz = blocks
    grid.n_blocks = grid.gx * grid.gy * grid.gz
    grid.n_voxels = grid.bx * grid.by * grid.bz
    return grid


cdef inline CsegBox cseg_box(const CsegGrid* grid, size_t block) noexcept nogil:
    cdef CsegBox box
    box.x = block % grid.gx * grid.bx
    box.y = block // grid.gx % grid.gy * grid.by
    box.z = block // (grid.gx * grid.gy) * grid.bz
    box.nx = min(grid.bx, grid.sx - box.x)
    box.ny = min(grid.by, grid.sy - box.y)
    box.nz = min(grid.bz, grid.sz - box.z)
    return box


# ---------------------------------------------------------------- voxels

cdef VoxelView voxel_view(const label_t[:, :, :] voxels) noexcept:
    cdef VoxelView view
    view.data = <uint8_t*>&voxels[0, 0, 0]
    view.z, view.y, view.x = voxels.strides[0], voxels.strides[1], voxels.strides[2]
    view.label_words = 2 if label_t is uint64_t else 1
    return view


cdef inline uint8_t* voxel_row(
    const VoxelView* voxels, const CsegBox* box, size_t y, size_t z
) noexcept nogil:
    """First voxel of a row of a box; y and z count from the box."""
    return (voxels.data + <Py_ssize_t>box.x * voxels.x + <Py_ssize_t>(box.y + y) * voxels.y
            + <Py_ssize_t>(box.z + z) * voxels.z)


cdef inline void voxel_row_load(
    const VoxelView* voxels, const uint8_t* at, size_t n, uint64_t* row
) noexcept nogil:
    cdef size_t x
    if voxels.label_words == 1:
        for x in range(n):
            row[x] = load32(at + <Py_ssize_t>x * voxels.x)
    elif voxels.x == 8:
        memcpy(row, at, 8 * n)
    else:
        for x in range(n):
            row[x] = load64(at + <Py_ssize_t>x * voxels.x)


# ---------------------------------------------------------------- voxels -> chunk

cdef int cseg_tile_make(CsegTile* tile, size_t n_voxels, Fault* fault) noexcept nogil:
    cdef size_t whole = (n_voxels + 31) // 32 * 32
    tile.voxels = <uint64_t*>malloc(whole * (sizeof(uint64_t) + sizeof(uint32_t)))
    if tile.voxels == NULL:
        return fail(fault, FAULT_MEMORY, whole * (sizeof(uint64_t) + sizeof(uint32_t)), 0)
    tile.indices = <uint32_t*>(tile.voxels + whole)
    tile.scratch = label_scratch_none()
    if label_scratch_reserve(&tile.scratch, max(n_voxels, SUBBLOCK_LABELS), fault):
        free(tile.voxels)
        return -1
    return 0


cdef void cseg_tile_free(CsegTile* tile) noexcept nogil:
    label_scratch_free(&tile.scratch)
    free(tile.voxels)


cdef void cseg_tile_gather(
    const VoxelView* voxels, const CsegGrid* grid, const CsegBox* box, uint64_t* tile
) noexcept nogil:
    """A whole block's voxels, filled up where it is clipped."""
    cdef size_t y, z
    for z in range(box.nz):
        for y in range(box.ny):
            voxel_row_load(
                voxels, voxel_row(voxels, box, y, z), box.nx, tile + grid.bx * (y + grid.by * z))
    if box.nx < grid.bx or box.ny < grid.by or box.nz < grid.bz:
        cseg_tile_pad(grid, box, tile)


# Voxels of a partial block beyond the chunk have index 0: filled with the smallest label, they do.
cdef void cseg_tile_pad(const CsegGrid* grid, const CsegBox* box, uint64_t* tile) noexcept nogil:
    cdef size_t x, y, z
    cdef uint64_t least = tile[0]
    cdef uint64_t* row
    for z in range(box.nz):
        for y in range(box.ny):
            row = tile + grid.bx * (y + grid.by * z)
            for x in range(box.nx):
                least = min(least, row[x])
    for z in range(grid.bz):
        for y in range(grid.by):
            row = tile + grid.bx * (y + grid.by * z)
            for x in range(box.nx if y < box.ny and z < box.nz else 0, grid.bx):
                row[x] = least


cdef int cseg_put_voxels(
    CsegWriter* writer, const uint64_t* voxels, LabelScratch* scratch, Fault* fault
) noexcept nogil:
    """The next 8 x 8 x 8 block from its 512 voxels; scratch: room for 512."""
    cdef uint16_t local[SUBBLOCK_VOXELS]
    cdef uint16_t indices[SUBBLOCK_LABELS]
    cdef uint32_t i, n
    if all_equal(voxels, SUBBLOCK_VOXELS):
        return cseg_put_solid(writer, voxels[0], fault)
    n = palette_build(voxels, scratch.keys, local)
    rank_labels(scratch.keys, scratch.pos, scratch.tmp_keys, scratch.tmp_pos, scratch.rank, n)
    for i in range(n):
        indices[i] = <uint16_t>scratch.rank[i]
    return cseg_put_block_wide(writer, local, indices, n, scratch.keys, n, fault)


cdef int cseg_put_tile(
    CsegWriter* writer, CsegTile* tile, size_t n_voxels, Fault* fault
) noexcept nogil:
    """The next block, of any size, from tile.voxels."""
    cdef uint8_t* out
    cdef uint64_t words
    cdef size_t n
    cdef int bits
    if all_equal(tile.voxels, n_voxels):
        return cseg_put_solid(writer, tile.voxels[0], fault)
    memcpy(tile.scratch.keys, tile.voxels, 8 * n_voxels)
    n = rank_labels(
        tile.scratch.keys, tile.scratch.pos, tile.scratch.tmp_keys, tile.scratch.tmp_pos,
        tile.indices, n_voxels)
    bits = cseg_bits(<uint32_t>n)
    words = (<uint64_t>n_voxels * bits + 31) // 32
    out = cseg_values_begin(writer, words, fault)
    if out == NULL:
        return -1
    cseg_pack(tile.indices, n_voxels, bits, out)
    return cseg_values_end(writer, words, tile.scratch.keys, <uint32_t>n, bits, fault)


cdef int cseg_buffer_grow(
    CsegBuffer* memory, CsegWriter* writer, uint64_t words, Fault* fault
) noexcept nogil:
    """Room for `words` more words of the writer's chunk."""
    cdef uint64_t needed = 1 + writer.used + words
    cdef uint8_t* moved
    if needed <= memory.words:
        return 0
    needed = max(needed, 2 * memory.words)
    moved = <uint8_t*>realloc(memory.out, 4 * needed)
    if moved == NULL:
        return fail(fault, FAULT_MEMORY, 4 * needed, 0)
    memory.out = moved
    memory.words = needed
    writer.channel = moved + 4
    writer.room = needed - 1
    return 0


# Words of values and table that one block can need at most.
cdef inline uint64_t cseg_block_most_words(
    const CsegGrid* grid, uint32_t label_words
) noexcept nogil:
    cdef uint64_t values = (<uint64_t>grid.n_voxels * cseg_bits(<uint32_t>grid.n_voxels) + 31) // 32
    return values + grid.n_voxels * label_words


cdef int cseg_chunk_encode(
    const VoxelView* voxels, const CsegGrid* grid, CsegBuffer* memory, CsegWriter* writer,
    CsegTile* tile, Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef CsegBox box
    cdef uint64_t most = cseg_block_most_words(grid, voxels.label_words)
    cdef bint is_cube = grid.bx == 8 and grid.by == 8 and grid.bz == 8
    cdef int failed
    writer.used = 2 * grid.n_blocks
    if cseg_buffer_grow(memory, writer, most, fault):
        return -1
    if cseg_writer_begin(writer, memory.out, memory.words, <uint32_t>grid.n_blocks, fault):
        return -1
    for i in range(grid.n_blocks):
        box = cseg_box(grid, i)
        cseg_tile_gather(voxels, grid, &box, tile.voxels)
        if cseg_buffer_grow(memory, writer, most, fault):
            return -1
        if is_cube:
            failed = cseg_put_voxels(writer, tile.voxels, &tile.scratch, fault)
        else:
            failed = cseg_put_tile(writer, tile, grid.n_voxels, fault)
        if failed:
            return -1
    return 0


def cseg_encode(const label_t[:, :, :] voxels not None, block_size=(8, 8, 8)):
    """Encode voxels as a compressed_segmentation chunk of one channel.

    Args:
        voxels: (z, y, x) uint64 or uint32 labels, any shape and strides.
        block_size: voxels of a block along (x, y, z).

    Returns:
        The chunk's bytes, the same as TensorStore's.

    Raises:
        KernelError: an offset needs more than 24 bits, or the block size is not usable.
    """
    cdef CsegGrid grid = cseg_grid_make(
        (voxels.shape[0], voxels.shape[1], voxels.shape[2]), block_size)
    cdef VoxelView view = voxel_view(voxels)
    cdef CsegBuffer memory
    cdef CsegWriter writer
    cdef CsegTile tile
    cdef Fault fault = no_fault()
    cdef int failed
    memory.out = NULL
    memory.words = 0
    if cseg_tile_make(&tile, grid.n_voxels, &fault):
        raise_fault(&fault)
    try:
        if cseg_writer_make(&writer, <uint32_t>grid.n_blocks, view.label_words, &fault):
            raise_fault(&fault)
        with nogil:
            failed = cseg_chunk_encode(&view, &grid, &memory, &writer, &tile, &fault)
        if failed:
            raise_fault(&fault)
        return (<char*>memory.out)[:cseg_writer_bytes(&writer)]
    finally:
        free(memory.out)
        cseg_writer_free(&writer)
        cseg_tile_free(&tile)


# ---------------------------------------------------------------- chunk -> voxels

cdef int cseg_chunk_decode(
    const CsegChunk* chunk, const CsegGrid* grid, uint32_t* indices, const VoxelView* out,
    Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef CsegBox box
    cdef CsegBlock block
    for i in range(grid.n_blocks):
        if cseg_block_open(chunk, <uint32_t>i, grid.n_voxels, &block, fault):
            return -1
        box = cseg_box(grid, i)
        if block.bits == 0:
            cseg_box_fill(&block, &box, out)
            continue
        if cseg_block_indices(&block, <uint32_t>i, grid.n_voxels, indices, fault):
            return -1
        cseg_box_scatter(&block, grid, &box, indices, out)
    return 0


# A box of one label: one row, then copies of it where rows are whole.
cdef void cseg_box_fill(
    const CsegBlock* block, const CsegBox* box, const VoxelView* out
) noexcept nogil:
    cdef size_t x, y, z
    cdef uint8_t* at
    cdef uint8_t* first = voxel_row(out, box, 0, 0)
    cdef Py_ssize_t size = 4 * out.label_words
    for x in range(box.nx):
        memcpy(first + <Py_ssize_t>x * out.x, block.table, size)
    for z in range(box.nz):
        for y in range(box.ny):
            at = voxel_row(out, box, y, z)
            if at == first:
                continue
            if out.x == size:
                memcpy(at, first, size * box.nx)
            else:
                for x in range(box.nx):
                    memcpy(at + <Py_ssize_t>x * out.x, block.table, size)


cdef inline void voxel_row_write(
    const uint8_t* table, const uint32_t* row, size_t n, uint8_t* at, Py_ssize_t step,
    const size_t size
) noexcept nogil:
    cdef size_t x
    for x in range(n):
        memcpy(at + <Py_ssize_t>x * step, table + size * <size_t>row[x], size)


cdef void cseg_box_scatter(
    const CsegBlock* block, const CsegGrid* grid, const CsegBox* box, const uint32_t* indices,
    const VoxelView* out
) noexcept nogil:
    cdef size_t y, z
    cdef const uint32_t* row
    cdef uint8_t* at
    for z in range(box.nz):
        for y in range(box.ny):
            row = indices + grid.bx * (y + grid.by * z)
            at = voxel_row(out, box, y, z)
            # Constant steps and sizes let the compiler do without memcpy.
            if out.label_words == 1:
                voxel_row_write(block.table, row, box.nx, at, out.x, 4)
            elif out.x == 8 and box.nx == SUBBLOCK_EDGE:
                voxel_row_write(block.table, row, SUBBLOCK_EDGE, at, 8, 8)
            else:
                voxel_row_write(block.table, row, box.nx, at, out.x, 8)


def cseg_decode(
    const uint8_t[::1] data not None, label_t[:, :, :] out not None, block_size=(8, 8, 8)
):
    """Decode a compressed_segmentation chunk of one channel.

    Args:
        data: the chunk's bytes.
        out: (z, y, x) uint64 or uint32 voxels to fill; its shape is the chunk's, clipped at the
            volume's edge.
        block_size: voxels of a block along (x, y, z).

    Raises:
        KernelError: an offset, width or value lies outside the chunk.
    """
    cdef CsegGrid grid = cseg_grid_make((out.shape[0], out.shape[1], out.shape[2]), block_size)
    cdef VoxelView view = voxel_view(out)
    cdef size_t whole = (grid.n_voxels + 31) // 32 * 32
    cdef CsegChunk chunk
    cdef Fault fault = no_fault()
    cdef uint32_t* indices
    cdef const uint8_t* start = &data[0] if data.shape[0] else NO_BYTES
    cdef int failed
    if cseg_chunk_open(
        start, data.shape[0], <uint32_t>grid.n_blocks, view.label_words, &chunk, &fault
    ):
        raise_fault(&fault)
    indices = <uint32_t*>malloc(4 * whole)
    if indices == NULL:
        raise MemoryError(f"not enough memory for {4 * whole} bytes of scratch")
    with nogil:
        failed = cseg_chunk_decode(&chunk, &grid, indices, &view, &fault)
    free(indices)
    if failed:
        raise_fault(&fault)
