# Batches of DVID blocks, one after another in memory.

cdef inline int block_batch_open(
    const BlockBatch* batch, size_t i, uint32_t gx, uint32_t gy, uint32_t gz,
    Block* block, LabelMap* label_map, Fault* fault
) noexcept nogil:
    cdef uint64_t size = <uint64_t>(batch.start[i + 1] - batch.start[i])
    fault.item = <int64_t>i
    if block_open(batch.blocks + batch.start[i], size, gx, gy, gz, block, fault):
        return -1
    return label_map_at(&batch.label_maps, i, label_map, fault)


cdef BlockBatch block_batch_make(
    const uint8_t[::1] blocks, const int64_t[::1] start,
    const uint64_t[::1] labels, const int64_t[::1] label_start,
    const uint64_t[::1] supervoxels, const int64_t[::1] supervoxel_start
) except *:
    """Raw pointers to checked arrays, which must outlive the batch."""
    cdef BlockBatch batch
    if start.shape[0] < 1:
        raise KernelError("blocks: expected at least one start, found none")
    batch.k = <size_t>start.shape[0] - 1
    check_starts(start, batch.k, blocks.shape[0], "blocks")
    batch.blocks = &blocks[0] if blocks.shape[0] else NO_BYTES
    batch.start = &start[0]
    batch.label_maps = label_maps_make(batch.k, labels, label_start, supervoxels, supervoxel_start)
    return batch


cdef int block_batch_decode(
    const BlockBatch* batch, uint32_t gx, uint32_t gy, uint32_t gz, uint64_t* out, Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef size_t n_voxels = <size_t>gx * gy * gz * SUBBLOCK_VOXELS
    cdef Block block
    cdef LabelMap label_map
    cdef LabelScratch scratch = label_scratch_none()
    cdef int failed = 0
    for i in range(batch.k):
        failed = block_batch_open(batch, i, gx, gy, gz, &block, &label_map, fault)
        failed = failed or label_map_apply(&block, &label_map, &scratch, fault)
        failed = failed or block_decode(&block, scratch.labels, out + i * n_voxels, fault)
        if failed:
            break
    label_scratch_free(&scratch)
    return failed


def decode_blocks(
    const uint8_t[::1] blocks not None, const int64_t[::1] start not None,
    uint64_t[:, :, :, ::1] out not None,
    const uint64_t[::1] labels=None, const int64_t[::1] label_start=None,
    const uint64_t[::1] supervoxels=None, const int64_t[::1] supervoxel_start=None
):
    """Decode uncompressed DVID blocks to voxels, mapped if a mapping is given.

    Args:
        blocks: the blocks, one after another.
        start: (k + 1,) byte offsets; block i is blocks[start[i]:start[i + 1]].
        out: (k, z, y, x) voxels to fill; z, y, x are multiples of 8 and the blocks' shape.
        labels, label_start, supervoxels, supervoxel_start: per block the label of each of its
            supervoxels. Where they equal the block's table, the table is replaced; else they are
            looked up by value, and an entry without a mapping stays as it is.

    Raises:
        KernelError: a count, index or value of block `.item` does not fit.
    """
    cdef BlockBatch batch = block_batch_make(
        blocks, start, labels, label_start, supervoxels, supervoxel_start)
    cdef Fault fault = no_fault()
    cdef uint32_t gx, gy, gz
    cdef int failed
    gx, gy, gz = subblock_grid((out.shape[1], out.shape[2], out.shape[3]))
    if <size_t>out.shape[0] != batch.k:
        raise KernelError(f"out: expected room for {batch.k} blocks, found {out.shape[0]}")
    if batch.k == 0:
        return
    with nogil:
        failed = block_batch_decode(&batch, gx, gy, gz, &out[0, 0, 0, 0], &fault)
    if failed:
        raise_fault(&fault)
