# Rows of a DVID export, gathered from Arrow record batches of seven columns: chunk_x, chunk_y,
# chunk_z: int32; labels, supervoxels: list<uint64>; dvid_compressed_block: binary;
# uncompressed_size: uint32. Layout of the buffers: Arrow columnar format, "Recordbatch message".
# Every node, buffer and offset is checked once, when a batch is opened; then rows are copied.

cdef tuple NODE_COLUMNS = (
    "chunk_x", "chunk_y", "chunk_z", "labels", "labels", "supervoxels", "supervoxels",
    "dvid_compressed_block", "uncompressed_size",
)

# Per column of values and per column of lists: its node, and its first buffer (validity).
cdef int[4] VALUE_NODE = [0, 1, 2, 8]
cdef int[4] VALUE_BUFFER = [0, 2, 4, 17]
cdef int[3] LIST_NODE = [3, 5, 7]
cdef int[3] LIST_BUFFER = [6, 10, 14]


# ---------------------------------------------------------------- one record batch

cdef int ipc_message_open(
    const uint8_t* data, int64_t size, IpcMessage* message, Fault* fault
) noexcept nogil:
    cdef int64_t length
    if size < MARK_BYTES:
        return fail(fault, FAULT_IPC_SHORT, MARK_BYTES, size)
    length = load32(data + 4)
    if load32(data) != <uint32_t>0xFFFFFFFF or length > LONGEST_METADATA:
        return fail(fault, FAULT_IPC_MARK, 0, load32(data))
    if length > size - MARK_BYTES:
        return fail(fault, FAULT_IPC_METADATA, MARK_BYTES + length, size)
    message.flat.bytes = data + MARK_BYTES
    message.flat.size = length
    message.flat.bad = False
    message.body = data + MARK_BYTES + length
    message.body_bytes = size - MARK_BYTES - length
    return 0


cdef int ipc_message_read_header(IpcMessage* message, int64_t rows, Fault* fault) noexcept nogil:
    """The range must be this one message, a plain record batch of so many rows."""
    cdef FlatBuffer* flat = &message.flat
    cdef MessageMetadata metadata = message_metadata(flat)
    cdef int64_t found, nodes, buffers
    if flat.bad:
        return fail(fault, FAULT_IPC_OUTSIDE, 0, 0)
    if metadata.kind != RECORD_BATCH_KIND or not metadata.has_header:
        return fail(fault, FAULT_IPC_KIND, RECORD_BATCH_KIND, metadata.kind)
    if metadata.body_bytes != message.body_bytes:
        return fail(fault, FAULT_IPC_BYTES, <uint64_t>metadata.body_bytes, message.body_bytes)
    found = message_rows(flat, &metadata)
    message.nodes = flat_vector(flat, metadata.header[BATCH_NODES], &nodes)
    message.buffers = flat_vector(flat, metadata.header[BATCH_BUFFERS], &buffers)
    if flat.bad:
        return fail(fault, FAULT_IPC_OUTSIDE, 0, 0)
    if metadata.header[BATCH_COMPRESSION]:
        return fail(fault, FAULT_IPC_COMPRESSED, 0, 0)
    if found != rows:
        return fail(fault, FAULT_IPC_ROWS, rows, <uint64_t>found)
    if nodes < ROW_NODES or buffers < ROW_BUFFERS:
        return fail(fault, FAULT_IPC_LACKING, ROW_NODES + ROW_BUFFERS, nodes + buffers)
    return 0


cdef int64_t ipc_node_length(
    IpcMessage* message, int node, int nulls_code, Fault* fault
) noexcept nogil:
    """Values in a node, which must hold no nulls; -1 on a fault."""
    cdef int64_t length = flat_number(&message.flat, message.nodes + 16 * node, 8)
    cdef int64_t nulls = flat_number(&message.flat, message.nodes + 16 * node + 8, 8)
    if message.flat.bad:
        return fail(fault, FAULT_IPC_OUTSIDE, 0, 0)
    if nulls:
        return fail_at(fault, nulls_code, node, 0, <uint64_t>nulls)
    if length < 0:
        return fail_at(fault, FAULT_COLUMN_LENGTH, node, 0, <uint64_t>length)
    return length


cdef const uint8_t* ipc_buffer(IpcMessage* message, int number, int64_t* size) noexcept nogil:
    """A buffer within the body; NULL where it lies outside."""
    cdef int64_t offset = flat_number(&message.flat, message.buffers + 16 * number, 8)
    cdef int64_t length = flat_number(&message.flat, message.buffers + 16 * number + 8, 8)
    size[0] = length
    if message.flat.bad or offset < 0 or length < 0:
        return NULL
    if offset > message.body_bytes or length > message.body_bytes - offset:
        return NULL
    return message.body + offset


cdef int record_batch_open_values(
    IpcMessage* message, int column, RecordBatch* batch, Fault* fault
) noexcept nogil:
    cdef int node = VALUE_NODE[column]
    cdef int64_t size, length = ipc_node_length(message, node, FAULT_COLUMN_NULLS, fault)
    if length < 0:
        return -1
    if length != batch.rows:
        return fail_at(fault, FAULT_COLUMN_LENGTH, node, batch.rows, length)
    batch.values[column] = ipc_buffer(message, VALUE_BUFFER[column] + 1, &size)
    if batch.values[column] == NULL or size >> 2 < batch.rows:
        return fail_at(fault, FAULT_COLUMN_BUFFER, node, 0, 0)
    return 0


cdef int record_batch_open_list(
    IpcMessage* message, int column, RecordBatch* batch, Fault* fault
) noexcept nogil:
    """A column of lists, and its items: uint64 that have a node, or bytes."""
    cdef int node = LIST_NODE[column], first = LIST_BUFFER[column]
    cdef int64_t size, items, length = ipc_node_length(message, node, FAULT_COLUMN_NULLS, fault)
    if length < 0:
        return -1
    if length != batch.rows:
        return fail_at(fault, FAULT_COLUMN_LENGTH, node, batch.rows, length)
    batch.ends[column] = ipc_buffer(message, first + 1, &size)
    if batch.ends[column] == NULL or size >> 2 < batch.rows + 1:
        return fail_at(fault, FAULT_COLUMN_BUFFER, node, 0, 0)
    batch.items[column] = ipc_buffer(message, first + (2 if column == BLOCK_LIST else 3), &size)
    if batch.items[column] == NULL:
        return fail_at(fault, FAULT_COLUMN_BUFFER, node, 0, 0)
    items = size
    if column != BLOCK_LIST:
        items = ipc_node_length(message, node + 1, FAULT_COLUMN_ITEM_NULLS, fault)
        if items < 0:
            return -1
        if items > size >> 3:
            return fail_at(fault, FAULT_COLUMN_BUFFER, node, 0, 0)
    return record_batch_check_offsets(batch, column, items, fault)


cdef int record_batch_check_offsets(
    const RecordBatch* batch, int column, int64_t items, Fault* fault
) noexcept nogil:
    """Offsets must ascend within the items, which may be more than the rows use."""
    cdef int64_t i, end, before = 0
    for i in range(batch.rows + 1):
        end = <int32_t>load32(batch.ends[column] + 4 * i)
        if end < before or end > items:
            return fail_at(fault, FAULT_COLUMN_OFFSET, LIST_NODE[column], items, <uint64_t>end)
        before = end
    return 0


cdef int record_batch_open(
    const uint8_t* data, int64_t size, int64_t rows, RecordBatch* batch, Fault* fault
) noexcept nogil:
    cdef IpcMessage message
    cdef int column
    batch.rows = rows
    if ipc_message_open(data, size, &message, fault):
        return -1
    if ipc_message_read_header(&message, rows, fault):
        return -1
    if rows == 0:
        return 0  # its buffers may be missing
    for column in range(ROW_VALUES):
        if record_batch_open_values(&message, column, batch, fault):
            return -1
    for column in range(ROW_LISTS):
        if record_batch_open_list(&message, column, batch, fault):
            return -1
    return 0


# ---------------------------------------------------------------- many rows

cdef inline int64_t record_batch_offset(
    const RecordBatch* batch, int column, int64_t row
) noexcept nogil:
    return <int32_t>load32(batch.ends[column] + 4 * row)


cdef void record_batch_measure_row(
    const RecordBatch* batch, int64_t row, int32_t* coords, uint32_t* size, int64_t** starts,
    int64_t i
) noexcept nogil:
    """Row i of the output but for its lists, which so far get their starts."""
    cdef int column
    for column in range(3):
        coords[3 * i + column] = <int32_t>load32(batch.values[column] + 4 * row)
    size[i] = load32(batch.values[3] + 4 * row)
    for column in range(ROW_LISTS):
        starts[column][i + 1] = starts[column][i] + (
            record_batch_offset(batch, column, row + 1) - record_batch_offset(batch, column, row))


cdef void record_batch_copy_row(
    const RecordBatch* batch, int64_t row, uint8_t** items, int64_t** starts, int64_t i
) noexcept nogil:
    cdef int column, width
    for column in range(ROW_LISTS):
        width = 1 if column == BLOCK_LIST else 8
        memcpy(
            items[column] + width * starts[column][i],
            batch.items[column] + width * record_batch_offset(batch, column, row),
            width * (starts[column][i + 1] - starts[column][i]))


def arrow_rows(
    buffers, const int64_t[::1] buffer not None,
    const int64_t[::1] begin not None, const int64_t[::1] end not None,
    const int64_t[::1] lengths not None,
    const int64_t[::1] batch not None, const int64_t[::1] row not None
):
    """Gather rows of record batches, in the given order.

    Args:
        buffers: the bytes that were read.
        buffer, begin, end: (n,) where each record-batch message is: whole, in
            buffers[buffer[i]][begin[i]:end[i]].
        lengths: (n,) rows that each of them must have.
        batch: (k,) which message a row is in.
        row: (k,) the row within it.

    Returns:
        coords (k, 3) int32; zstd frames (bytes,) uint8 and their starts (k + 1,) int64;
        uncompressed_size (k,) uint32; labels (entries,) uint64 and their starts; supervoxels and
        theirs. List i of an array is `array[start[i]:start[i + 1]]`.

    Raises:
        KernelError: message `.item` is not a plain record batch of the export's columns, or one of
            its offsets leads outside.
    """
    cdef int64_t i, k = batch.shape[0], n = lengths.shape[0]
    if not (buffer.shape[0] == begin.shape[0] == end.shape[0] == n) or row.shape[0] != k:
        raise ValueError(f"expected {n} messages and {k} rows")
    for i in range(k):
        if not (0 <= batch[i] < n and 0 <= row[i] < lengths[batch[i]]):
            raise ValueError(f"there is no row {row[i]} in message {batch[i]}")
    cdef Views held = Views(buffers)
    cdef RecordBatch* opened = <RecordBatch*>malloc((n + 1) * sizeof(RecordBatch))
    if opened == NULL:
        raise MemoryError(f"not enough memory for {n} record batches")
    try:
        for i in range(n):
            if not 0 <= buffer[i] < held.held:
                raise ValueError(f"message {i} is in no buffer")
            if not 0 <= begin[i] <= end[i] <= held.views[buffer[i]].len:
                raise ValueError(f"message {i} is in no buffer")
        record_batches_open(held, buffer, begin, end, lengths, opened)
        return gather_rows(opened, batch, row)
    finally:
        free(opened)


cdef int record_batches_open(
    Views held, const int64_t[::1] buffer, const int64_t[::1] begin, const int64_t[::1] end,
    const int64_t[::1] lengths, RecordBatch* opened
) except -1:
    cdef Fault fault = no_fault()
    cdef int64_t i
    with nogil:
        for i in range(lengths.shape[0]):
            fault.item = i
            if record_batch_open(
                <const uint8_t*>held.views[buffer[i]].buf + begin[i], end[i] - begin[i],
                lengths[i], &opened[i], &fault
            ):
                break
    if fault.code != FAULT_NONE:
        raise_fault(&fault)
    return 0


cdef gather_rows(const RecordBatch* opened, const int64_t[::1] batch, const int64_t[::1] row):
    cdef int64_t i, k = batch.shape[0]
    cdef int64_t[:, ::1] start = np.zeros((ROW_LISTS, k + 1), np.int64)
    cdef int32_t[::1] coords = np.empty(3 * k + 1, np.int32)
    cdef uint32_t[::1] size = np.empty(k + 1, np.uint32)
    cdef int64_t* starts[ROW_LISTS]
    cdef uint8_t* items[ROW_LISTS]
    for i in range(ROW_LISTS):
        starts[i] = &start[i, 0]
    with nogil:
        for i in range(k):
            record_batch_measure_row(&opened[batch[i]], row[i], &coords[0], &size[0], starts, i)
    cdef uint64_t[::1] labels = np.empty(start[0, k] + 1, np.uint64)
    cdef uint64_t[::1] supervoxels = np.empty(start[1, k] + 1, np.uint64)
    cdef uint8_t[::1] blocks = np.empty(start[2, k] + 1, np.uint8)
    items[0] = <uint8_t*>&labels[0]
    items[1] = <uint8_t*>&supervoxels[0]
    items[2] = &blocks[0]
    with nogil:
        for i in range(k):
            record_batch_copy_row(&opened[batch[i]], row[i], items, starts, i)
    label_start, supervoxel_start, block_start = np.asarray(start)
    return (
        np.asarray(coords)[: 3 * k].reshape(k, 3),
        np.asarray(blocks)[: start[2, k]],
        block_start,
        np.asarray(size)[:k],
        np.asarray(labels)[: start[0, k]],
        label_start,
        np.asarray(supervoxels)[: start[1, k]],
        supervoxel_start,
    )
