# Downsampling: whole coarse chunks from the fine chunks behind them, by the votes of `votes.pxi`,
# and votes on voxels for chunks without 8 x 8 x 8 blocks.

# ---------------------------------------------------------------- the coarse chunk

cdef int vote_cell_locate(
    const int64_t* coord, const VotePlan* plan, VoteCell* cell
) noexcept nogil:
    """Where a coarse chunk lies in the fine volume; -1 outside."""
    cdef int axis
    cdef int64_t begin, lead, span, at, i
    for axis in range(3):
        span = plan.coarse_chunk[axis] << plan.halved[axis]
        begin = coord[axis] * span
        if coord[axis] < 0 or begin >= plan.fine_size[axis]:
            return -1
        lead = begin % plan.fine_chunk[axis]
        cell.reach[axis] = lead + plan.fine_size[axis] - begin
        cell.region[axis] = min(span, plan.fine_size[axis] - begin)
        for i in range((cell.region[axis] + 7) // 8):
            at = 8 * i + lead
            cell.slot[axis][i] = <uint16_t>(at // plan.fine_chunk[axis])
            cell.inner[axis][i] = <uint16_t>(at % plan.fine_chunk[axis] // 8)
    return 0


cdef int vote_part(
    VoteScratch* s, VotePart* part, const FineChunk* fines, const VoteCell* cell,
    const int64_t* block, const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Vote on one fine block of the cell; 0 if the volume ends before it, 1 if it is a part."""
    cdef int64_t extent[3]
    cdef int64_t slot = 0, number = 0
    cdef int axis
    for axis in range(3):
        extent[axis] = min(SUBBLOCK_EDGE, cell.region[axis] - 8 * block[axis])
        if extent[axis] <= 0:
            return 0
        part.at[axis] = 4 * (block[axis] & plan.halved[axis])
        part.votes[axis] = (extent[axis] + plan.halved[axis]) >> plan.halved[axis]
    for axis in range(2, -1, -1):
        slot = slot * plan.slots[axis] + cell.slot[axis][block[axis]]
    for axis in range(2, -1, -1):
        number = number * fines[slot].blocks[axis] + cell.inner[axis][block[axis]]
    s.slot = slot
    return -1 if vote_block(s, part, &fines[slot], <uint32_t>number, extent, plan, fault) else 1


cdef int vote_parts(
    VoteScratch* s, const FineChunk* fines, const VoteCell* cell, const int64_t* coarse_block,
    const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Vote on the fine blocks behind one coarse block; returns how many parts there are."""
    cdef int64_t block[3]
    cdef int64_t first_x = coarse_block[0] << plan.halved[0]
    cdef int64_t first_y = coarse_block[1] << plan.halved[1]
    cdef int64_t first_z = coarse_block[2] << plan.halved[2]
    cdef int parts = 0, found, x, y, z
    for z in range(1 + plan.halved[2]):
        for y in range(1 + plan.halved[1]):
            for x in range(1 + plan.halved[0]):
                block[0], block[1], block[2] = first_x + x, first_y + y, first_z + z
                found = vote_part(s, &s.parts[parts], fines, cell, block, plan, fault)
                if found < 0:
                    return -1
                parts += found
    return parts


cdef int vote_chunk(
    VoteScratch* s, const FineChunk* fines, const VoteCell* cell, const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Every block of one coarse chunk, which the writer has begun."""
    cdef int64_t block[3]
    cdef int64_t grid[3]
    cdef int64_t i
    cdef int axis, parts
    for axis in range(3):
        grid[axis] = coarse_blocks(cell.region[axis], plan.halved[axis])
    for i in range(grid[0] * grid[1] * grid[2]):
        block[0] = i % grid[0]
        block[1] = i // grid[0] % grid[1]
        block[2] = i // (grid[0] * grid[1])
        parts = vote_parts(s, fines, cell, block, plan, fault)
        if parts < 0 or vote_put_block(s, parts, plan, fault):
            return -1
    return 0


cdef inline int64_t coarse_blocks(int64_t fine_voxels, int halved) noexcept nogil:
    return (((fine_voxels + halved) >> halved) + 7) // 8


# Words that a chunk of so many blocks can need: header, values and table of each, or the last
# offset that the format allows and one block more.
cdef inline uint64_t vote_most_words(int64_t blocks, uint32_t label_words) noexcept nogil:
    cdef uint64_t each = 2 + 256 + SUBBLOCK_LABELS * label_words
    return 1 + min(blocks * each, CSEG_LAST_OFFSET + each)


cdef int vote_reserve(VoteScratch* s, uint64_t end, uint64_t words, Fault* fault) noexcept nogil:
    """Room for a chunk of so many words at byte `end` of the output."""
    cdef uint64_t room = end + 4 * words
    cdef uint8_t* out
    if room <= s.out_room:
        return 0
    room = max(room, s.out_room + s.out_room // 2)
    out = <uint8_t*>realloc(s.out, room)
    if out == NULL:
        return fail(fault, FAULT_MEMORY, room, 0)
    s.out = out
    s.out_room = room
    return 0


cdef int fine_chunk_open(
    FineChunk* fine, const Py_buffer* view, const int64_t* position, const VoteCell* cell,
    const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Take a chunk's bytes, if it is stored and holds a voxel of the volume."""
    cdef int axis
    cdef int64_t voxels, blocks = 1
    for axis in range(3):
        voxels = cell.reach[axis] - position[axis] * plan.fine_chunk[axis]
        fine.blocks[axis] = max(0, (min(voxels, plan.fine_chunk[axis]) + 7) // 8)
        blocks *= fine.blocks[axis]
    fine.stored = view.buf != NULL and blocks > 0
    if not fine.stored:
        return 0
    return cseg_chunk_open(
        <const uint8_t*>view.buf, view.len, <uint32_t>blocks, plan.label_words, &fine.cseg, fault)


cdef int fine_chunks_open(
    VoteScratch* s, FineChunk* fines, const Py_buffer* views, const VoteCell* cell,
    const VotePlan* plan, Fault* fault
) noexcept nogil:
    cdef int64_t position[3]
    cdef int64_t slot
    for slot in range(plan.slots[0] * plan.slots[1] * plan.slots[2]):
        s.slot = slot
        position[0] = slot % plan.slots[0]
        position[1] = slot // plan.slots[0] % plan.slots[1]
        position[2] = slot // (plan.slots[0] * plan.slots[1])
        if fine_chunk_open(&fines[slot], &views[slot], position, cell, plan, fault):
            return -1
    return 0


cdef int64_t vote_cell(
    VoteScratch* s, FineChunk* fines, const Py_buffer* views, const VoteCell* cell,
    int64_t end, uint32_t* labels, const VotePlan* plan, Fault* fault
) noexcept nogil:
    """One coarse chunk at byte `end` of the output; returns its size, 0 if it is all zeros."""
    cdef int64_t blocks = 1
    cdef uint64_t words
    cdef int axis
    for axis in range(3):
        blocks *= coarse_blocks(cell.region[axis], plan.halved[axis])
    words = vote_most_words(blocks, plan.label_words)
    if fine_chunks_open(s, fines, views, cell, plan, fault) or vote_reserve(s, end, words, fault):
        return -1
    label_set_clear(&s.seen)
    if cseg_writer_begin(&s.writer, s.out + end, words, <uint32_t>blocks, fault):
        return -1
    if vote_chunk(s, fines, cell, plan, fault):
        return -1
    labels[0] = <uint32_t>(s.seen.count + s.seen.zero)
    return <int64_t>cseg_writer_bytes(&s.writer) if s.seen.count else 0


cdef int vote_batch(
    VoteScratch* s, FineChunk* fines, const Py_buffer* views, const int64_t[:, ::1] coords,
    int64_t* start, uint32_t* labels, const VotePlan* plan, Fault* fault
) noexcept nogil:
    cdef int64_t i, size, slots = plan.slots[0] * plan.slots[1] * plan.slots[2]
    cdef VoteCell cell
    for i in range(coords.shape[0]):
        fault.item = i
        if vote_cell_locate(&coords[i, 0], plan, &cell):
            return fail(fault, FAULT_VOTE_CELL, 0, 0)
        size = vote_cell(s, fines, views + i * slots, &cell, start[i], &labels[i], plan, fault)
        if size < 0:
            return -1
        start[i + 1] = start[i] + size
    return 0


cdef int vote_scratch_make(
    VoteScratch* s, uint32_t n_blocks, uint32_t label_words, Fault* fault
) noexcept nogil:
    memset(s, 0, sizeof(VoteScratch))
    if label_set_make(&s.seen, fault):
        return -1
    return cseg_writer_make(&s.writer, n_blocks, label_words, fault)


cdef void vote_scratch_free(VoteScratch* s) noexcept nogil:
    free(s.seen.labels)
    free(s.out)
    cseg_writer_free(&s.writer)


# ---------------------------------------------------------------- public entry points

cdef int vote_plan_load_axes(xyz, int64_t* to) except -1:
    x, y, z = xyz
    to[0], to[1], to[2] = x, y, z
    return 0


cdef int vote_plan_check_axis(const VotePlan* plan, int axis) except -1:
    cdef int64_t span = plan.coarse_chunk[axis] << plan.halved[axis]
    # The furthest that a cell begins into its first fine chunk.
    cdef int64_t lead = plan.fine_chunk[axis] - gcd(span, plan.fine_chunk[axis])
    if plan.fine_size[axis] < 1 or plan.fine_size[axis] > (<int64_t>1 << 40):
        raise ValueError(f"fine size: expected 1 to 2^40 voxels, found {plan.fine_size[axis]}")
    if span > 8 * MOST_AXIS_BLOCKS or plan.fine_chunk[axis] > 8 * MOST_AXIS_BLOCKS:
        raise ValueError(
            f"chunks: expected edges of up to {8 * MOST_AXIS_BLOCKS} voxels, found {span}")
    if plan.slots[axis] * plan.fine_chunk[axis] < min(span + lead, plan.fine_size[axis]):
        raise ValueError(f"slots: a cell can meet more than {plan.slots[axis]} chunks")
    return 0


cdef VotePlan vote_plan_make(
    fine_size, fine_chunk, coarse_chunk, slots, factors, bint nonzero, label_bits
) except *:
    cdef VotePlan plan
    cdef int axis
    for edge in (*fine_chunk, *coarse_chunk):
        if edge < 8 or edge % 8:
            raise ValueError(f"chunks: expected edges of whole blocks of 8 voxels, found {edge}")
    if any(factor not in (1, 2) for factor in factors) or label_bits not in (32, 64):
        raise ValueError(
            f"expected factors 1 or 2 and 32 or 64 bits, found {factors} and {label_bits}")
    vote_plan_load_axes(fine_size, plan.fine_size)
    vote_plan_load_axes(fine_chunk, plan.fine_chunk)
    vote_plan_load_axes(coarse_chunk, plan.coarse_chunk)
    vote_plan_load_axes(slots, plan.slots)
    plan.nonzero = nonzero
    plan.label_words = label_bits // 32
    plan.windows = SUBBLOCK_VOXELS
    for axis in range(3):
        plan.halved[axis] = factors[axis] - 1
        plan.windows >>= plan.halved[axis]
        vote_plan_check_axis(&plan, axis)
    return plan


def downsample_cells(
    chunks, const int64_t[:, ::1] coords not None, *, fine_size, fine_chunk, coarse_chunk, slots,
    factors, bint nonzero=False, label_bits=64
):
    """Make coarse chunks from the compressed_segmentation chunks (8 x 8 x 8 blocks) behind them.

    Args:
        chunks: per cell the fine chunks that it can meet, slots[0] * slots[1] * slots[2] of them, x
            fastest, beginning with the one that holds the cell's first voxel; None: zeros.
        coords: (k, 3) grid coordinates (x, y, z) of the coarse chunks.
        fine_size: (x, y, z) voxels of the fine volume.
        fine_chunk, coarse_chunk: voxels of a chunk, multiples of 8.
        slots: fine chunks that a cell can meet, per axis.
        factors: 1 or 2 per axis.
        nonzero: zeros never vote (`nonzero-mode`); else they vote like any label (`mode`).
        label_bits: 64 or 32.

    Returns:
        Transcoded: the coarse chunks, the same bytes as `cseg_encode` of the voted voxels.

    Raises:
        KernelError: a count, offset or value of a chunk behind cell `.item` does not fit.
    """
    cdef VotePlan plan = vote_plan_make(
        fine_size, fine_chunk, coarse_chunk, slots, factors, nonzero, label_bits)
    cdef int64_t per_cell = plan.slots[0] * plan.slots[1] * plan.slots[2], k = coords.shape[0]
    if coords.shape[1] != 3 or len(chunks) != k * per_cell:
        raise ValueError(f"expected {per_cell} chunks for each of {k} cells, found {len(chunks)}")
    cdef Views held = Views(chunks)
    cdef int64_t[::1] start = np.zeros(k + 1, np.int64)
    cdef uint32_t[::1] labels = np.zeros(k + 1, np.uint32)
    cdef Fault fault = no_fault()
    cdef int64_t n_blocks = coarse_chunk[0] * coarse_chunk[1] * coarse_chunk[2] // SUBBLOCK_VOXELS
    cdef FineChunk* fines = <FineChunk*>calloc(per_cell, sizeof(FineChunk))
    cdef VoteScratch* s = <VoteScratch*>calloc(1, sizeof(VoteScratch))
    cdef int failed
    try:
        if fines == NULL or s == NULL:
            raise MemoryError("not enough memory for the scratch of a batch")
        with nogil:
            failed = vote_scratch_make(s, <uint32_t>n_blocks, plan.label_words, &fault)
            failed = failed or vote_batch(
                s, fines, held.views, coords, &start[0], &labels[0], &plan, &fault)
        if failed:
            vote_raise_fault(&fault, &plan, coords, s.slot)
        data = np.frombuffer((<char*>s.out)[:start[k]] if k else b"", np.uint8)
        return Transcoded(data, np.asarray(start), np.asarray(labels)[:k])
    finally:
        if s != NULL:
            vote_scratch_free(s)
        free(s)
        free(fines)


cdef int vote_raise_fault(
    const Fault* fault, const VotePlan* plan, const int64_t[:, ::1] coords, int64_t slot
) except -1:
    """Name the fine chunk, by its grid coordinate, before a fault of its bytes."""
    cdef int axis
    try:
        raise_fault(fault)
    except KernelError as error:
        chunk = []
        for axis in range(3):
            span = plan.coarse_chunk[axis] << plan.halved[axis]
            first = coords[fault.item, axis] * span // plan.fine_chunk[axis]
            chunk.append(first + slot % plan.slots[axis])
            slot //= plan.slots[axis]
        raise KernelError(f"chunk {tuple(chunk)}: {error}", error.item) from None


# ---------------------------------------------------------------- voxels

cdef inline label_t voxel_vote(const label_t* window, const int n, bint nonzero) noexcept nogil:
    """The winner of n voxels, n up to 8."""
    cdef label_t best = 0
    cdef int i, j, count, most = 0
    for i in range(n):
        count = 0
        for j in range(n):
            count += window[i] == window[j]
        if nonzero and window[i] == 0:
            count = 0
        if count > most or (count == most and window[i] < best):
            most = count
            best = window[i]
    return best


cdef inline void voxel_vote_span(
    const label_t** rows, const int n, const int halved_x, size_t count, bint nonzero, label_t* out
) noexcept nogil:
    """Windows side by side: of each of n rows one voxel, or two where x is halved."""
    cdef label_t window[8]
    cdef label_t first, differ
    cdef size_t x
    cdef int i
    for x in range(count):
        first = rows[0][x << halved_x]
        differ = 0
        for i in range(n):
            window[i] = rows[i][x << halved_x]
            window[i + n * halved_x] = rows[i][(x << halved_x) + halved_x]
            differ |= (window[i] ^ first) | (window[i + n * halved_x] ^ first)
        out[x] = first if differ == 0 else voxel_vote(window, n << halved_x, nonzero)


cdef void voxel_vote_row(
    const label_t[:, :, ::1] voxels, size_t z, size_t y, const int* halved, bint nonzero,
    label_t[:, :, ::1] out
) noexcept nogil:
    """One row of votes; a row or voxel beyond the upper edge is left out of its window."""
    cdef const label_t* rows[4]
    cdef size_t whole = voxels.shape[2] >> halved[0]
    cdef size_t row_z, row_y
    cdef int i, n = 0
    for i in range(4):
        row_z = (z << halved[2]) + (i >> 1)
        row_y = (y << halved[1]) + (i & 1)
        if (
            i & 1 > halved[1] or i >> 1 > halved[2]
            or row_z >= voxels.shape[0] or row_y >= voxels.shape[1]
        ):
            continue
        rows[n] = &voxels[row_z, row_y, 0]
        n += 1
    if n == 4 and halved[0]:     # constants, so that the compiler unrolls the usual case
        voxel_vote_span(rows, 4, 1, whole, nonzero, &out[z, y, 0])
    else:
        voxel_vote_span(rows, n, halved[0], whole, nonzero, &out[z, y, 0])
    if whole < <size_t>out.shape[2]:
        for i in range(n):
            rows[i] += whole << halved[0]
        voxel_vote_span(rows, n, 0, 1, nonzero, &out[z, y, whole])


def downsample_voxels(const label_t[:, :, ::1] voxels not None, factors, bint nonzero=False):
    """Vote on voxels.

    Args:
        voxels: (z, y, x) uint64 or uint32 labels, C order.
        factors: (x, y, z), 1 or 2 each.
        nonzero: zeros never vote (`nonzero-mode`); else they vote like any label (`mode`).

    Returns:
        ceil(shape / factor) voxels of the same type; windows at upper edges hold the voxels that
        exist.
    """
    cdef int halved[3]
    cdef int axis
    cdef size_t y, z
    if len(factors) != 3 or any(factor not in (1, 2) for factor in factors):
        raise ValueError(f"expected three factors of 1 or 2, found {factors}")
    for axis in range(3):
        halved[axis] = factors[axis] - 1
    fine = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    shape = [-(-n // f) for n, f in zip(fine, factors[::-1])]
    result = np.empty(shape, np.uint64 if label_t is uint64_t else np.uint32)
    cdef label_t[:, :, ::1] out = result
    with nogil:
        for z in range(<size_t>out.shape[0]):
            for y in range(<size_t>out.shape[1]):
                voxel_vote_row(voxels, z, y, halved, nonzero, out)
    return result
