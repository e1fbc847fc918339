# The hot path: DVID block -> compressed_segmentation, palette by palette; voxels never exist as
# labels. The bytes are those that `cseg_encode` gives for the decoded, mapped voxels.
#
# Per chunk the mapped labels are sorted once, so that a label is known by its rank. Per sub-block
# the ranks of the entries that voxels use are sorted: their order is the new table, and `remap`
# sends each old entry to its index in it. Unused entries vanish, equal labels share an index.

# ---------------------------------------------------------------- one sub-block

# Entries that no voxel uses are checked too: a palette points into the table or is damaged.
cdef inline int palette_add(
    const Block* block, const SubBlock* sub, uint32_t entry, bint used, const LabelScratch* scratch,
    Palette* palette, Fault* fault
) noexcept nogil:
    cdef int64_t at = subblock_entry(block, sub, entry, fault)
    if at < 0:
        return -1
    palette.keys[palette.n] = scratch.rank[at]
    palette.pos[palette.n] = entry
    palette.n += used
    return 0


# Sorts the entries in use; palette.keys becomes the new table, remap[entry] an index into it.
# Returns the table's length.
cdef inline uint32_t palette_sort(
    LabelScratch* scratch, Palette* palette, entry_t* remap
) noexcept nogil:
    cdef uint32_t i, n = 0
    cdef uint64_t rank, last = <uint64_t>-1
    sort_pairs(palette.keys, palette.pos, palette.tmp_keys, palette.tmp_pos, palette.n)
    for i in range(palette.n):
        rank = palette.keys[i]
        if rank != last:
            last = rank
            scratch.seen[rank] = 1
            palette.keys[n] = scratch.keys[rank]
            n += 1
        remap[palette.pos[i]] = <entry_t>(n - 1)
    return n


# Two entries: nothing to sort, and the values stay packed.
cdef int transcode_two(
    const Block* block, const SubBlock* sub, LabelScratch* scratch, CsegWriter* writer, Fault* fault
) noexcept nogil:
    cdef int64_t at0 = subblock_entry(block, sub, 0, fault)
    cdef int64_t at1 = subblock_entry(block, sub, 1, fault)
    cdef uint32_t first, second
    cdef uint64_t table[2]
    cdef unsigned int used
    cdef uint8_t* out
    if at0 < 0 or at1 < 0:
        return -1
    used = lanes_used1(sub.values)
    first = scratch.rank[at0 if used & 1 else at1]
    second = scratch.rank[at1 if used & 2 else at0]
    scratch.seen[first] = scratch.seen[second] = 1
    if first == second:
        return cseg_put_solid(writer, scratch.keys[first], fault)
    out = cseg_values_begin(writer, 16, fault)
    if out == NULL:
        return -1
    lanes_recode1(sub.values, first > second, out)
    table[0] = scratch.keys[min(first, second)]
    table[1] = scratch.keys[max(first, second)]
    return cseg_values_end(writer, 16, table, 2, 1, fault)


# Palettes of 3 to 64 entries: which of them voxels use fits in one word.
cdef int transcode_few(
    const Block* block, const SubBlock* sub, LabelScratch* scratch, CsegWriter* writer, Fault* fault
) noexcept nogil:
    cdef Palette palette
    cdef uint8_t index[SUBBLOCK_VOXELS]
    cdef uint8_t remap[64]
    cdef uint8_t* out
    cdef uint64_t used
    cdef uint32_t i, n
    if sub.bits == 2:
        used = lanes_used2(sub.values)
    else:
        subblock_unpack(block, sub, index)
        used = lanes_used(index, 1 << sub.bits)
    if sub.n_labels < 64 and used >> sub.n_labels:
        return fail_at(
            fault, FAULT_BLOCK_VALUE, sub.number, sub.n_labels, 63 - __builtin_clzll(used))
    memset(remap, 0, sizeof(remap))    # of entries that are not used too
    palette.n = 0
    for i in range(sub.n_labels):
        if palette_add(block, sub, i, used >> i & 1, scratch, &palette, fault):
            return -1
    n = palette_sort(scratch, &palette, remap)
    if n == 1:
        return cseg_put_solid(writer, palette.keys[0], fault)
    if sub.bits > 2:
        return cseg_put_block(writer, index, remap, sub.n_labels, palette.keys, n, fault)
    if n == 2:
        subblock_unpack(block, sub, index)
        return cseg_put_block(writer, index, remap, sub.n_labels, palette.keys, n, fault)
    out = cseg_values_begin(writer, 32, fault)
    if out == NULL:
        return -1
    lanes_recode2(sub.values, remap, out)
    return cseg_values_end(writer, 32, palette.keys, n, 2, fault)


# Palettes of any size.
cdef int transcode_many(
    const Block* block, const SubBlock* sub, LabelScratch* scratch, CsegWriter* writer, Fault* fault
) noexcept nogil:
    cdef Palette palette
    cdef uint16_t index[SUBBLOCK_VOXELS]
    cdef uint16_t remap[SUBBLOCK_LABELS]
    cdef uint8_t used[SUBBLOCK_LABELS]
    cdef uint32_t i, n
    if subblock_unpack_wide(block, sub, index, fault):
        return -1
    memset(used, 0, sizeof(used))
    memset(remap, 0, sizeof(remap))
    for i in range(SUBBLOCK_VOXELS):
        used[index[i]] = 1
    palette.n = 0
    for i in range(sub.n_labels):
        if palette_add(block, sub, i, used[i], scratch, &palette, fault):
            return -1
    n = palette_sort(scratch, &palette, remap)
    if n == 1:
        return cseg_put_solid(writer, palette.keys[0], fault)
    return cseg_put_block_wide(writer, index, remap, sub.n_labels, palette.keys, n, fault)


# No label (zeros) or one.
cdef inline int transcode_solid(
    const Block* block, const SubBlock* sub, LabelScratch* scratch, CsegWriter* writer, Fault* fault
) noexcept nogil:
    cdef int64_t at = block.n_labels    # the rank of 0 stands behind those of the table
    cdef uint32_t rank
    if sub.n_labels:
        at = subblock_entry(block, sub, 0, fault)
        if at < 0:
            return -1
    rank = scratch.rank[at]
    scratch.seen[rank] = 1
    return cseg_put_solid(writer, scratch.keys[rank], fault)


# ---------------------------------------------------------------- one chunk

cdef int transcode_subblocks(
    const Block* block, LabelScratch* scratch, CsegWriter* writer, Fault* fault
) noexcept nogil:
    cdef SubBlock sub = subblock_first(block)
    cdef int failed
    while True:
        if sub.n_labels < 2:
            failed = transcode_solid(block, &sub, scratch, writer, fault)
        elif sub.n_labels == 2:
            failed = transcode_two(block, &sub, scratch, writer, fault)
        elif sub.n_labels <= 64:
            failed = transcode_few(block, &sub, scratch, writer, fault)
        else:
            failed = transcode_many(block, &sub, scratch, writer, fault)
        if failed:
            return -1
        if not subblock_next(block, &sub):
            return 0


# Ranks of the mapped table and, behind it, of 0; returns the count of distinct labels.
cdef inline size_t rank_block_table(const Block* block, LabelScratch* scratch) noexcept nogil:
    scratch.labels[block.n_labels] = 0
    memcpy(scratch.keys, scratch.labels, 8 * (<size_t>block.n_labels + 1))
    return rank_labels(
        scratch.keys, scratch.pos, scratch.tmp_keys, scratch.tmp_pos, scratch.rank,
        <size_t>block.n_labels + 1)


# Bytes of the chunk, 0 if all voxels are 0, -1 on a fault; n_labels: distinct labels of its voxels,
# none if they are all 0.
cdef int64_t transcode_block(
    const Block* block, const LabelMap* label_map, LabelScratch* scratch, CsegWriter* writer,
    uint8_t* out, uint32_t* n_labels, Fault* fault
) noexcept nogil:
    cdef size_t i, n_ranks
    cdef uint32_t n = 0
    if label_map_apply(block, label_map, scratch, fault):
        return -1
    if block.n_labels == 1:
        n_labels[0] = scratch.labels[0] != 0
        return transcode_one_label(block, scratch.labels[0], writer, out, fault)
    n_ranks = rank_block_table(block, scratch)
    memset(scratch.seen, 0, n_ranks)
    if cseg_writer_begin(writer, out, block.most_words, block.n_subblocks, fault):
        return -1
    if transcode_subblocks(block, scratch, writer, fault):
        return -1
    for i in range(n_ranks):
        n += scratch.seen[i]
    if n == 1 and scratch.seen[scratch.rank[block.n_labels]]:
        n_labels[0] = 0
        return 0
    n_labels[0] = n
    return <int64_t>cseg_writer_bytes(writer)


cdef int64_t transcode_one_label(
    const Block* block, uint64_t label, CsegWriter* writer, uint8_t* out, Fault* fault
) noexcept nogil:
    cdef uint32_t i
    if label == 0:
        return 0
    if cseg_writer_begin(writer, out, block.most_words, block.n_subblocks, fault):
        return -1
    for i in range(block.n_subblocks):
        if cseg_put_solid(writer, label, fault):
            return -1
    return <int64_t>cseg_writer_bytes(writer)


# ---------------------------------------------------------------- batches

class Transcoded(NamedTuple):
    """Chunks of a batch, one after another in one buffer.

    Attributes:
        data: uint8; chunk i is data[start[i]:start[i + 1]]; a chunk of zeros has no bytes.
        start: (k + 1,) int64.
        labels: (k,) uint32, distinct labels among the chunk's voxels, 0 counted like any other,
            but not in a chunk of zeros.
    """

    data: object
    start: object
    labels: object


# Opens every block; says how many bytes of output the batch can need.
cdef int transcode_measure(
    const BlockBatch* batch, BatchBlock* opened, uint64_t* most_bytes, Fault* fault
) noexcept nogil:
    cdef size_t i
    most_bytes[0] = 0
    for i in range(batch.k):
        if block_batch_open(batch, i, 8, 8, 8, &opened[i].block, &opened[i].label_map, fault):
            return -1
        most_bytes[0] += 4 * opened[i].block.most_words
    return 0


cdef int transcode_batch(
    const BatchBlock* opened, size_t k, uint8_t* out, int64_t* out_start, uint32_t* n_labels,
    Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef int64_t size = 0
    cdef LabelScratch scratch = label_scratch_none()
    cdef CsegWriter writer
    if cseg_writer_make(&writer, SUBBLOCK_LABELS, 2, fault):
        return -1
    out_start[0] = 0
    for i in range(k):
        fault.item = <int64_t>i
        size = transcode_block(
            &opened[i].block, &opened[i].label_map, &scratch, &writer, out + out_start[i],
            &n_labels[i], fault)
        if size < 0:
            break
        out_start[i + 1] = out_start[i] + size
    cseg_writer_free(&writer)
    label_scratch_free(&scratch)
    return -1 if size < 0 else 0


def transcode_blocks(
    const uint8_t[::1] blocks not None, const int64_t[::1] start not None,
    const uint64_t[::1] labels=None, const int64_t[::1] label_start=None,
    const uint64_t[::1] supervoxels=None, const int64_t[::1] supervoxel_start=None,
    out=None
):
    """Turn uncompressed 64 x 64 x 64 DVID blocks into compressed_segmentation chunks (8 x 8 x 8).

    Args:
        blocks: the blocks, one after another.
        start: (k + 1,) byte offsets; block i is blocks[start[i]:start[i + 1]].
        labels, label_start, supervoxels, supervoxel_start: per block the label of each of its
            supervoxels, as in `decode_blocks`; none of them: supervoxels stay as they are.
        out: uint8 array to write into if it is large enough, so that batches share memory.

    Returns:
        Transcoded; its `data` is part of `out` if that was used.

    Raises:
        KernelError: a count, index or value of block `.item` does not fit.
    """
    cdef BlockBatch batch = block_batch_make(
        blocks, start, labels, label_start, supervoxels, supervoxel_start)
    cdef Fault fault = no_fault()
    cdef uint64_t most_bytes
    cdef uint8_t[::1] data
    cdef int64_t[::1] out_start = np.zeros(batch.k + 1, np.int64)
    cdef uint32_t[::1] n_labels = np.zeros(batch.k + 1, np.uint32)
    cdef BatchBlock* opened = <BatchBlock*>malloc((batch.k + 1) * sizeof(BatchBlock))
    cdef int failed
    if opened == NULL:
        raise MemoryError(f"not enough memory for a batch of {batch.k} blocks")
    try:
        with nogil:
            failed = transcode_measure(&batch, opened, &most_bytes, &fault)
        if failed:
            raise_fault(&fault)
        if out is None or out.size <= most_bytes:
            out = np.empty(most_bytes + 1, np.uint8)
        data = out
        with nogil:
            failed = transcode_batch(
                opened, batch.k, &data[0], &out_start[0], &n_labels[0], &fault)
        if failed:
            raise_fault(&fault)
    finally:
        free(opened)
    return Transcoded(
        out[:out_start[batch.k]], np.asarray(out_start), np.asarray(n_labels)[:batch.k])
