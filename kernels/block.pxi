# DVID blocks: parse, decode to voxels, encode (FORMATS: "A DVID block").
#
#   0   u32 gx, gy, gz     sub-blocks of 8 x 8 x 8 voxels per axis
#   12  u32 N              labels in the table
#   16  u64[N]             the table; N = 1: the block is solid and ends here
#       u16[sub-blocks]    labels per sub-block
#       u32[their sum]     indices into the table
#       bits               64 * bits_for(labels) bytes per sub-block with two labels or more
#
# Nothing is aligned, so every field is read with memcpy. Sub-blocks and voxels run x fastest.

cdef enum:
    CELL_EDGE = 8        # voxels along an edge of a sub-block
    CELL_VOXELS = 512
    CELL_LABELS = 512    # most labels that a sub-block can hold
    BLOCK_HEADER_BYTES = 16
    SMALL_SORT = 40      # entries up to which insertion beats radix

# One fault per call: nogil code fills it, `raise_fault` turns it into a KernelError.
cdef struct Fault:
    int code
    int64_t item         # index of the chunk in the batch
    int64_t place        # sub-block, or -1
    uint64_t expected
    uint64_t found

cdef enum:
    FINE = 0
    FAULT_MEMORY
    FAULT_TOOLS
    FAULT_ROOM
    FAULT_FRAME
    FAULT_MEMBER
    FAULT_BLOCK_SHORT
    FAULT_BLOCK_GRID
    FAULT_BLOCK_EMPTY
    FAULT_BLOCK_TABLE
    FAULT_BLOCK_COUNTS
    FAULT_BLOCK_COUNT
    FAULT_BLOCK_SIZE
    FAULT_BLOCK_INDEX
    FAULT_BLOCK_VALUE
    FAULT_MAPPING
    FAULT_NO_ENTRY
    FAULT_CSEG_SIZE
    FAULT_CSEG_CHANNEL
    FAULT_CSEG_HEADERS
    FAULT_CSEG_BITS
    FAULT_CSEG_VALUES
    FAULT_CSEG_TABLE
    FAULT_CSEG_VALUE
    FAULT_CSEG_LARGE
    FAULT_CSEG_LABELS

# expected, found and place are filled in.
FAULT_TEXTS = {
    FAULT_MEMORY: "not enough memory for {expected} bytes of scratch",
    FAULT_TOOLS: "no context of libzstd or no compressor of libdeflate could be had",
    FAULT_ROOM: "output too small: {expected} words needed, {found} left",
    FAULT_MEMBER: "libdeflate refused a buffer of the size that it asked for: {expected} bytes",
    FAULT_BLOCK_SHORT: "block too short: expected at least {expected} bytes, found {found}",
    FAULT_BLOCK_GRID: "block has another shape: expected {expected} sub-blocks on an axis, found {found}",
    FAULT_BLOCK_EMPTY: "block has an empty label table: expected at least {expected} label, found {found}",
    FAULT_BLOCK_TABLE: "label table does not fit: {expected} labels claimed, room for {found}",
    FAULT_BLOCK_COUNTS: "label counts do not fit: expected {expected} bytes, found {found}",
    FAULT_BLOCK_COUNT: "sub-block {place} claims too many labels: expected at most {expected}, found {found}",
    FAULT_BLOCK_SIZE: "block size does not fit its counts: expected {expected} bytes, found {found}",
    FAULT_BLOCK_INDEX: "sub-block {place} points outside the label table: expected below {expected}, found {found}",
    FAULT_BLOCK_VALUE: "sub-block {place} holds a value outside its labels: expected below {expected}, found {found}",
    FAULT_MAPPING: "label mapping is uneven: expected {expected} labels (one per supervoxel), found {found}",
    FAULT_NO_ENTRY: "the given table lacks label {found}",
    FAULT_CSEG_SIZE: "chunk is no whole number of 4-byte words: found {found} bytes",
    FAULT_CSEG_CHANNEL: "channel offset is wrong: expected 1 to {expected}, found {found}",
    FAULT_CSEG_HEADERS: "chunk too short for its block headers: expected {expected} words, found {found}",
    FAULT_CSEG_BITS: "block {place} has wrong encoding bits: expected 0, 1, 2, 4, 8, 16 or 32, found {found}",
    FAULT_CSEG_VALUES: "values of block {place} lie outside the chunk: expected an end within {expected} words, found {found}",
    FAULT_CSEG_TABLE: "table of block {place} lies outside the chunk: expected a start below {expected} words, found {found}",
    FAULT_CSEG_VALUE: "block {place} holds a value outside its table: expected below {expected}, found {found}",
    FAULT_CSEG_LARGE: "chunk too large: block {place} needs an offset of {found} words, the format ends at {expected}",
    FAULT_CSEG_LABELS: "label {found} of block {place} does not fit a volume of {expected}-bit labels",
}


cdef int fail(Fault* fault, int code, uint64_t expected, uint64_t found) noexcept nogil:
    fault.code = code
    fault.expected = expected
    fault.found = found
    return -1


cdef int fail_at(Fault* fault, int code, int64_t place, uint64_t expected, uint64_t found) noexcept nogil:
    fault.place = place
    return fail(fault, code, expected, found)


cdef Fault no_fault() noexcept nogil:
    cdef Fault fault
    fault.code = FINE
    fault.item = -1
    fault.place = -1
    fault.expected = fault.found = 0
    return fault


cdef int raise_fault(Fault* fault) except -1:
    text = FAULT_TEXTS[fault.code].format(
        place=fault.place, expected=fault.expected, found=fault.found
    )
    if fault.code == FAULT_MEMORY or fault.code == FAULT_TOOLS:
        raise MemoryError(text)
    raise KernelError(text, fault.item)


# ---------------------------------------------------------------- small parts

cdef inline uint16_t load16(const uint8_t* at) noexcept nogil:
    cdef uint16_t word
    memcpy(&word, at, 2)
    return word


cdef inline uint32_t load32(const uint8_t* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint64_t load64(const uint8_t* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline int block_bits(uint32_t labels) noexcept nogil:
    """Bits per value in a DVID sub-block: ceil(log2(labels)), 0 for one label or none."""
    return 0 if labels < 2 else 32 - __builtin_clz(labels - 1)


# A sort of (key, pos) pairs by key, equal keys in their order: insertion for few, else a radix
# sort that skips bytes in which all keys agree, so no input can make it slow.
# tmp_keys and tmp_pos: room for n entries.
cdef void sort_pairs(
    uint64_t* keys, uint32_t* pos, uint64_t* tmp_keys, uint32_t* tmp_pos, size_t n
) noexcept nogil:
    if n <= SMALL_SORT:
        sort_few(keys, pos, n)
    else:
        sort_many(keys, pos, tmp_keys, tmp_pos, n)


cdef inline void sort_few(uint64_t* keys, uint32_t* pos, size_t n) noexcept nogil:
    cdef size_t i, j
    cdef uint64_t key
    cdef uint32_t at
    for i in range(1, n):
        key = keys[i]
        at = pos[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            pos[j] = pos[j - 1]
            j -= 1
        keys[j] = key
        pos[j] = at


cdef void sort_many(
    uint64_t* keys, uint32_t* pos, uint64_t* tmp_keys, uint32_t* tmp_pos, size_t n
) noexcept nogil:
    cdef uint32_t start[256]
    cdef uint64_t varying = 0
    cdef uint64_t* from_keys = keys
    cdef uint32_t* from_pos = pos
    cdef uint64_t* to_keys = tmp_keys
    cdef uint32_t* to_pos = tmp_pos
    cdef size_t i
    cdef int shift
    for i in range(n):
        varying |= keys[i] ^ keys[0]
    for shift in range(0, 64, 8):
        if (varying >> shift) & 255 == 0:
            continue
        radix_starts(from_keys, n, shift, start)
        radix_move(from_keys, from_pos, to_keys, to_pos, n, shift, start)
        from_keys, to_keys = to_keys, from_keys
        from_pos, to_pos = to_pos, from_pos
    if from_keys != keys:
        memcpy(keys, from_keys, n * sizeof(uint64_t))
        memcpy(pos, from_pos, n * sizeof(uint32_t))


cdef inline void radix_starts(const uint64_t* keys, size_t n, int shift, uint32_t* start) noexcept nogil:
    cdef size_t i
    cdef uint32_t total = 0, count
    memset(start, 0, 256 * sizeof(uint32_t))
    for i in range(n):
        start[(keys[i] >> shift) & 255] += 1
    for i in range(256):
        count = start[i]
        start[i] = total
        total += count


cdef inline void radix_move(
    const uint64_t* keys, const uint32_t* pos, uint64_t* to_keys, uint32_t* to_pos,
    size_t n, int shift, uint32_t* start
) noexcept nogil:
    cdef size_t i
    cdef uint32_t slot
    for i in range(n):
        slot = start[(keys[i] >> shift) & 255]
        start[(keys[i] >> shift) & 255] = slot + 1
        to_keys[slot] = keys[i]
        to_pos[slot] = pos[i]


# Sorts keys of distinct or equal labels and drops the repeats: afterwards keys[0..result) ascend
# and rank[i] says where the label that stood at i is now.
cdef size_t rank_labels(
    uint64_t* keys, uint32_t* pos, uint64_t* tmp_keys, uint32_t* tmp_pos,
    uint32_t* rank, size_t n
) noexcept nogil:
    cdef size_t i, last = 0
    if n == 0:
        return 0
    for i in range(n):
        pos[i] = <uint32_t>i
    sort_pairs(keys, pos, tmp_keys, tmp_pos, n)
    for i in range(n):
        if keys[i] != keys[last]:
            last += 1
            keys[last] = keys[i]
        rank[pos[i]] = <uint32_t>last
    return last + 1


# ---------------------------------------------------------------- parse

# A block whose counts have all been checked against its size; only the indices into the table
# and the values are still to be checked, where they are read.
cdef struct Block:
    uint32_t gx, gy, gz
    uint32_t cells           # gx * gy * gz
    uint32_t n_labels
    const uint8_t* table     # u64[n_labels]
    const uint8_t* counts    # u16[cells]; not for a solid block (n_labels == 1)
    const uint8_t* indices   # u32[sum of counts]
    const uint8_t* values
    const uint8_t* end
    uint64_t most_words      # of a cseg chunk with this block's voxels, however they are mapped

# A place in a block, moved on by `next_cell`.
cdef struct Cell:
    uint32_t place           # sub-block number
    uint32_t n_labels
    int bits
    const uint8_t* indices   # u32[n_labels]
    const uint8_t* values    # 64 * bits bytes


cdef int open_block(
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
    block.cells = gx * gy * gz
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
    block.most_words = 1 + 2 * <uint64_t>block.cells + 2
    block.end = data + size
    if block.n_labels > 1:
        return open_cells(data, size, table_end, block, fault)
    block.counts = block.indices = block.values = block.end
    if size != table_end:
        return fail(fault, FAULT_BLOCK_SIZE, table_end, size)
    return 0


cdef int open_cells(
    const uint8_t* data, uint64_t size, uint64_t table_end, Block* block, Fault* fault
) noexcept nogil:
    cdef uint64_t counts_end = table_end + 2 * <uint64_t>block.cells
    cdef uint64_t n_indices = 0, n_bits = 0
    cdef uint32_t i, count
    if counts_end > size:
        return fail(fault, FAULT_BLOCK_COUNTS, 2 * <uint64_t>block.cells, size - table_end)
    block.counts = data + table_end
    for i in range(block.cells):
        count = load16(block.counts + 2 * i)
        if count > CELL_LABELS:
            return fail_at(fault, FAULT_BLOCK_COUNT, i, CELL_LABELS, count)
        n_indices += count
        n_bits += BITS_OF_COUNT[count]
        block.most_words += MOST_WORDS_OF_COUNT[count]
    if counts_end + 4 * n_indices + 64 * n_bits != size:
        return fail(fault, FAULT_BLOCK_SIZE, counts_end + 4 * n_indices + 64 * n_bits, size)
    block.indices = data + counts_end
    block.values = block.indices + 4 * n_indices
    return 0


cdef inline Cell first_cell(const Block* block) noexcept nogil:
    cdef Cell cell
    cell.place = 0
    cell.indices = block.indices
    cell.values = block.values
    load_cell(block, &cell)
    return cell


cdef inline void load_cell(const Block* block, Cell* cell) noexcept nogil:
    cell.n_labels = load16(block.counts + 2 * cell.place)
    cell.bits = BITS_OF_COUNT[cell.n_labels]


cdef inline bint next_cell(const Block* block, Cell* cell) noexcept nogil:
    cell.indices += 4 * cell.n_labels
    cell.values += 64 * cell.bits
    cell.place += 1
    if cell.place >= block.cells:
        return False
    load_cell(block, cell)
    return True


# The index of entry i of a cell's palette into the block's table, checked.
cdef inline int64_t cell_index(const Block* block, const Cell* cell, uint32_t i, Fault* fault) noexcept nogil:
    cdef uint32_t index = load32(cell.indices + 4 * i)
    if index >= block.n_labels:
        return fail_at(fault, FAULT_BLOCK_INDEX, cell.place, block.n_labels, index)
    return index


# Values that may be read LANES_SLACK bytes past their end: themselves, or a copy in `spare`
# (64 * 9 + LANES_SLACK bytes) at the end of the block.
cdef inline const uint8_t* safe_values(const Block* block, const Cell* cell, uint8_t* spare) noexcept nogil:
    cdef size_t size = 64 * cell.bits
    if <size_t>(block.end - cell.values) >= size + LANES_SLACK:
        return cell.values
    memcpy(spare, cell.values, size)
    memset(spare + size, 0, LANES_SLACK)
    return spare


# One byte per voxel, for palettes of 2 to 256 labels; values are not yet checked.
cdef inline void unpack_cell(const Block* block, const Cell* cell, uint8_t* index) noexcept nogil:
    cdef uint8_t spare[64 * 9 + LANES_SLACK]
    lanes_unpack(safe_values(block, cell, spare), cell.bits, index)


# The same in 16 bits, for palettes of any size above one, values checked.
cdef int unpack_cell_wide(const Block* block, const Cell* cell, uint16_t* index, Fault* fault) noexcept nogil:
    cdef uint8_t narrow[CELL_VOXELS]
    cdef uint16_t largest = 0
    cdef int i
    if cell.bits == 9:
        lanes_unpack9(cell.values, index)
    else:
        unpack_cell(block, cell, narrow)
        for i in range(CELL_VOXELS):
            index[i] = narrow[i]
    for i in range(CELL_VOXELS):
        largest = max(largest, index[i])
    if largest >= cell.n_labels:
        return fail_at(fault, FAULT_BLOCK_VALUE, cell.place, cell.n_labels, largest)
    return 0


# ---------------------------------------------------------------- label tables

# What a block's labels become: labels[i] is the label of supervoxels[i]; supervoxels NULL keeps
# every label as it is.
cdef struct Mapping:
    const uint64_t* labels
    const uint64_t* supervoxels
    size_t n

# Scratch for one block at a time: room for `room` entries in each array.
cdef struct Tables:
    size_t room
    uint64_t* labels         # the block's table after mapping
    uint64_t* keys
    uint64_t* tmp_keys
    uint32_t* pos
    uint32_t* tmp_pos
    uint32_t* rank
    uint8_t* seen


cdef inline Tables no_tables() noexcept nogil:
    cdef Tables tables
    memset(&tables, 0, sizeof(tables))
    return tables


cdef int tables_reserve(Tables* tables, size_t room, Fault* fault) noexcept nogil:
    """Room for so many entries, in one allocation; those held before are gone."""
    cdef size_t size = room * (3 * sizeof(uint64_t) + 3 * sizeof(uint32_t) + 1)
    cdef uint8_t* memory
    if room <= tables.room:
        return 0
    tables_free(tables)
    memory = <uint8_t*>malloc(size)
    if memory == NULL:
        return fail(fault, FAULT_MEMORY, size, 0)
    tables.room = room
    tables.labels = <uint64_t*>memory
    tables.keys = tables.labels + room
    tables.tmp_keys = tables.keys + room
    tables.pos = <uint32_t*>(tables.tmp_keys + room)
    tables.tmp_pos = tables.pos + room
    tables.rank = tables.tmp_pos + room
    tables.seen = <uint8_t*>(tables.rank + room)
    return 0


cdef void tables_free(Tables* tables) noexcept nogil:
    free(tables.labels)
    tables[0] = no_tables()


cdef int map_table(const Block* block, const Mapping* mapping, Tables* tables, Fault* fault) noexcept nogil:
    """The block's table after mapping, in tables.labels[0..n_labels), and room for one more.

    Tables that agree entry by entry are replaced; others are looked up by value.
    """
    cdef size_t size = 8 * <size_t>block.n_labels
    if tables_reserve(tables, max(<size_t>block.n_labels + 1, mapping.n), fault):
        return -1
    if mapping.supervoxels == NULL:
        memcpy(tables.labels, block.table, size)
    elif mapping.n == block.n_labels and memcmp(mapping.supervoxels, block.table, size) == 0:
        memcpy(tables.labels, mapping.labels, size)
    else:
        memcpy(tables.labels, block.table, size)
        map_by_value(mapping, tables, block.n_labels)
    return 0


# Of a supervoxel listed twice the last counts; one without a mapping stays as it is.
cdef void map_by_value(const Mapping* mapping, Tables* tables, size_t n_labels) noexcept nogil:
    cdef size_t i, at
    if mapping.n == 0:
        return
    for i in range(mapping.n):
        tables.keys[i] = mapping.supervoxels[i]
        tables.pos[i] = <uint32_t>i
    sort_pairs(tables.keys, tables.pos, tables.tmp_keys, tables.tmp_pos, mapping.n)
    for i in range(n_labels):
        at = first_above(tables.keys, mapping.n, tables.labels[i])
        if at > 0 and tables.keys[at - 1] == tables.labels[i]:
            tables.labels[i] = mapping.labels[tables.pos[at - 1]]


cdef inline size_t first_above(const uint64_t* keys, size_t n, uint64_t key) noexcept nogil:
    cdef size_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) // 2
        if keys[middle] <= key:
            low = middle + 1
        else:
            high = middle
    return low


# ---------------------------------------------------------------- batches

# The mappings of many blocks as flat arrays, each with a start more; supervoxels NULL: none.
cdef struct Mappings:
    const uint64_t* labels
    const int64_t* label_start
    const uint64_t* supervoxels
    const int64_t* supervoxel_start

# Blocks of a batch, with k + 1 starts.
cdef struct Batch:
    size_t k
    const uint8_t* blocks
    const int64_t* start
    Mappings mappings


# What is mapped in block i; a fault if labels and supervoxels do not come in pairs.
cdef int mapping_at(const Mappings* mappings, size_t i, Mapping* mapping, Fault* fault) noexcept nogil:
    cdef int64_t n_labels, n_supervoxels
    mapping.labels = mapping.supervoxels = NULL
    mapping.n = 0
    if mappings.supervoxels == NULL:
        return 0
    n_labels = mappings.label_start[i + 1] - mappings.label_start[i]
    n_supervoxels = mappings.supervoxel_start[i + 1] - mappings.supervoxel_start[i]
    if n_labels != n_supervoxels:
        return fail(fault, FAULT_MAPPING, n_supervoxels, n_labels)
    mapping.labels = mappings.labels + mappings.label_start[i]
    mapping.supervoxels = mappings.supervoxels + mappings.supervoxel_start[i]
    mapping.n = <size_t>n_supervoxels
    return 0


cdef inline int batch_open(
    const Batch* batch, size_t i, uint32_t gx, uint32_t gy, uint32_t gz,
    Block* block, Mapping* mapping, Fault* fault
) noexcept nogil:
    cdef uint64_t size = <uint64_t>(batch.start[i + 1] - batch.start[i])
    fault.item = <int64_t>i
    if open_block(batch.blocks + batch.start[i], size, gx, gy, gz, block, fault):
        return -1
    return mapping_at(&batch.mappings, i, mapping, fault)


cdef int check_starts(const int64_t[::1] start, size_t k, size_t size, str name) except -1:
    """k + 1 starts must ascend within an array of `size` entries."""
    cdef size_t i
    if <size_t>start.shape[0] != k + 1:
        raise KernelError(f"{name}: expected {k + 1} starts, found {start.shape[0]}")
    if start[0] < 0 or <uint64_t>start[k] > size:
        raise KernelError(f"{name}: expected starts within 0 and {size}, found {start[0]} and {start[k]}")
    for i in range(k):
        if start[i] > start[i + 1]:
            raise KernelError(f"{name}: expected ascending starts, found {start[i]} before {start[i + 1]}", i)
    return 0


cdef Batch make_batch(
    const uint8_t[::1] blocks, const int64_t[::1] start,
    const uint64_t[::1] labels, const int64_t[::1] label_start,
    const uint64_t[::1] supervoxels, const int64_t[::1] supervoxel_start
) except *:
    """Raw pointers to checked arrays, which must outlive the batch."""
    cdef Batch batch
    if start.shape[0] < 1:
        raise KernelError("blocks: expected at least one start, found none")
    batch.k = <size_t>start.shape[0] - 1
    check_starts(start, batch.k, blocks.shape[0], "blocks")
    batch.blocks = &blocks[0] if blocks.shape[0] else NO_BYTES
    batch.start = &start[0]
    batch.mappings = make_mappings(batch.k, labels, label_start, supervoxels, supervoxel_start)
    return batch


cdef Mappings make_mappings(
    size_t k,
    const uint64_t[::1] labels, const int64_t[::1] label_start,
    const uint64_t[::1] supervoxels, const int64_t[::1] supervoxel_start
) except *:
    """Raw pointers to checked arrays of k blocks, which must outlive them."""
    cdef Mappings mappings
    memset(&mappings, 0, sizeof(mappings))
    if labels is None and supervoxels is None:
        return mappings
    if labels is None or label_start is None or supervoxels is None or supervoxel_start is None:
        raise KernelError("a mapping needs labels and supervoxels, both with their starts")
    check_starts(label_start, k, labels.shape[0], "labels")
    check_starts(supervoxel_start, k, supervoxels.shape[0], "supervoxels")
    mappings.labels = &labels[0] if labels.shape[0] else NO_LABELS
    mappings.label_start = &label_start[0]
    mappings.supervoxels = &supervoxels[0] if supervoxels.shape[0] else NO_LABELS
    mappings.supervoxel_start = &supervoxel_start[0]
    return mappings


# ---------------------------------------------------------------- decode

cdef int decode_block(
    const Block* block, const uint64_t* table, uint64_t* out, Fault* fault
) noexcept nogil:
    """Voxels of a block (z, y, x of 8 gz, 8 gy, 8 gx) through its (mapped) table."""
    cdef size_t i, n_voxels = <size_t>block.cells * CELL_VOXELS
    cdef Cell cell
    if block.n_labels == 1:
        for i in range(n_voxels):
            out[i] = table[0]
        return 0
    cell = first_cell(block)
    while True:
        if decode_cell(block, &cell, table, cell_start(block, cell.place, out), fault):
            return -1
        if not next_cell(block, &cell):
            return 0


cdef inline uint64_t* cell_start(const Block* block, uint32_t place, uint64_t* out) noexcept nogil:
    cdef size_t x = place % block.gx
    cdef size_t y = place // block.gx % block.gy
    cdef size_t z = place // (block.gx * block.gy)
    return out + CELL_EDGE * (x + CELL_EDGE * block.gx * (y + CELL_EDGE * block.gy * z))


cdef int decode_cell(
    const Block* block, const Cell* cell, const uint64_t* table, uint64_t* out, Fault* fault
) noexcept nogil:
    cdef uint64_t palette[CELL_LABELS]
    cdef uint16_t index[CELL_VOXELS]
    cdef size_t row = CELL_EDGE * block.gx
    cdef size_t slice_ = row * CELL_EDGE * block.gy
    cdef int64_t at
    cdef uint32_t i
    palette[0] = 0
    for i in range(cell.n_labels):
        at = cell_index(block, cell, i, fault)
        if at < 0:
            return -1
        palette[i] = table[at]
    if cell.n_labels < 2:
        fill_cell(palette[0], out, row, slice_)
        return 0
    if unpack_cell_wide(block, cell, index, fault):
        return -1
    spread_cell(palette, index, out, row, slice_)
    return 0


cdef inline void fill_cell(uint64_t label, uint64_t* out, size_t row, size_t slice_) noexcept nogil:
    cdef size_t x, y, z
    for z in range(<size_t>CELL_EDGE):
        for y in range(<size_t>CELL_EDGE):
            for x in range(<size_t>CELL_EDGE):
                out[z * slice_ + y * row + x] = label


cdef inline void spread_cell(
    const uint64_t* palette, const uint16_t* index, uint64_t* out, size_t row, size_t slice_
) noexcept nogil:
    cdef size_t x, y, z
    for z in range(<size_t>CELL_EDGE):
        for y in range(<size_t>CELL_EDGE):
            for x in range(<size_t>CELL_EDGE):
                out[z * slice_ + y * row + x] = palette[index[x]]
            index += CELL_EDGE


cdef tuple cells_of_shape(shape_zyx):
    """gx, gy, gz of a block of (z, y, x) voxels, each a multiple of 8."""
    grid = []
    for edge in reversed(tuple(shape_zyx)):
        if edge <= 0 or edge % CELL_EDGE:
            raise KernelError(f"a block's edges are multiples of {CELL_EDGE}: found {tuple(shape_zyx)}")
        grid.append(edge // CELL_EDGE)
    if len(grid) != 3 or grid[0] * grid[1] * grid[2] * CELL_VOXELS >= 2**32:
        raise KernelError(f"a block has three axes and fewer than 2^32 voxels: found {tuple(shape_zyx)}")
    return tuple(grid)


cdef int decode_batch(
    const Batch* batch, uint32_t gx, uint32_t gy, uint32_t gz, uint64_t* out, Fault* fault
) noexcept nogil:
    cdef size_t i
    cdef size_t n_voxels = <size_t>gx * gy * gz * CELL_VOXELS
    cdef Block block
    cdef Mapping mapping
    cdef Tables tables = no_tables()
    cdef int failed = 0
    for i in range(batch.k):
        failed = batch_open(batch, i, gx, gy, gz, &block, &mapping, fault)
        failed = failed or map_table(&block, &mapping, &tables, fault)
        failed = failed or decode_block(&block, tables.labels, out + i * n_voxels, fault)
        if failed:
            break
    tables_free(&tables)
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
    cdef Batch batch = make_batch(blocks, start, labels, label_start, supervoxels, supervoxel_start)
    cdef Fault fault = no_fault()
    cdef uint32_t gx, gy, gz
    cdef int failed
    gx, gy, gz = cells_of_shape((out.shape[1], out.shape[2], out.shape[3]))
    if <size_t>out.shape[0] != batch.k:
        raise KernelError(f"out: expected room for {batch.k} blocks, found {out.shape[0]}")
    if batch.k == 0:
        return
    with nogil:
        failed = decode_batch(&batch, gx, gy, gz, &out[0, 0, 0, 0], &fault)
    if failed:
        raise_fault(&fault)


# ---------------------------------------------------------------- encode

# Distinct labels of 512 voxels in order of appearance; local[i] is voxel i's place among them.
# Runs are common, so the label before is tried first, then a hash of two slots per voxel.
cdef uint32_t palette_of(const uint64_t* voxels, uint64_t* palette, uint16_t* local) noexcept nogil:
    cdef uint16_t slots[2 * CELL_VOXELS]
    cdef uint32_t n = 1, slot, at = 0
    cdef int i
    memset(slots, 0, sizeof(slots))
    palette[0] = voxels[0]
    slots[hash_label(voxels[0]) & (2 * CELL_VOXELS - 1)] = 1
    for i in range(CELL_VOXELS):
        if voxels[i] != palette[at]:
            slot = hash_label(voxels[i]) & (2 * CELL_VOXELS - 1)
            while slots[slot] != 0 and palette[slots[slot] - 1] != voxels[i]:
                slot = (slot + 1) & (2 * CELL_VOXELS - 1)
            if slots[slot] == 0:
                palette[n] = voxels[i]
                n += 1
                slots[slot] = <uint16_t>n
            at = slots[slot] - 1
        local[i] = <uint16_t>at
    return n


cdef inline uint32_t hash_label(uint64_t label) noexcept nogil:
    label ^= label >> 32
    label *= <uint64_t>0x9E3779B97F4A7C15
    return <uint32_t>(label >> 40)


cdef inline bint all_equal(const uint64_t* voxels, size_t n) noexcept nogil:
    cdef uint64_t differs = 0
    cdef size_t i
    for i in range(n):
        differs |= voxels[i] ^ voxels[0]
    return differs == 0


# MSB first, as DVID packs; returns the bytes written, 64 * bits.
cdef size_t pack_cell(const uint16_t* local, int bits, uint8_t* out) noexcept nogil:
    cdef uint64_t word = 0
    cdef int held = 0, i
    cdef size_t n = 0
    for i in range(CELL_VOXELS):
        word = (word << bits) | local[i]
        held += bits
        while held >= 8:
            held -= 8
            out[n] = <uint8_t>(word >> held)
            n += 1
    return n


# What the first pass over a block's voxels leaves behind.
cdef struct BlockWork:
    uint32_t gx, gy, gz
    uint32_t cells
    uint64_t* palettes       # all cells' labels, one cell after another
    uint32_t* index          # the same as places in the table
    uint16_t* counts
    uint8_t* values
    size_t n_indices
    size_t n_values


cdef int work_make(BlockWork* work) except -1:
    """Per voxel at most a palette entry, an index and 9 bits of value; per sub-block a count."""
    cdef size_t n_voxels, size
    work.cells = work.gx * work.gy * work.gz
    n_voxels = <size_t>work.cells * CELL_VOXELS
    size = n_voxels * 12 + <size_t>work.cells * (64 * 9 + 2)
    work.palettes = <uint64_t*>malloc(size)
    if work.palettes == NULL:
        raise MemoryError(f"not enough memory for {size} bytes of scratch")
    work.index = <uint32_t*>(work.palettes + n_voxels)
    work.counts = <uint16_t*>(work.index + n_voxels)
    work.values = <uint8_t*>(work.counts + work.cells)
    return 0


cdef void cell_voxels(
    const uint64_t[:, :, :] voxels, uint32_t x, uint32_t y, uint32_t z, uint64_t* tile
) noexcept nogil:
    cdef Py_ssize_t i, j, k
    cdef const uint64_t* row
    for k in range(CELL_EDGE):
        for j in range(CELL_EDGE):
            row = &voxels[CELL_EDGE * z + k, CELL_EDGE * y + j, CELL_EDGE * x]
            if voxels.strides[2] == sizeof(uint64_t):
                memcpy(tile, row, CELL_EDGE * sizeof(uint64_t))
            else:
                for i in range(CELL_EDGE):
                    tile[i] = voxels[CELL_EDGE * z + k, CELL_EDGE * y + j, CELL_EDGE * x + i]
            tile += CELL_EDGE


cdef void encode_cells(const uint64_t[:, :, :] voxels, BlockWork* work) noexcept nogil:
    cdef uint64_t tile[CELL_VOXELS]
    cdef uint16_t local[CELL_VOXELS]
    cdef uint32_t place, n
    work.n_indices = work.n_values = 0
    for place in range(work.cells):
        cell_voxels(voxels, place % work.gx, place // work.gx % work.gy,
                    place // (work.gx * work.gy), tile)
        n = palette_of(tile, work.palettes + work.n_indices, local)
        work.counts[place] = <uint16_t>n
        work.n_indices += n
        if n > 1:
            work.n_values += pack_cell(local, block_bits(n), work.values + work.n_values)


# The table in order of appearance into tables.labels; returns its length.
cdef size_t table_by_appearance(BlockWork* work, Tables* tables) noexcept nogil:
    cdef size_t i, n_distinct, n = 0
    memcpy(tables.keys, work.palettes, 8 * work.n_indices)
    n_distinct = rank_labels(
        tables.keys, tables.pos, tables.tmp_keys, tables.tmp_pos, tables.rank, work.n_indices)
    for i in range(n_distinct):
        tables.pos[i] = <uint32_t>-1
    for i in range(work.n_indices):
        if tables.pos[tables.rank[i]] == <uint32_t>-1:
            tables.pos[tables.rank[i]] = <uint32_t>n
            tables.labels[n] = work.palettes[i]
            n += 1
        work.index[i] = tables.pos[tables.rank[i]]
    return n


# Places in a table that the caller gives; of a label listed twice the last place is used.
cdef int index_by_table(
    BlockWork* work, const uint64_t* table, size_t n, Tables* tables, Fault* fault
) noexcept nogil:
    cdef size_t i, at
    memcpy(tables.keys, table, 8 * n)
    for i in range(n):
        tables.pos[i] = <uint32_t>i
    sort_pairs(tables.keys, tables.pos, tables.tmp_keys, tables.tmp_pos, n)
    for i in range(work.n_indices):
        at = first_above(tables.keys, n, work.palettes[i])
        if at == 0 or tables.keys[at - 1] != work.palettes[i]:
            return fail(fault, FAULT_NO_ENTRY, 0, work.palettes[i])
        work.index[i] = tables.pos[at - 1]
    return 0


cdef bytes block_bytes(BlockWork* work, const uint64_t* table, size_t n):
    cdef uint32_t header[4]
    header[0] = work.gx
    header[1] = work.gy
    header[2] = work.gz
    header[3] = <uint32_t>n
    head = (<char*>header)[:BLOCK_HEADER_BYTES] + (<char*>table)[:8 * n]
    if n == 1:
        return head
    return b"".join((
        head,
        (<char*>work.counts)[:2 * work.cells],
        (<char*>work.index)[:4 * work.n_indices],
        (<char*>work.values)[:work.n_values],
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
    cdef BlockWork work
    cdef Tables tables = no_tables()
    cdef Fault fault = no_fault()
    cdef size_t n = 0 if table is None else table.shape[0]
    cdef int failed
    work.gx, work.gy, work.gz = cells_of_shape((voxels.shape[0], voxels.shape[1], voxels.shape[2]))
    if n >= 2**32 or (table is not None and n == 0):
        raise KernelError(f"table: expected 1 to 2^32 - 1 labels, found {n}")
    work_make(&work)
    try:
        with nogil:
            encode_cells(voxels, &work)
            failed = tables_reserve(&tables, max(n, work.n_indices), &fault)
            if failed == 0 and n == 0:
                n = table_by_appearance(&work, &tables)
            elif failed == 0:
                memcpy(tables.labels, &table[0], 8 * n)
                failed = index_by_table(&work, &table[0], n, &tables, &fault)
        if failed:
            raise_fault(&fault)
        return block_bytes(&work, tables.labels, n)
    finally:
        tables_free(&tables)
        free(work.palettes)
