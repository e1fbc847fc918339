# Majority votes on compressed_segmentation blocks of 8 x 8 x 8 voxels. A voting window holds two
# voxels along each halved axis, one where the factor is 1.
#
# A window never straddles a fine block, so each fine block casts 512 / window votes: one PART of a
# coarse block, in ZYX order. Up to 8 parts make a coarse block, whose table is the union of the
# labels that won. A part of one label costs one look at a table; voxels never exist as labels.
#
# Ties go to the smallest label and ranks ascend with labels, so the vote is the maximum of
# (count, -rank) over a window. Windows clipped by the volume's upper edge hold half or a quarter of
# the voxels: copying those that exist into the missing ones changes no majority and no tie.

# ---------------------------------------------------------------- a fine block's voxels

cdef inline uint64_t vote_unpack_row(const uint8_t* values, int row, int bits) noexcept nogil:
    """The 8 indices of a row as 8 bytes; bits is 1, 2 or 4."""
    cdef uint64_t x
    if bits == 1:
        x = (<uint64_t>values[row] * 0x0101010101010101ULL) & 0x8040201008040201ULL
        return ((x + 0x7F7F7F7F7F7F7F7FULL) >> 7) & 0x0101010101010101ULL
    if bits == 2:
        x = load16(values + 2 * row)
        x = (x | (x << 24)) & 0x000000FF000000FFULL
        x = (x | (x << 12)) & 0x000F000F000F000FULL
        return (x | (x << 6)) & 0x0303030303030303ULL
    x = load32(values + 4 * row)
    x = (x | (x << 16)) & 0x0000FFFF0000FFFFULL
    x = (x | (x << 8)) & 0x00FF00FF00FF00FFULL
    return (x | (x << 4)) & 0x0F0F0F0F0F0F0F0FULL


# LSB-first values of up to 8 bits to one byte per voxel.
cdef void vote_unpack(const uint8_t* values, int bits, uint8_t* voxels) noexcept nogil:
    cdef int row
    cdef uint64_t eight
    if bits == 8:
        memcpy(voxels, values, SUBBLOCK_VOXELS)
        return
    for row in range(64):
        eight = vote_unpack_row(values, row, bits)
        memcpy(voxels + 8 * row, &eight, 8)


# The way back.
cdef void vote_pack(const uint8_t* block, int bits, uint8_t* out) noexcept nogil:
    cdef int row
    cdef uint64_t x
    cdef uint16_t half
    cdef uint32_t word
    if bits == 8:
        memcpy(out, block, SUBBLOCK_VOXELS)
        return
    for row in range(64):
        x = load64(block + 8 * row)
        if bits == 1:
            out[row] = <uint8_t>((x * 0x0102040810204080ULL) >> 56)
        elif bits == 2:
            x = (x | (x >> 6)) & 0x000F000F000F000FULL
            x = (x | (x >> 12)) & 0x000000FF000000FFULL
            half = <uint16_t>(x | (x >> 24))
            memcpy(out + 2 * row, &half, 2)
        else:
            x = (x | (x >> 4)) & 0x00FF00FF00FF00FFULL
            x = (x | (x >> 8)) & 0x0000FFFF0000FFFFULL
            word = <uint32_t>(x | (x >> 16))
            memcpy(out + 4 * row, &word, 4)


cdef void vote_clamp(index_t* voxels, const int64_t* extent) noexcept nogil:
    """Fill voxels beyond the volume with the nearest voxel that exists."""
    cdef int64_t x, y, z, from_y, from_z
    for z in range(SUBBLOCK_EDGE):
        from_z = min(z, extent[2] - 1)
        for y in range(SUBBLOCK_EDGE):
            from_y = min(y, extent[1] - 1)
            for x in range(SUBBLOCK_EDGE):
                voxels[(z * 8 + y) * 8 + x] = voxels[
                    (from_z * 8 + from_y) * 8 + min(x, extent[0] - 1)]


cdef inline int vote_highest(const rank_t* voxels) noexcept nogil:
    cdef rank_t highest = 0
    cdef int i
    for i in range(SUBBLOCK_VOXELS):
        highest = voxels[i] if voxels[i] > highest else highest
    return highest


# The table up to entry `highest`; False unless it ascends, so that indices are ranks.
cdef inline bint vote_load_table(
    const CsegChunk* chunk, const CsegBlock* block, int highest, uint64_t* table
) noexcept nogil:
    cdef int i
    if highest >= WIDE_RANKS:
        return False
    table[0] = cseg_label(chunk, block, 0)
    for i in range(1, highest + 1):
        table[i] = cseg_label(chunk, block, i)
        if table[i - 1] >= table[i]:
            return False
    return True


cdef int vote_rank_voxels(
    VoteScratch* s, const CsegChunk* chunk, const CsegBlock* block
) noexcept nogil:
    """Indices to ranks, for tables in any order or with repeats; returns the highest rank."""
    cdef int i
    for i in range(SUBBLOCK_VOXELS):
        s.keys[i] = cseg_label(chunk, block, s.indices[i])
    cdef size_t n = rank_labels(s.keys, s.pos, s.tmp_keys, s.tmp_pos, s.indices, SUBBLOCK_VOXELS)
    memcpy(s.table, s.keys, 8 * n)
    for i in range(SUBBLOCK_VOXELS):
        s.wide_voxels[i] = <uint16_t>s.indices[i]
    return <int>n - 1


# ---------------------------------------------------------------- the vote

cdef inline uint32_t even_bytes(uint64_t eight) noexcept nogil:
    eight &= 0x00FF00FF00FF00FFULL
    eight = (eight | (eight >> 8)) & 0x0000FFFF0000FFFFULL
    return <uint32_t>(eight | (eight >> 16))


cdef inline void vote_split_row(const rank_t* row, rank_t* even, rank_t* odd) noexcept nogil:
    cdef uint32_t four
    cdef int x
    if rank_t is uint8_t:
        four = even_bytes(load64(row))
        memcpy(even, &four, 4)
        four = even_bytes(load64(row) >> 8)
        memcpy(odd, &four, 4)
    else:
        for x in range(4):
            even[x] = row[2 * x]
            odd[x] = row[2 * x + 1]


cdef void vote_split_windows(
    const rank_t* voxels, rank_t* planes, const VotePlan* plan
) noexcept nogil:
    """Bring the voxels at one corner of all windows together: planes[corner][window]."""
    cdef int hx = plan.halved[0], hy = plan.halved[1], hz = plan.halved[2]
    cdef int y, z, corner
    cdef const rank_t* row = voxels
    cdef rank_t* to
    for z in range(SUBBLOCK_EDGE):
        for y in range(SUBBLOCK_EDGE):
            corner = (((z & hz) << hy) | (y & hy)) << hx
            to = planes + corner * plan.windows + (((z >> hz) * (8 >> hy) + (y >> hy)) << (3 - hx))
            if hx:
                vote_split_row(row, to, to + plan.windows)
            else:
                memcpy(to, row, 8 * sizeof(rank_t))
            row += SUBBLOCK_EDGE


cdef void vote_windows(
    const rank_t* planes, rank_t* votes, const VotePlan* plan, bint skip_zero
) noexcept nogil:
    """The rank that wins in each window; with skip_zero, rank 0 only where it is alone.

    A corner's key is how often its rank occurs from there on, then the rank's complement. With
    skip_zero all ranks move down by one, so that 0 becomes the last, and 0 counts nothing.
    """
    cdef int corners = SUBBLOCK_VOXELS // plan.windows
    cdef int step, first, i, j, w
    cdef rank_t shift = 5 if rank_t is uint8_t else 9
    cdef rank_t mask = NARROW_RANKS - 1 if rank_t is uint8_t else WIDE_RANKS - 1
    cdef rank_t down = 1 if skip_zero else 0
    cdef rank_t key
    cdef rank_t best[VOTE_LANES]
    cdef rank_t same[VOTE_LANES]
    cdef const rank_t* a
    cdef const rank_t* b
    for step in range(plan.windows // VOTE_LANES):
        first = step * VOTE_LANES
        memset(best, 0, sizeof(best))
        for i in range(corners):
            a = planes + i * plan.windows + first
            memset(same, 0, sizeof(same))
            for j in range(i + 1, corners):
                b = planes + j * plan.windows + first
                for w in range(VOTE_LANES):
                    same[w] += a[w] == b[w]
            if skip_zero:
                for w in range(VOTE_LANES):
                    same[w] = same[w] if a[w] else 0
            for w in range(VOTE_LANES):
                key = <rank_t>(same[w] << shift) | <rank_t>(mask - (<rank_t>(a[w] - down) & mask))
                best[w] = key if key > best[w] else best[w]
        for w in range(VOTE_LANES):
            votes[first + w] = <rank_t>(<rank_t>(mask - (best[w] & mask)) + down) & mask


cdef void vote_collect(
    VotePart* part, const rank_t* votes, const uint64_t* table, int highest, const VotePlan* plan
) noexcept nogil:
    """List the ranks that won and their labels; a part that one rank won is solid."""
    cdef uint8_t won[512]
    cdef int64_t x, y, z, wide_x = 8 >> plan.halved[0], wide_y = 8 >> plan.halved[1]
    cdef int rank
    memset(won, 0, highest + 1)
    if part.votes[0] * part.votes[1] * part.votes[2] == plan.windows:
        for x in range(plan.windows):
            won[votes[x]] = 1
    else:
        for z in range(part.votes[2]):
            for y in range(part.votes[1]):
                for x in range(part.votes[0]):
                    won[votes[(z * wide_y + y) * wide_x + x]] = 1
    part.used = 0
    for rank in range(highest + 1):
        if won[rank]:
            part.ranks[part.used] = rank
            part.labels[part.used] = table[rank]
            part.used += 1
    part.solid = part.used == 1
    part.label = part.labels[0]


cdef uint64_t vote_bits(const uint8_t* values, bint any_one) noexcept nogil:
    """A block of two labels, one bit per voxel, halved on every axis: the 64 votes as bits.

    1 wins with five of eight, since a tie goes to 0; with any_one it wins with one. The counts of
    windows grow side by side in nibbles: over x, then z, then y.
    """
    cdef uint64_t a, b, even, odd, votes = 0
    cdef uint64_t lift = 0x7777777777777777ULL if any_one else 0x3333333333333333ULL
    cdef int z
    for z in range(4):
        a, b = load64(values + 16 * z), load64(values + 16 * z + 8)
        a = (a & 0x5555555555555555ULL) + ((a >> 1) & 0x5555555555555555ULL)
        b = (b & 0x5555555555555555ULL) + ((b >> 1) & 0x5555555555555555ULL)
        even = (a & 0x3333333333333333ULL) + (b & 0x3333333333333333ULL)
        odd = ((a >> 2) & 0x3333333333333333ULL) + ((b >> 2) & 0x3333333333333333ULL)
        even = (even + (even >> 8) + lift) >> 3
        odd = (odd + (odd >> 8) + lift) >> 2
        a = (even & 0x0011001100110011ULL) | (odd & 0x0022002200220022ULL)
        a = (a | (a >> 2)) & 0x000F000F000F000FULL
        a = (a | (a >> 12)) & 0x000000FF000000FFULL
        votes |= ((a | (a >> 24)) & 0xFFFF) << (16 * z)
    return votes


cdef void vote_collect_bits(VotePart* part, uint64_t votes, const uint64_t* table) noexcept nogil:
    """A part from votes on two labels."""
    cdef uint64_t eight
    cdef int row
    part.solid = votes == 0 or ~votes == 0
    part.label = table[1] if votes else table[0]
    if part.solid:
        return
    part.wide, part.used = False, 2
    part.ranks[0], part.ranks[1] = 0, 1
    part.labels[0], part.labels[1] = table[0], table[1]
    for row in range(8):
        eight = vote_unpack_row(<const uint8_t*>&votes, row, 1)
        memcpy(part.narrow_votes + 8 * row, &eight, 8)


cdef inline bint vote_is_clipped(const int64_t* extent) noexcept nogil:
    return extent[0] < SUBBLOCK_EDGE or extent[1] < SUBBLOCK_EDGE or extent[2] < SUBBLOCK_EDGE


# One byte per voxel; returns the highest index, -1 if it lies outside the table.
cdef int vote_narrow_indices(
    VoteScratch* s, const CsegBlock* block, const int64_t* extent
) noexcept nogil:
    cdef int highest
    vote_unpack(block.values, block.bits, s.voxels)
    if vote_is_clipped(extent):
        vote_clamp(s.voxels, extent)
    highest = vote_highest(s.voxels)
    return highest if <uint64_t>highest < block.n_entries else -1


# The same in 32 bits, for any width; minus the highest index if it lies outside.
cdef int64_t vote_wide_indices(
    VoteScratch* s, const CsegBlock* block, const int64_t* extent
) noexcept nogil:
    cdef uint32_t highest = 0
    cdef int i
    cseg_unpack(block.values, SUBBLOCK_VOXELS, block.bits, s.indices)
    if vote_is_clipped(extent):
        vote_clamp(s.indices, extent)
    for i in range(SUBBLOCK_VOXELS):
        highest = max(highest, s.indices[i])
    return <int64_t>highest if highest < block.n_entries else -<int64_t>highest


cdef int vote_narrow(
    VoteScratch* s, VotePart* part, const CsegChunk* chunk, const CsegBlock* block,
    const int64_t* extent, const VotePlan* plan
) noexcept nogil:
    """Vote on a block of up to NARROW_RANKS labels in order; 1: it is not such a block."""
    cdef int highest = vote_narrow_indices(s, block, extent)
    if (
        highest < 0 or highest >= NARROW_RANKS
        or not vote_load_table(chunk, block, highest, s.table)
    ):
        return 1
    vote_split_windows(s.voxels, s.planes, plan)
    part.wide = False
    vote_windows(s.planes, part.narrow_votes, plan, plan.nonzero and s.table[0] == 0)
    vote_collect(part, part.narrow_votes, s.table, highest, plan)
    return 0


cdef int vote_lanes(
    VoteScratch* s, VotePart* part, const CsegChunk* chunk, const CsegBlock* block,
    const VotePlan* plan
) noexcept nogil:
    """Vote on a whole block of up to LANE_RANKS labels in order; 1: it is not such a block."""
    cdef int highest = <int>vote64_highest(block.values, block.bits)
    cdef unsigned int won
    cdef int rank
    if <uint64_t>highest >= block.n_entries or not vote_load_table(chunk, block, highest, s.table):
        return 1
    won = vote64(
        block.values, block.bits, plan.nonzero and s.table[0] == 0, part.narrow_votes)
    part.wide, part.used = False, 0
    while won:
        rank = __builtin_ctz(won)
        part.ranks[part.used] = <uint16_t>rank
        part.labels[part.used] = s.table[rank]
        part.used += 1
        won &= won - 1
    part.solid = part.used == 1
    part.label = part.labels[0]
    return 0


cdef int vote_wide(
    VoteScratch* s, VotePart* part, const CsegChunk* chunk, const CsegBlock* block, uint32_t number,
    const int64_t* extent, const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Vote on a block of any table."""
    cdef int64_t highest = vote_wide_indices(s, block, extent)
    cdef int i
    if highest < 0:
        return fail_at(fault, FAULT_CSEG_VALUE, number, block.n_entries, <uint64_t>-highest)
    if vote_load_table(chunk, block, <int>min(highest, WIDE_RANKS), s.table):
        for i in range(SUBBLOCK_VOXELS):
            s.wide_voxels[i] = <uint16_t>s.indices[i]
    else:
        highest = vote_rank_voxels(s, chunk, block)
    vote_split_windows(s.wide_voxels, s.wide_planes, plan)
    part.wide = True
    vote_windows(s.wide_planes, part.wide_votes, plan, plan.nonzero and s.table[0] == 0)
    vote_collect(part, part.wide_votes, s.table, <int>highest, plan)
    return 0


cdef int vote_block(
    VoteScratch* s, VotePart* part, const FineChunk* fine, uint32_t number, const int64_t* extent,
    const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Fill a part from fine block `number`, of which `extent` voxels exist."""
    cdef CsegBlock block
    cdef uint64_t votes
    if not fine.stored:
        part.solid, part.label = True, 0
        return 0
    if cseg_block_open(&fine.cseg, number, SUBBLOCK_VOXELS, &block, fault):
        return -1
    if block.bits == 0:
        part.solid, part.label = True, cseg_label(&fine.cseg, &block, 0)
        return 0
    if (
        lanes_wide and block.bits <= 4 and plan.windows == LANE_WINDOWS
        and not vote_is_clipped(extent) and not vote_lanes(s, part, &fine.cseg, &block, plan)
    ):
        return 0
    if (
        block.bits == 1 and plan.windows == 64 and block.n_entries > 1
        and not vote_is_clipped(extent)
    ):
        if vote_load_table(&fine.cseg, &block, 1, s.table):
            votes = vote_bits(block.values, plan.nonzero and s.table[0] == 0)
            vote_collect_bits(part, votes, s.table)
            return 0
    if block.bits <= 8 and not vote_narrow(s, part, &fine.cseg, &block, extent, plan):
        return 0
    return vote_wide(s, part, &fine.cseg, &block, number, extent, plan, fault)


# ---------------------------------------------------------------- a coarse block from its parts

cdef int vote_merge_labels(
    const uint64_t* a, int na, const uint64_t* b, int nb, uint64_t* out
) noexcept nogil:
    """The union of two ascending lists; returns its length."""
    cdef int i = 0, j = 0, n = 0
    while i < na and j < nb:
        out[n] = a[i] if a[i] <= b[j] else b[j]
        i, j = i + (a[i] <= out[n]), j + (b[j] <= out[n])
        n += 1
    memcpy(out + n, a + i, 8 * (na - i))
    n += na - i
    memcpy(out + n, b + j, 8 * (nb - j))
    return n + nb - j


cdef int vote_add_labels(
    const uint64_t* labels, int count, uint64_t* table, int n
) noexcept nogil:
    """Add a few ascending labels to a list in place; returns its length."""
    cdef int i, j, at = 0
    for i in range(count):
        while at < n and table[at] < labels[i]:
            at += 1
        if at < n and table[at] == labels[i]:
            continue
        for j in range(n, at, -1):
            table[j] = table[j - 1]
        table[at] = labels[i]
        n += 1
    return n


cdef int vote_union_labels(VoteScratch* s, int parts, uint64_t** table) noexcept nogil:
    """The labels of all parts, ascending; returns how many."""
    cdef int p, n = 0, side = 0
    cdef VotePart* part
    for p in range(parts):
        part = &s.parts[p]
        if part.solid:
            n = vote_add_labels(&part.label, 1, s.merged[side], n)
        elif part.used <= FEW_LABELS:
            n = vote_add_labels(part.labels, part.used, s.merged[side], n)
        else:
            n = vote_merge_labels(s.merged[side], n, part.labels, part.used, s.merged[1 - side])
            side = 1 - side
    table[0] = s.merged[side]
    return n


cdef inline bint vote_is_solid(const VoteScratch* s, int parts) noexcept nogil:
    cdef int p
    for p in range(parts):
        if not s.parts[p].solid or s.parts[p].label != s.parts[0].label:
            return False
    return True


cdef void vote_scatter_part(
    const VotePart* part, const rank_t* votes, const uint64_t* table, coarse_t* block,
    const VotePlan* plan
) noexcept nogil:
    """Write a part's votes into the coarse block as indices in its table."""
    cdef coarse_t entry_of[512]
    cdef int64_t x, y, z, wide_x = 8 >> plan.halved[0], wide_y = 8 >> plan.halved[1]
    cdef int i, entry = 0
    cdef coarse_t* to
    cdef const rank_t* row
    for i in range(part.used):
        while table[entry] < part.labels[i]:
            entry += 1
        entry_of[part.ranks[i]] = entry
    for z in range(part.votes[2]):
        for y in range(part.votes[1]):
            to = block + ((part.at[2] + z) * 8 + part.at[1] + y) * 8 + part.at[0]
            row = votes + (z * wide_y + y) * wide_x
            if part.votes[0] == 4:
                to[0], to[1] = entry_of[row[0]], entry_of[row[1]]
                to[2], to[3] = entry_of[row[2]], entry_of[row[3]]
                continue
            for x in range(part.votes[0]):
                to[x] = entry_of[row[x]]


cdef void vote_scatter_solid(
    const VotePart* part, const uint64_t* table, coarse_t* block
) noexcept nogil:
    cdef int64_t x, y, z
    cdef coarse_t entry = 0
    cdef coarse_t* to
    while table[entry] < part.label:
        entry += 1
    for z in range(part.votes[2]):
        for y in range(part.votes[1]):
            to = block + ((part.at[2] + z) * 8 + part.at[1] + y) * 8 + part.at[0]
            for x in range(part.votes[0]):
                to[x] = entry


cdef void vote_scatter_parts(
    VoteScratch* s, int parts, const uint64_t* table, coarse_t* block, const VotePlan* plan
) noexcept nogil:
    cdef int p
    cdef VotePart* part
    # Voxels beyond the volume have index 0.
    memset(block, 0, SUBBLOCK_VOXELS * sizeof(coarse_t))
    for p in range(parts):
        part = &s.parts[p]
        if part.solid:
            vote_scatter_solid(part, table, block)
        elif part.wide:
            vote_scatter_part(part, <const uint16_t*>part.wide_votes, table, block, plan)
        else:
            vote_scatter_part(part, <const uint8_t*>part.narrow_votes, table, block, plan)


# Whether `vote_join_lanes` serves: all parts whole, of ranks that fit.
cdef inline bint vote_fits_lanes(const VoteScratch* s, int parts, int n) noexcept nogil:
    cdef int p
    cdef const VotePart* part
    if not lanes_wide or parts != MOST_PARTS or n > LANE_RANKS:
        return False
    for p in range(MOST_PARTS):
        part = &s.parts[p]
        if part.votes[0] * part.votes[1] * part.votes[2] != LANE_WINDOWS:
            return False
        if not part.solid and (part.wide or part.ranks[part.used - 1] >= LANE_RANKS):
            return False
    return True


cdef void vote_join_lanes(
    VoteScratch* s, const uint64_t* table, int bits, uint8_t* out
) noexcept nogil:
    """The packed indices of a coarse block of up to LANE_RANKS labels from eight parts."""
    cdef uint8_t entries[MOST_PARTS][LANE_RANKS]
    cdef const uint8_t* votes[MOST_PARTS]
    cdef VotePart* part
    cdef int p, i
    cdef uint8_t entry
    for p in range(MOST_PARTS):
        part = &s.parts[p]
        entry = 0
        if part.solid:
            while table[entry] < part.label:
                entry += 1
            memset(entries[p], entry, LANE_RANKS)
            votes[p] = NO_VOTES
            continue
        for i in range(part.used):
            while table[entry] < part.labels[i]:
                entry += 1
            entries[p][part.ranks[i]] = entry
        votes[p] = part.narrow_votes
    join64(votes, entries, bits, out)


cdef int vote_put_block(
    VoteScratch* s, int parts, const VotePlan* plan, Fault* fault
) noexcept nogil:
    """The next block of the coarse chunk, from the parts that exist."""
    cdef uint64_t* table
    cdef uint64_t before
    cdef int bits = 0, i, n = 1
    cdef uint8_t* out
    before = s.writer.used
    if vote_is_solid(s, parts):
        table = &s.parts[0].label
        if cseg_put_solid(&s.writer, table[0], fault):
            return -1
    else:
        n = vote_union_labels(s, parts, &table)
        bits = cseg_bits(n)
        before += 16 * bits
        out = cseg_values_begin(&s.writer, 16 * bits, fault)
        if out == NULL:
            return -1
        if vote_fits_lanes(s, parts, n):
            vote_join_lanes(s, table, bits, out)
        elif n <= 256:
            vote_scatter_parts(s, parts, table, <uint8_t*>s.block, plan)
            vote_pack(s.block, bits, out)
        else:
            vote_scatter_parts(s, parts, table, <uint16_t*>s.wide_block, plan)
            memcpy(out, s.wide_block, 2 * SUBBLOCK_VOXELS)
        if cseg_values_end(&s.writer, 16 * bits, table, n, bits, fault):
            return -1
    if s.writer.used > before:  # a table that is new in this chunk
        for i in range(n):
            if label_set_add(&s.seen, table[i], fault):
                return -1
    return 0
