# Faults: found by nogil code as a number, raised as an exception with the number's text.

# Filled in: `item`, `part`, `expected` and `found` of the fault; `column`, by `part`; `detail`.
# `signed_expected` and `signed_found` are for numbers that may be negative.
cdef dict FAULT_TEXTS = {
    FAULT_MEMORY: "not enough memory for {expected} bytes of scratch",
    FAULT_CODEC: "no context of libzstd or no compressor of libdeflate could be had",
    FAULT_ROOM: "output too small: {expected} words needed, {found} left",
    FAULT_FRAME_DAMAGED: "{detail}",
    FAULT_FRAME_SIZE: "it holds {found} bytes, expected {expected}",
    FAULT_FRAME_OUTSIDE: "the frame lies outside the data",
    FAULT_GZIP_BOUND:
        "libdeflate refused a buffer of the size that it asked for: {expected} bytes",
    FAULT_GZIP_MEMBER: "not a gzip member of {expected} bytes",
    FAULT_BLOCK_SHORT: "block too short: expected at least {expected} bytes, found {found}",
    FAULT_BLOCK_GRID:
        "block has another shape: expected {expected} sub-blocks on an axis, found {found}",
    FAULT_BLOCK_EMPTY:
        "block has an empty label table: expected at least {expected} label, found {found}",
    FAULT_BLOCK_TABLE: "label table does not fit: {expected} labels claimed, room for {found}",
    FAULT_BLOCK_COUNTS: "label counts do not fit: expected {expected} bytes, found {found}",
    FAULT_BLOCK_COUNT:
        "sub-block {part} claims too many labels: expected at most {expected}, found {found}",
    FAULT_BLOCK_SIZE:
        "block size does not fit its counts: expected {expected} bytes, found {found}",
    FAULT_BLOCK_INDEX:
        "sub-block {part} points outside the label table: expected below {expected}, found {found}",
    FAULT_BLOCK_VALUE:
        "sub-block {part} holds a value outside its labels: expected below {expected}, "
        "found {found}",
    FAULT_LABEL_MAP:
        "label mapping is uneven: expected {expected} labels (one per supervoxel), found {found}",
    FAULT_NO_ENTRY: "the given table lacks label {found}",
    FAULT_CSEG_SIZE: "chunk is not a whole number of 4-byte words: found {found} bytes",
    FAULT_CSEG_CHANNEL: "channel offset is wrong: expected 1 to {expected}, found {found}",
    FAULT_CSEG_HEADERS:
        "chunk too short for its block headers: expected {expected} words, found {found}",
    FAULT_CSEG_BITS:
        "block {part} has wrong encoding bits: expected 0, 1, 2, 4, 8, 16 or 32, found {found}",
    FAULT_CSEG_VALUES:
        "values of block {part} lie outside the chunk: expected an end within {expected} words, "
        "found {found}",
    FAULT_CSEG_TABLE:
        "table of block {part} lies outside the chunk: expected a start below {expected} words, "
        "found {found}",
    FAULT_CSEG_VALUE:
        "block {part} holds a value outside its table: expected below {expected}, found {found}",
    FAULT_CSEG_LARGE:
        "chunk too large: block {part} needs an offset of {found} words, the format ends at "
        "{expected}",
    FAULT_CSEG_LABELS:
        "label {found} of block {part} does not fit a volume of {expected}-bit labels",
    FAULT_VOTE_CELL: "cell {item} of the batch lies outside the volume",
    FAULT_IPC_SHORT: "{found} bytes are not an Arrow message",
    FAULT_IPC_MARK: "not an Arrow message: it begins with {found:#010x}",
    FAULT_IPC_METADATA: "metadata of {expected} bytes in a range of {found}",
    FAULT_IPC_OUTSIDE: "Arrow metadata points outside itself",
    FAULT_IPC_KIND: "the range does not begin with a record batch",
    FAULT_IPC_COMPRESSED: "Arrow body compression is not supported",
    FAULT_IPC_BYTES: "the batch has {signed_expected} bytes, its range {found}",
    FAULT_IPC_ROWS: "the index lists {expected} rows of a batch that has {signed_found}",
    FAULT_IPC_LACKING:
        "damaged record batch (expected {expected} nodes or buffers, found {found})",
    FAULT_COLUMN_NULLS: "column {column} holds nulls",
    FAULT_COLUMN_ITEM_NULLS: "a list of {column} holds nulls",
    FAULT_COLUMN_LENGTH:
        "damaged record batch (column {column} has {signed_found} rows of {expected})",
    FAULT_COLUMN_BUFFER:
        "damaged record batch (column {column}: a buffer lacks bytes or lies outside)",
    FAULT_COLUMN_OFFSET:
        "damaged record batch (column {column}: expected an offset up to {expected}, "
        "found {signed_found})",
}


cdef int fail(Fault* fault, int code, uint64_t expected, uint64_t found) noexcept nogil:
    fault.code = code
    fault.expected = expected
    fault.found = found
    return -1


cdef int fail_at(
    Fault* fault, int code, int64_t part, uint64_t expected, uint64_t found
) noexcept nogil:
    fault.part = part
    return fail(fault, code, expected, found)


cdef Fault no_fault() noexcept nogil:
    cdef Fault fault
    fault.code = FAULT_NONE
    fault.item = fault.part = -1
    fault.expected = fault.found = 0
    fault.detail = NULL
    return fault


cdef int raise_fault(const Fault* fault) except -1:
    """Raise the exception of a fault, whose code alone decides type and text."""
    text = FAULT_TEXTS[fault.code].format(
        item=fault.item, part=fault.part, expected=fault.expected, found=fault.found,
        signed_expected=<int64_t>fault.expected, signed_found=<int64_t>fault.found,
        column=NODE_COLUMNS[fault.part] if 0 <= fault.part < ROW_NODES else None,
        detail=(<bytes>fault.detail).decode() if fault.detail != NULL else None,
    )
    if fault.code in (FAULT_MEMORY, FAULT_CODEC):
        raise MemoryError(text)
    if fault.code in (FAULT_FRAME_DAMAGED, FAULT_FRAME_SIZE):
        raise FrameError(text, fault.item)
    if fault.code == FAULT_VOTE_CELL:    # the caller's mistake, not that of the bytes
        raise ValueError(text)
    raise KernelError(text, fault.item)
