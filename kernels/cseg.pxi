# compressed_segmentation chunks of one channel: write, parse, voxels both ways (FORMATS, section 3).
#
#   u32 = 1                     offset of the channel, in words (u32) from the chunk's start
#   per block, x fastest:       u32 table offset (24 bits) | encoding bits << 24
#                               u32 offset of the values
#   then, block after block:    values, then its table if no equal one was written before
#
# Offsets are in words from the channel's start. Values are LSB first, in whole words, places in
# the block's table; the table ascends and holds only labels that occur.

cdef enum:
    LAST_OFFSET = 0xFFFFFF       # in words
    LARGEST_BLOCK = 1 << 21      # voxels, ours: bounds the scratch for one block

# ---------------------------------------------------------------- write

cdef struct TableSlot:
    uint32_t stamp           # slots of another chunk are free
    uint32_t hash
    uint32_t offset
    uint32_t n

# Writes one chunk after another. The blocks of a chunk must come in order, each exactly once.
cdef struct CsegWriter:
    uint8_t* channel         # first byte of the channel: the block headers
    uint64_t used            # words of the channel written so far, headers included
    uint64_t room            # words that the channel may take
    uint32_t n_blocks
    uint32_t block           # next block
    uint32_t label_words     # 2: u64 labels, 1: u32
    TableSlot* slots         # tables of this chunk, found by hash
    uint32_t slot_mask
    uint32_t stamp
    bint has_solid           # the solid block before, as neighbours are mostly alike
    uint64_t solid_label
    uint32_t solid_offset


cdef int writer_make(CsegWriter* writer, uint32_t n_blocks, uint32_t label_words, Fault* fault) noexcept nogil:
    """Scratch for chunks of up to n_blocks blocks; freed by `writer_free`."""
    cdef uint32_t n_slots = 2
    cdef size_t size
    while n_slots < 2 * <uint64_t>n_blocks:
        n_slots *= 2
    size = n_slots * sizeof(TableSlot)
    writer.slots = <TableSlot*>calloc(1, size)
    writer.slot_mask = n_slots - 1
    writer.stamp = 0
    writer.label_words = label_words
    return 0 if writer.slots != NULL else fail(fault, FAULT_MEMORY, size, 0)


cdef void writer_free(CsegWriter* writer) noexcept nogil:
    free(writer.slots)
    writer.slots = NULL


cdef int writer_begin(
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
        memset(writer.slots, 0, (<size_t>writer.slot_mask + 1) * sizeof(TableSlot))
        writer.stamp = 1
    return 0


cdef inline uint64_t writer_bytes(const CsegWriter* writer) noexcept nogil:
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


cdef inline void put_header(CsegWriter* writer, uint32_t table, int bits, uint32_t values) noexcept nogil:
    cdef uint32_t words[2]
    words[0] = table | <uint32_t>bits << 24
    words[1] = values
    memcpy(writer.channel + 8 * <size_t>writer.block, words, 8)
    writer.block += 1


cdef inline uint32_t hash_table(const uint64_t* table, uint32_t n) noexcept nogil:
    cdef uint64_t mixed = n
    cdef uint32_t i
    for i in range(n):
        mixed = (mixed ^ table[i]) * <uint64_t>0x9E3779B97F4A7C15
        mixed ^= mixed >> 29
    return <uint32_t>(mixed >> 16)


cdef inline bint same_table(const CsegWriter* writer, uint32_t offset, const uint64_t* table, uint32_t n) noexcept nogil:
    cdef const uint8_t* written = writer.channel + 4 * <size_t>offset
    cdef uint32_t i
    if writer.label_words == 2:
        return memcmp(written, table, 8 * <size_t>n) == 0
    for i in range(n):
        if load32(written + 4 * i) != table[i]:
            return False
    return True


cdef inline int write_table(CsegWriter* writer, const uint64_t* table, uint32_t n, Fault* fault) noexcept nogil:
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
cdef int64_t put_table(CsegWriter* writer, const uint64_t* table, uint32_t n, Fault* fault) noexcept nogil:
    cdef uint32_t hashed = hash_table(table, n)
    cdef uint32_t at = hashed & writer.slot_mask
    cdef TableSlot* slot = &writer.slots[at]
    cdef uint64_t words = <uint64_t>n * writer.label_words
    while slot.stamp == writer.stamp:
        if slot.hash == hashed and slot.n == n and same_table(writer, slot.offset, table, n):
            return slot.offset
        at = (at + 1) & writer.slot_mask
        slot = &writer.slots[at]
    if writer.used + words > writer.room:
        return fail(fault, FAULT_ROOM, words, writer.room - writer.used)
    if writer.used > LAST_OFFSET:
        return fail_at(fault, FAULT_CSEG_LARGE, writer.block, LAST_OFFSET, writer.used)
    if write_table(writer, table, n, fault):
        return -1
    slot.stamp = writer.stamp
    slot.hash = hashed
    slot.n = n
    slot.offset = <uint32_t>writer.used
    writer.used += words
    return slot.offset


cdef inline int put_solid(CsegWriter* writer, uint64_t label, Fault* fault) noexcept nogil:
    """The next block, all of one label."""
    cdef uint64_t values = writer.used
    cdef int64_t table
    if values > LAST_OFFSET:
        return fail_at(fault, FAULT_CSEG_LARGE, writer.block, LAST_OFFSET, values)
    if not writer.has_solid or writer.solid_label != label:
        table = put_table(writer, &label, 1, fault)
        if table < 0:
            return -1
        writer.has_solid = True
        writer.solid_label = label
        writer.solid_offset = <uint32_t>table
    put_header(writer, writer.solid_offset, 0, <uint32_t>values)
    return 0


# A block of several labels takes two steps, so that its values are packed where they will stay:
# `values_begin` gives the place of `words` words, `values_end` adds table and header.
cdef inline uint8_t* values_begin(CsegWriter* writer, uint64_t words, Fault* fault) noexcept nogil:
    if writer.used + words > writer.room:
        fail(fault, FAULT_ROOM, words, writer.room - writer.used)
        return NULL
    if writer.used > LAST_OFFSET:
        fail_at(fault, FAULT_CSEG_LARGE, writer.block, LAST_OFFSET, writer.used)
        return NULL
    return writer.channel + 4 * writer.used


cdef inline int values_end(
    CsegWriter* writer, uint64_t words, const uint64_t* table, uint32_t n, int bits, Fault* fault
) noexcept nogil:
    cdef uint32_t values = <uint32_t>writer.used
    cdef int64_t offset
    writer.used += words
    offset = put_table(writer, table, n, fault)
    if offset < 0:
        return -1
    put_header(writer, <uint32_t>offset, bits, values)
    return 0


cdef int put_block(
    CsegWriter* writer, const uint8_t* index, const uint8_t* places, int entries,
    const uint64_t* table, uint32_t n, Fault* fault
) noexcept nogil:
    """The next 8 x 8 x 8 block, of n = 2 to 256 labels.

    index[512] points into `places` (`entries` bytes, readable up to 32), which points into the
    ascending table[n].
    """
    cdef int bits = cseg_bits(n)
    cdef uint8_t* out = values_begin(writer, 16 * bits, fault)
    if out == NULL:
        return -1
    lanes_pack(index, places, entries, bits, out)
    return values_end(writer, 16 * bits, table, n, bits, fault)


cdef int put_block_wide(
    CsegWriter* writer, const uint16_t* index, const uint16_t* places, int entries,
    const uint64_t* table, uint32_t n, Fault* fault
) noexcept nogil:
    """The same for up to 512 entries and labels."""
    cdef uint8_t narrow[CELL_VOXELS]
    cdef uint8_t narrow_places[256]
    cdef uint16_t place
    cdef uint8_t* out
    cdef int i
    if n <= 256:
        # Either the entries fit in a byte, or only what they become does.
        for i in range(CELL_VOXELS):
            narrow[i] = <uint8_t>(index[i] if entries <= 256 else places[index[i]])
        for i in range(256):
            narrow_places[i] = <uint8_t>(places[i] if entries <= 256 else i)
        return put_block(writer, narrow, narrow_places, min(entries, 256), table, n, fault)
    out = values_begin(writer, 256, fault)
    if out == NULL:
        return -1
    for i in range(CELL_VOXELS):
        place = places[index[i]]
        memcpy(out + 2 * i, &place, 2)
    return values_end(writer, 256, table, n, 16, fault)


# Packs `n_voxels` places of any block size; returns nothing, fills whole words.
cdef void pack_places(const uint32_t* places, size_t n_voxels, int bits, uint8_t* out) noexcept nogil:
    cdef size_t each = 32 // bits, i = 0, j, n
    cdef uint32_t word
    while i < n_voxels:
        word = 0
        n = min(each, n_voxels - i)
        for j in range(n):
            word |= places[i + j] << (j * bits)
        memcpy(out, &word, 4)
        out += 4
        i += n


# ---------------------------------------------------------------- grid of blocks

# How a chunk of (z, y, x) voxels divides into blocks; those at the upper edges may be partial.
cdef struct BlockGrid:
    size_t sx, sy, sz        # voxels of the chunk
    size_t bx, by, bz        # voxels of a block
    size_t gx, gy, gz        # blocks
    size_t n_blocks
    size_t n_voxels          # of one whole block

# One block's place in its chunk: first voxel and (clipped) extent.
cdef struct BlockBox:
    size_t x, y, z
    size_t nx, ny, nz


cdef BlockGrid make_grid(shape_zyx, block_size_xyz) except *:
    """A checked grid; numbers are Python's own until they are known to be small."""
    cdef BlockGrid grid
    shape = tuple(shape_zyx)
    block = tuple(block_size_xyz)
    if len(block) != 3 or min(block) < 1:
        raise KernelError(f"block size: expected three positive edges, found {block}")
    if block[0] * block[1] * block[2] > LARGEST_BLOCK:
        raise KernelError(f"block size: expected at most {LARGEST_BLOCK} voxels, found {block}")
    if min(shape) < 1:
        raise KernelError(f"chunk shape: expected three positive edges, found {shape}")
    blocks = [-(-edge // size) for edge, size in zip(shape[::-1], block)]
    if 2 * blocks[0] * blocks[1] * blocks[2] > LAST_OFFSET:
        raise KernelError(
            f"chunk too large: block headers of {shape} end beyond the last offset, {LAST_OFFSET} words"
        )
    grid.sz, grid.sy, grid.sx = shape
    grid.bx, grid.by, grid.bz = block
    grid.gx, grid.gy, grid.gz = blocks
    grid.n_blocks = grid.gx * grid.gy * grid.gz
    grid.n_voxels = grid.bx * grid.by * grid.bz
    return grid


cdef inline BlockBox block_box(const BlockGrid* grid, size_t block) noexcept nogil:
    cdef BlockBox box
    box.x = block % grid.gx * grid.bx
    box.y = block // grid.gx % grid.gy * grid.by
    box.z = block // (grid.gx * grid.gy) * grid.bz
    box.nx = min(grid.bx, grid.sx - box.x)
    box.ny = min(grid.by, grid.sy - box.y)
    box.nz = min(grid.bz, grid.sz - box.z)
    return box


# ---------------------------------------------------------------- parse

# A chunk whose headers lie inside its bytes; each block is checked when it is opened.
cdef struct CsegChunk:
    const uint8_t* channel
    uint64_t n_words         # of the channel
    uint32_t n_blocks
    uint32_t label_words

# One block, its values checked to lie inside the chunk, its table to have an entry at least.
cdef struct CsegBlock:
    int bits
    const uint8_t* values    # whole words
    const uint8_t* table     # u64 or u32, unaligned
    uint64_t n_entries       # entries that fit between the table's start and the chunk's end


cdef int open_chunk(
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


cdef int open_cseg_block(
    const CsegChunk* chunk, uint32_t place, size_t n_voxels, CsegBlock* block, Fault* fault
) noexcept nogil:
    """Block number `place`, of n_voxels voxels (the whole block's size also at an edge)."""
    cdef uint32_t first = load32(chunk.channel + 8 * <size_t>place)
    cdef uint64_t values = load32(chunk.channel + 8 * <size_t>place + 4) & LAST_OFFSET
    cdef uint64_t table = first & LAST_OFFSET
    cdef uint64_t words
    block.bits = first >> 24
    if block.bits & (block.bits - 1) or block.bits > 32:
        return fail_at(fault, FAULT_CSEG_BITS, place, 0, block.bits)
    words = (<uint64_t>n_voxels * block.bits + 31) // 32
    if words and values + words > chunk.n_words:
        return fail_at(fault, FAULT_CSEG_VALUES, place, chunk.n_words, values + words)
    if table + chunk.label_words > chunk.n_words:
        return fail_at(fault, FAULT_CSEG_TABLE, place, chunk.n_words, table)
    block.values = chunk.channel + 4 * values if words else chunk.channel
    block.table = chunk.channel + 4 * table
    block.n_entries = (chunk.n_words - table) // chunk.label_words
    return 0


cdef inline uint64_t cseg_label(const CsegChunk* chunk, const CsegBlock* block, uint64_t entry) noexcept nogil:
    """Label of an entry below block.n_entries."""
    if chunk.label_words == 2:
        return load64(block.table + 8 * entry)
    return load32(block.table + 4 * entry)


cdef int cseg_places(
    const CsegBlock* block, uint32_t place, size_t n_voxels, uint32_t* out, Fault* fault
) noexcept nogil:
    """Every voxel's place in the table, checked; `out` holds n_voxels rounded up to 32."""
    cdef uint32_t largest = 0
    cdef size_t i
    if block.bits == 0:
        memset(out, 0, 4 * n_voxels)
        return 0
    unpack_places(block.values, n_voxels, block.bits, out)
    if block.bits < 24 and (<uint64_t>1 << block.bits) <= block.n_entries:
        return 0    # no value can be too large
    for i in range(n_voxels):
        largest = max(largest, out[i])
    if largest >= block.n_entries:
        return fail_at(fault, FAULT_CSEG_VALUE, place, block.n_entries, largest)
    return 0


cdef inline void unpack_as(const uint8_t* values, size_t n_voxels, const int bits, uint32_t* out) noexcept nogil:
    cdef size_t i, words = (n_voxels * bits + 31) // 32
    cdef uint32_t word, mask = <uint32_t>((<uint64_t>1 << bits) - 1)
    cdef int j
    for i in range(words):
        word = load32(values + 4 * i)
        for j in range(32 // bits):
            out[j] = (word >> (j * bits)) & mask
        out += 32 // bits


cdef void unpack_places(const uint8_t* values, size_t n_voxels, int bits, uint32_t* out) noexcept nogil:
    # Constant widths let the compiler unroll each loop.
    if bits == 1:
        unpack_as(values, n_voxels, 1, out)
    elif bits == 2:
        unpack_as(values, n_voxels, 2, out)
    elif bits == 4:
        unpack_as(values, n_voxels, 4, out)
    elif bits == 8:
        unpack_as(values, n_voxels, 8, out)
    elif bits == 16:
        unpack_as(values, n_voxels, 16, out)
    else:
        unpack_as(values, n_voxels, 32, out)


# ---------------------------------------------------------------- voxels

ctypedef fused label_t:
    uint64_t
    uint32_t

# Voxels in memory, of any strides (bytes), with labels of one or two words.
cdef struct Voxels:
    uint8_t* data
    Py_ssize_t x, y, z
    uint32_t label_words


cdef Voxels see_voxels(const label_t[:, :, :] voxels) noexcept:
    cdef Voxels seen
    seen.data = <uint8_t*>&voxels[0, 0, 0]
    seen.z, seen.y, seen.x = voxels.strides[0], voxels.strides[1], voxels.strides[2]
    seen.label_words = 2 if label_t is uint64_t else 1
    return seen


cdef inline uint8_t* voxel_row(const Voxels* voxels, const BlockBox* box, size_t y, size_t z) noexcept nogil:
    """First voxel of a row of a box; y and z count from the box."""
    return (voxels.data + <Py_ssize_t>box.x * voxels.x + <Py_ssize_t>(box.y + y) * voxels.y
            + <Py_ssize_t>(box.z + z) * voxels.z)


cdef inline void load_row(const Voxels* voxels, const uint8_t* at, size_t n, uint64_t* row) noexcept nogil:
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

# Scratch for one block of voxels at a time.
cdef struct Tile:
    uint64_t* voxels         # a whole block
    uint32_t* places
    Tables tables


cdef int tile_make(Tile* tile, size_t n_voxels, Fault* fault) noexcept nogil:
    cdef size_t whole = (n_voxels + 31) // 32 * 32
    tile.voxels = <uint64_t*>malloc(whole * (sizeof(uint64_t) + sizeof(uint32_t)))
    if tile.voxels == NULL:
        return fail(fault, FAULT_MEMORY, whole * (sizeof(uint64_t) + sizeof(uint32_t)), 0)
    tile.places = <uint32_t*>(tile.voxels + whole)
    tile.tables = no_tables()
    if tables_reserve(&tile.tables, max(n_voxels, CELL_LABELS), fault):
        free(tile.voxels)
        return -1
    return 0


cdef void tile_free(Tile* tile) noexcept nogil:
    tables_free(&tile.tables)
    free(tile.voxels)


cdef void gather_tile(
    const Voxels* voxels, const BlockGrid* grid, const BlockBox* box, uint64_t* tile
) noexcept nogil:
    """A whole block's voxels, filled up where it is clipped."""
    cdef size_t y, z
    for z in range(box.nz):
        for y in range(box.ny):
            load_row(voxels, voxel_row(voxels, box, y, z), box.nx, tile + grid.bx * (y + grid.by * z))
    if box.nx < grid.bx or box.ny < grid.by or box.nz < grid.bz:
        fill_tile(grid, box, tile)


# Voxels of a partial block beyond the chunk take place 0: filled with the smallest label, they do.
cdef void fill_tile(const BlockGrid* grid, const BlockBox* box, uint64_t* tile) noexcept nogil:
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


cdef int put_voxels(CsegWriter* writer, const uint64_t* voxels, Tables* tables, Fault* fault) noexcept nogil:
    """The next 8 x 8 x 8 block from its 512 voxels; tables: room for 512."""
    cdef uint16_t local[CELL_VOXELS]
    cdef uint16_t places[CELL_LABELS]
    cdef uint32_t i, n
    if all_equal(voxels, CELL_VOXELS):
        return put_solid(writer, voxels[0], fault)
    n = palette_of(voxels, tables.keys, local)
    rank_labels(tables.keys, tables.pos, tables.tmp_keys, tables.tmp_pos, tables.rank, n)
    for i in range(n):
        places[i] = <uint16_t>tables.rank[i]
    return put_block_wide(writer, local, places, n, tables.keys, n, fault)


cdef int put_tile(CsegWriter* writer, Tile* tile, size_t n_voxels, Fault* fault) noexcept nogil:
    """The next block, of any size, from tile.voxels."""
    cdef uint8_t* out
    cdef uint64_t words
    cdef size_t n
    cdef int bits
    if all_equal(tile.voxels, n_voxels):
        return put_solid(writer, tile.voxels[0], fault)
    memcpy(tile.tables.keys, tile.voxels, 8 * n_voxels)
    n = rank_labels(
        tile.tables.keys, tile.tables.pos, tile.tables.tmp_keys, tile.tables.tmp_pos,
        tile.places, n_voxels)
    bits = cseg_bits(<uint32_t>n)
    words = (<uint64_t>n_voxels * bits + 31) // 32
    out = values_begin(writer, words, fault)
    if out == NULL:
        return -1
    pack_places(tile.places, n_voxels, bits, out)
    return values_end(writer, words, tile.tables.keys, <uint32_t>n, bits, fault)


# Memory for a chunk that grows as its blocks come; a chunk's worst case is 100 times its usual.
cdef struct Growing:
    uint8_t* out
    uint64_t words


cdef int grow(Growing* memory, CsegWriter* writer, uint64_t words, Fault* fault) noexcept nogil:
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
cdef inline uint64_t largest_block(const BlockGrid* grid, uint32_t label_words) noexcept nogil:
    cdef uint64_t values = (<uint64_t>grid.n_voxels * cseg_bits(<uint32_t>grid.n_voxels) + 31) // 32
    return values + grid.n_voxels * label_words


cdef int encode_chunk(
    const Voxels* voxels, const BlockGrid* grid, Growing* memory, CsegWriter* writer, Tile* tile,
    Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef BlockBox box
    cdef uint64_t most = largest_block(grid, voxels.label_words)
    cdef bint cells = grid.bx == CELL_EDGE and grid.by == CELL_EDGE and grid.bz == CELL_EDGE
    cdef int failed
    writer.used = 2 * grid.n_blocks
    if grow(memory, writer, most, fault):
        return -1
    if writer_begin(writer, memory.out, memory.words, <uint32_t>grid.n_blocks, fault):
        return -1
    for i in range(grid.n_blocks):
        box = block_box(grid, i)
        gather_tile(voxels, grid, &box, tile.voxels)
        if grow(memory, writer, most, fault):
            return -1
        if cells:
            failed = put_voxels(writer, tile.voxels, &tile.tables, fault)
        else:
            failed = put_tile(writer, tile, grid.n_voxels, fault)
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
        KernelError: an offset needs more than 24 bits, or the block size is none.
    """
    cdef BlockGrid grid = make_grid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), block_size)
    cdef Voxels seen = see_voxels(voxels)
    cdef Growing memory
    cdef CsegWriter writer
    cdef Tile tile
    cdef Fault fault = no_fault()
    cdef int failed
    memory.out = NULL
    memory.words = 0
    if tile_make(&tile, grid.n_voxels, &fault):
        raise_fault(&fault)
    try:
        if writer_make(&writer, <uint32_t>grid.n_blocks, seen.label_words, &fault):
            raise_fault(&fault)
        with nogil:
            failed = encode_chunk(&seen, &grid, &memory, &writer, &tile, &fault)
        if failed:
            raise_fault(&fault)
        return (<char*>memory.out)[:writer_bytes(&writer)]
    finally:
        free(memory.out)
        writer_free(&writer)
        tile_free(&tile)


# ---------------------------------------------------------------- chunk -> voxels

cdef int decode_chunk(
    const CsegChunk* chunk, const BlockGrid* grid, uint32_t* places, const Voxels* out, Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef BlockBox box
    cdef CsegBlock block
    for i in range(grid.n_blocks):
        if open_cseg_block(chunk, <uint32_t>i, grid.n_voxels, &block, fault):
            return -1
        box = block_box(grid, i)
        if block.bits == 0:
            fill_box(&block, &box, out)
            continue
        if cseg_places(&block, <uint32_t>i, grid.n_voxels, places, fault):
            return -1
        spread_tile(&block, grid, &box, places, out)
    return 0


# A box of one label: one row, then copies of it where rows are whole.
cdef void fill_box(const CsegBlock* block, const BlockBox* box, const Voxels* out) noexcept nogil:
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


cdef inline void write_row(
    const uint8_t* table, const uint32_t* row, size_t n, uint8_t* at, Py_ssize_t step, const size_t size
) noexcept nogil:
    cdef size_t x
    for x in range(n):
        memcpy(at + <Py_ssize_t>x * step, table + size * <size_t>row[x], size)


cdef void spread_tile(
    const CsegBlock* block, const BlockGrid* grid, const BlockBox* box, const uint32_t* places,
    const Voxels* out
) noexcept nogil:
    cdef size_t y, z
    cdef const uint32_t* row
    cdef uint8_t* at
    for z in range(box.nz):
        for y in range(box.ny):
            row = places + grid.bx * (y + grid.by * z)
            at = voxel_row(out, box, y, z)
            # Constant steps and sizes let the compiler do without memcpy.
            if out.label_words == 1:
                write_row(block.table, row, box.nx, at, out.x, 4)
            elif out.x == 8 and box.nx == CELL_EDGE:
                write_row(block.table, row, CELL_EDGE, at, 8, 8)
            else:
                write_row(block.table, row, box.nx, at, out.x, 8)


def cseg_decode(const uint8_t[::1] data not None, label_t[:, :, :] out not None, block_size=(8, 8, 8)):
    """Decode a compressed_segmentation chunk of one channel.

    Args:
        data: the chunk's bytes.
        out: (z, y, x) uint64 or uint32 voxels to fill; its shape is the chunk's, clipped at the
            volume's edge.
        block_size: voxels of a block along (x, y, z).

    Raises:
        KernelError: an offset, width or value lies outside the chunk.
    """
    cdef BlockGrid grid = make_grid((out.shape[0], out.shape[1], out.shape[2]), block_size)
    cdef Voxels seen = see_voxels(out)
    cdef size_t whole = (grid.n_voxels + 31) // 32 * 32
    cdef CsegChunk chunk
    cdef Fault fault = no_fault()
    cdef uint32_t* places
    cdef const uint8_t* start = &data[0] if data.shape[0] else NO_BYTES
    cdef int failed
    if open_chunk(start, data.shape[0], <uint32_t>grid.n_blocks, seen.label_words, &chunk, &fault):
        raise_fault(&fault)
    places = <uint32_t*>malloc(4 * whole)
    if places == NULL:
        raise MemoryError(f"not enough memory for {4 * whole} bytes of scratch")
    with nogil:
        failed = decode_chunk(&chunk, &grid, places, &seen, &fault)
    free(places)
    if failed:
        raise_fault(&fault)
