# Majority votes over windows of two voxels per halved axis, one where the factor is 1 (FORMATS,
# section 5): on compressed_segmentation blocks of 8 x 8 x 8, and on voxels.
#
# A window never straddles a fine block, so each fine block casts 512 / window votes: one PART of a
# coarse block, in ZYX order. Up to 8 parts make a coarse block, whose table is the union of the
# labels that won. A part of one label costs one look at a table; voxels never exist as labels.
#
# Ties go to the smallest label and ranks ascend with labels, so the vote is the maximum of
# (count, -rank) over a window. Windows clipped by the volume's upper edge hold half or a quarter of
# the voxels: doubling those that exist into the missing places changes no majority and no tie.

cdef enum:
    NARROW_RANKS = 32        # ranks that fit beside a count in 8 bits
    WIDE_RANKS = 512         # ... in 16 bits
    VOTE_LANES = 64          # windows per step; constant, so that the compiler votes on many at once
    MOST_PARTS = 8
    MOST_AXIS_BLOCKS = 1024  # fine blocks behind a coarse chunk, along one axis
    FAULT_CELL = 1000        # no such coarse chunk: the caller's fault, not the bytes'

ctypedef fused rank_t:
    uint8_t
    uint16_t

ctypedef fused place_t:
    uint8_t
    uint16_t

ctypedef fused index_t:
    uint8_t
    uint32_t

# Geometry of a batch, all (x, y, z).
cdef struct VotePlan:
    int64_t fine_size[3]     # voxels of the fine volume
    int64_t fine_chunk[3]
    int64_t coarse_chunk[3]
    int64_t slots[3]         # fine chunks that a cell may meet
    int halved[3]            # 1 where the factor is 2
    int windows              # in a fine block
    bint nonzero             # zeros never vote
    uint32_t label_words

# One coarse chunk's place in the fine volume.
cdef struct VoteCell:
    int64_t region[3]        # fine voxels that it is made from, clipped to the volume
    int64_t reach[3]         # voxels from its begin to the first fine chunk's begin and the volume's end
    uint16_t slot[3][1024]   # per fine block: the fine chunk that holds it,
    uint16_t inner[3][1024]  # and its place in that chunk, in blocks

cdef struct FineChunk:
    bint stored              # False: zeros
    int64_t blocks[3]
    CsegChunk cseg

# What one fine block gives to a coarse block.
cdef struct Part:
    int64_t at[3]            # first vote's place in the coarse block
    int64_t votes[3]         # that exist
    bint solid
    bint wide                # votes in `wide_votes`, else in `votes`
    int used
    uint64_t label           # if solid
    uint16_t ranks[512]      # that won a vote, ascending
    uint64_t labels[512]     # theirs
    uint8_t narrow_votes[512]
    uint16_t wide_votes[512]

# Labels of a chunk, each counted once. 0 marks a free place, so label 0 has its own flag.
cdef struct LabelSet:
    uint64_t* labels
    uint64_t room            # a power of two
    uint64_t count           # without 0
    bint zero

cdef struct VoteScratch:
    Part parts[8]
    uint32_t places[512]
    uint8_t voxels[512]
    uint8_t planes[512]
    uint16_t wide_voxels[512]
    uint16_t wide_planes[512]
    uint64_t table[512]      # of the block being voted on
    uint64_t merged[2][512]
    uint64_t keys[512]
    uint64_t tmp_keys[512]
    uint32_t pos[512]
    uint32_t tmp_pos[512]
    uint8_t block[512]
    uint16_t wide_block[512]
    LabelSet seen
    CsegWriter writer
    uint8_t* out             # the batch's chunks, one after another
    uint64_t out_room
    int64_t slot             # being read: for errors


# ---------------------------------------------------------------- a fine block's voxels

cdef inline uint64_t spread_row(const uint8_t* values, int row, int bits) noexcept nogil:
    """The 8 places of a row as 8 bytes; bits is 1, 2 or 4."""
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
cdef void unpack_narrow(const uint8_t* values, int bits, uint8_t* voxels) noexcept nogil:
    cdef int row
    cdef uint64_t eight
    if bits == 8:
        memcpy(voxels, values, CELL_VOXELS)
        return
    for row in range(64):
        eight = spread_row(values, row, bits)
        memcpy(voxels + 8 * row, &eight, 8)


# The way back.
cdef void pack_narrow(const uint8_t* block, int bits, uint8_t* out) noexcept nogil:
    cdef int row
    cdef uint64_t x
    cdef uint16_t half
    cdef uint32_t word
    if bits == 8:
        memcpy(out, block, CELL_VOXELS)
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


cdef void clamp(index_t* voxels, const int64_t* extent) noexcept nogil:
    """Fill places beyond the volume with the nearest voxel that exists."""
    cdef int64_t x, y, z, from_y, from_z
    for z in range(CELL_EDGE):
        from_z = min(z, extent[2] - 1)
        for y in range(CELL_EDGE):
            from_y = min(y, extent[1] - 1)
            for x in range(CELL_EDGE):
                voxels[(z * 8 + y) * 8 + x] = voxels[(from_z * 8 + from_y) * 8 + min(x, extent[0] - 1)]


cdef inline int highest_place(const rank_t* voxels) noexcept nogil:
    cdef rank_t highest = 0
    cdef int i
    for i in range(CELL_VOXELS):
        highest = voxels[i] if voxels[i] > highest else highest
    return highest


# The table up to entry `highest`; False unless it ascends, so that places are ranks.
cdef inline bint load_table(const CsegChunk* chunk, const CsegBlock* block, int highest, uint64_t* table) noexcept nogil:
    cdef int i
    if highest >= WIDE_RANKS:
        return False
    table[0] = cseg_label(chunk, block, 0)
    for i in range(1, highest + 1):
        table[i] = cseg_label(chunk, block, i)
        if table[i - 1] >= table[i]:
            return False
    return True


cdef int rank_voxels(VoteScratch* s, const CsegChunk* chunk, const CsegBlock* block) noexcept nogil:
    """Places to ranks, for tables in any order or with repeats; returns the highest rank."""
    cdef int i
    for i in range(CELL_VOXELS):
        s.keys[i] = cseg_label(chunk, block, s.places[i])
    cdef size_t n = rank_labels(s.keys, s.pos, s.tmp_keys, s.tmp_pos, s.places, CELL_VOXELS)
    memcpy(s.table, s.keys, 8 * n)
    for i in range(CELL_VOXELS):
        s.wide_voxels[i] = <uint16_t>s.places[i]
    return <int>n - 1


# ---------------------------------------------------------------- the vote

cdef inline uint32_t even_bytes(uint64_t eight) noexcept nogil:
    eight &= 0x00FF00FF00FF00FFULL
    eight = (eight | (eight >> 8)) & 0x0000FFFF0000FFFFULL
    return <uint32_t>(eight | (eight >> 16))


cdef inline void split_row(const rank_t* row, rank_t* even, rank_t* odd) noexcept nogil:
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


cdef void split_windows(const rank_t* voxels, rank_t* planes, const VotePlan* plan) noexcept nogil:
    """Bring the voxels at one corner of all windows together: planes[corner][window]."""
    cdef int hx = plan.halved[0], hy = plan.halved[1], hz = plan.halved[2]
    cdef int y, z, corner
    cdef const rank_t* row = voxels
    cdef rank_t* to
    for z in range(CELL_EDGE):
        for y in range(CELL_EDGE):
            corner = (((z & hz) << hy) | (y & hy)) << hx
            to = planes + corner * plan.windows + (((z >> hz) * (8 >> hy) + (y >> hy)) << (3 - hx))
            if hx:
                split_row(row, to, to + plan.windows)
            else:
                memcpy(to, row, 8 * sizeof(rank_t))
            row += CELL_EDGE


cdef void vote_windows(
    const rank_t* planes, rank_t* votes, const VotePlan* plan, bint skip_zero
) noexcept nogil:
    """The rank that wins in each window; with skip_zero, rank 0 only where it is alone.

    A corner's key is how often its rank occurs from there on, then the rank's complement. With
    skip_zero all ranks move down by one, so that 0 becomes the last, and 0 counts nothing.
    """
    cdef int corners = CELL_VOXELS // plan.windows
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


cdef void collect(Part* part, const rank_t* votes, const uint64_t* table, int highest, const VotePlan* plan) noexcept nogil:
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


cdef void collect_bits(Part* part, uint64_t votes, const uint64_t* table) noexcept nogil:
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
        eight = spread_row(<const uint8_t*>&votes, row, 1)
        memcpy(part.narrow_votes + 8 * row, &eight, 8)


cdef inline bint clipped(const int64_t* extent) noexcept nogil:
    return extent[0] < CELL_EDGE or extent[1] < CELL_EDGE or extent[2] < CELL_EDGE


# One byte per voxel; returns the highest place, -1 if it lies outside the table.
cdef int narrow_places(VoteScratch* s, const CsegBlock* block, const int64_t* extent) noexcept nogil:
    cdef int highest
    unpack_narrow(block.values, block.bits, s.voxels)
    if clipped(extent):
        clamp(s.voxels, extent)
    highest = highest_place(s.voxels)
    return highest if <uint64_t>highest < block.n_entries else -1


# The same in 32 bits, for any width; minus the highest place if it lies outside.
cdef int64_t wide_places(VoteScratch* s, const CsegBlock* block, const int64_t* extent) noexcept nogil:
    cdef uint32_t highest = 0
    cdef int i
    unpack_places(block.values, CELL_VOXELS, block.bits, s.places)
    if clipped(extent):
        clamp(s.places, extent)
    for i in range(CELL_VOXELS):
        highest = max(highest, s.places[i])
    return <int64_t>highest if highest < block.n_entries else -<int64_t>highest


cdef int vote_narrow(
    VoteScratch* s, Part* part, const CsegChunk* chunk, const CsegBlock* block,
    const int64_t* extent, const VotePlan* plan
) noexcept nogil:
    """Vote on a block of up to NARROW_RANKS labels in order; 1: it is not such a block."""
    cdef int highest = narrow_places(s, block, extent)
    if highest < 0 or highest >= NARROW_RANKS or not load_table(chunk, block, highest, s.table):
        return 1
    split_windows(s.voxels, s.planes, plan)
    part.wide = False
    vote_windows(s.planes, part.narrow_votes, plan, plan.nonzero and s.table[0] == 0)
    collect(part, part.narrow_votes, s.table, highest, plan)
    return 0


cdef int vote_wide(
    VoteScratch* s, Part* part, const CsegChunk* chunk, const CsegBlock* block, uint32_t place,
    const int64_t* extent, const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Vote on a block of any table."""
    cdef int64_t highest = wide_places(s, block, extent)
    cdef int i
    if highest < 0:
        return fail_at(fault, FAULT_CSEG_VALUE, place, block.n_entries, <uint64_t>-highest)
    if load_table(chunk, block, <int>min(highest, WIDE_RANKS), s.table):
        for i in range(CELL_VOXELS):
            s.wide_voxels[i] = <uint16_t>s.places[i]
    else:
        highest = rank_voxels(s, chunk, block)
    split_windows(s.wide_voxels, s.wide_planes, plan)
    part.wide = True
    vote_windows(s.wide_planes, part.wide_votes, plan, plan.nonzero and s.table[0] == 0)
    collect(part, part.wide_votes, s.table, <int>highest, plan)
    return 0


cdef int vote_block(
    VoteScratch* s, Part* part, const FineChunk* fine, uint32_t place, const int64_t* extent,
    const VotePlan* plan, Fault* fault
) noexcept nogil:
    """Fill a part from the fine block `place`, of which `extent` voxels exist."""
    cdef CsegBlock block
    if not fine.stored:
        part.solid, part.label = True, 0
        return 0
    if open_cseg_block(&fine.cseg, place, CELL_VOXELS, &block, fault):
        return -1
    if block.bits == 0:
        part.solid, part.label = True, cseg_label(&fine.cseg, &block, 0)
        return 0
    if block.bits == 1 and plan.windows == 64 and block.n_entries > 1 and not clipped(extent):
        if load_table(&fine.cseg, &block, 1, s.table):
            collect_bits(part, vote_bits(block.values, plan.nonzero and s.table[0] == 0), s.table)
            return 0
    if block.bits <= 8 and not vote_narrow(s, part, &fine.cseg, &block, extent, plan):
        return 0
    return vote_wide(s, part, &fine.cseg, &block, place, extent, plan, fault)


# ---------------------------------------------------------------- a coarse block from its parts

cdef int merge_labels(const uint64_t* a, int na, const uint64_t* b, int nb, uint64_t* out) noexcept nogil:
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


cdef int union_of_parts(VoteScratch* s, int parts, uint64_t** table) noexcept nogil:
    """The labels of all parts, ascending; returns how many."""
    cdef int p, n = 0, side = 0
    cdef Part* part
    for p in range(parts):
        part = &s.parts[p]
        if part.solid:
            n = merge_labels(s.merged[side], n, &part.label, 1, s.merged[1 - side])
        else:
            n = merge_labels(s.merged[side], n, part.labels, part.used, s.merged[1 - side])
        side = 1 - side
    table[0] = s.merged[side]
    return n


cdef inline bint one_label(const VoteScratch* s, int parts) noexcept nogil:
    cdef int p
    for p in range(parts):
        if not s.parts[p].solid or s.parts[p].label != s.parts[0].label:
            return False
    return True


cdef void place_votes(
    const Part* part, const rank_t* votes, const uint64_t* table, place_t* block, const VotePlan* plan
) noexcept nogil:
    """Write a part's votes into the coarse block as places in its table."""
    cdef place_t place_of[512]
    cdef int64_t x, y, z, wide_x = 8 >> plan.halved[0], wide_y = 8 >> plan.halved[1]
    cdef int i, place = 0
    cdef place_t* to
    cdef const rank_t* row
    for i in range(part.used):
        while table[place] < part.labels[i]:
            place += 1
        place_of[part.ranks[i]] = place
    for z in range(part.votes[2]):
        for y in range(part.votes[1]):
            to = block + ((part.at[2] + z) * 8 + part.at[1] + y) * 8 + part.at[0]
            row = votes + (z * wide_y + y) * wide_x
            if part.votes[0] == 4:
                to[0], to[1] = place_of[row[0]], place_of[row[1]]
                to[2], to[3] = place_of[row[2]], place_of[row[3]]
                continue
            for x in range(part.votes[0]):
                to[x] = place_of[row[x]]


cdef void place_solid(const Part* part, const uint64_t* table, place_t* block) noexcept nogil:
    cdef int64_t x, y, z
    cdef place_t place = 0
    cdef place_t* to
    while table[place] < part.label:
        place += 1
    for z in range(part.votes[2]):
        for y in range(part.votes[1]):
            to = block + ((part.at[2] + z) * 8 + part.at[1] + y) * 8 + part.at[0]
            for x in range(part.votes[0]):
                to[x] = place


cdef void place_parts(
    VoteScratch* s, int parts, const uint64_t* table, place_t* block, const VotePlan* plan
) noexcept nogil:
    cdef int p
    cdef Part* part
    memset(block, 0, CELL_VOXELS * sizeof(place_t))  # places beyond the volume point to entry 0
    for p in range(parts):
        part = &s.parts[p]
        if part.solid:
            place_solid(part, table, block)
        elif part.wide:
            place_votes(part, <const uint16_t*>part.wide_votes, table, block, plan)
        else:
            place_votes(part, <const uint8_t*>part.narrow_votes, table, block, plan)


cdef int put_parts(VoteScratch* s, int parts, const VotePlan* plan, Fault* fault) noexcept nogil:
    """The next block of the coarse chunk, from the parts that exist."""
    cdef uint64_t* table
    cdef uint64_t before
    cdef int bits = 0, i, n = 1
    cdef uint8_t* out
    before = s.writer.used
    if one_label(s, parts):
        table = &s.parts[0].label
        if put_solid(&s.writer, table[0], fault):
            return -1
    else:
        n = union_of_parts(s, parts, &table)
        bits = cseg_bits(n)
        before += 16 * bits
        out = values_begin(&s.writer, 16 * bits, fault)
        if out == NULL:
            return -1
        if n <= 256:
            place_parts(s, parts, table, <uint8_t*>s.block, plan)
            pack_narrow(s.block, bits, out)
        else:
            place_parts(s, parts, table, <uint16_t*>s.wide_block, plan)
            memcpy(out, s.wide_block, 2 * CELL_VOXELS)
        if values_end(&s.writer, 16 * bits, table, n, bits, fault):
            return -1
    if s.writer.used > before:  # a table not met before in this chunk
        for i in range(n):
            if see(&s.seen, table[i], fault):
                return -1
    return 0


# ---------------------------------------------------------------- labels of a chunk

cdef inline uint64_t seat_of(const LabelSet* seen, uint64_t label) noexcept nogil:
    cdef uint64_t seat = (label ^ (label >> 32)) * <uint64_t>0x9E3779B97F4A7C15
    seat = (seat ^ (seat >> 29)) & (seen.room - 1)
    while seen.labels[seat] != 0 and seen.labels[seat] != label:
        seat = (seat + 1) & (seen.room - 1)
    return seat


cdef int see(LabelSet* seen, uint64_t label, Fault* fault) noexcept nogil:
    cdef uint64_t seat
    if label == 0:
        seen.zero = True
        return 0
    seat = seat_of(seen, label)
    if seen.labels[seat] == label:
        return 0
    seen.labels[seat] = label
    seen.count += 1
    return see_more(seen, fault) if 2 * seen.count > seen.room else 0


cdef int see_more(LabelSet* seen, Fault* fault) noexcept nogil:
    cdef LabelSet larger = seen[0]
    cdef uint64_t i
    larger.room *= 2
    larger.labels = <uint64_t*>calloc(larger.room, 8)
    if larger.labels == NULL:
        return fail(fault, FAULT_MEMORY, 8 * larger.room, 0)
    for i in range(seen.room):
        if seen.labels[i]:
            larger.labels[seat_of(&larger, seen.labels[i])] = seen.labels[i]
    free(seen.labels)
    seen[0] = larger
    return 0
