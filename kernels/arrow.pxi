# Metadata of an Arrow IPC message: the few fields of `format/Message.fbs` that a walk over a stream
# needs, read from the flatbuffer with every offset checked before it is followed.

cdef int64_t flat_number(FlatBuffer* flat, int64_t at, int width) noexcept nogil:
    """A little-endian number of 1, 2, 4 (unsigned) or 8 (signed) bytes."""
    cdef uint64_t found = 0
    if at < 0 or at > flat.size - width:
        flat.bad = True
        return 0
    memcpy(&found, flat.bytes + at, width)
    return <int64_t>found


cdef int64_t flat_follow(FlatBuffer* flat, int64_t at) noexcept nogil:
    """Where the offset at `at` leads."""
    return at + flat_number(flat, at, 4)


cdef void flat_fields(FlatBuffer* flat, int64_t table, int64_t* fields) noexcept nogil:
    """Positions of a table's first fields; 0 where one is left out."""
    cdef int64_t back = <int32_t>flat_number(flat, table, 4)
    cdef int64_t vtable = table - back
    cdef int64_t entries = (flat_number(flat, vtable, 2) - 4) >> 1
    cdef int64_t offset
    cdef int i
    for i in range(FIELDS):
        offset = flat_number(flat, vtable + 4 + 2 * i, 2) if i < entries else 0
        fields[i] = table + offset if offset else 0


cdef int64_t flat_vector(FlatBuffer* flat, int64_t at, int64_t* count) noexcept nogil:
    """Where the first item of the vector lies that the offset at `at` points to; 0: no vector."""
    cdef int64_t vector
    count[0] = 0
    if at == 0:
        return 0
    vector = flat_follow(flat, at)
    count[0] = flat_number(flat, vector, 4)
    return vector + 4


cdef list flat_pairs(FlatBuffer* flat, int64_t at, int64_t want):
    """The first `want` structs of two i64 in the vector that the offset at `at` points to."""
    cdef int64_t count, i
    cdef int64_t first = flat_vector(flat, at if want else 0, &count)
    cdef list pairs = []
    for i in range(min(want, count)):
        at = first + 16 * i
        pairs.append((flat_number(flat, at, 8), flat_number(flat, at + 8, 8)))
        if flat.bad:
            break
    return pairs


cdef MessageMetadata message_metadata(FlatBuffer* flat) noexcept nogil:
    cdef MessageMetadata message
    cdef int64_t fields[FIELDS]
    memset(&message, 0, sizeof(message))
    flat_fields(flat, flat_follow(flat, 0), fields)
    message.kind = flat_number(flat, fields[HEADER_TYPE], 1) if fields[HEADER_TYPE] else 0
    message.body_bytes = flat_number(flat, fields[BODY_LENGTH], 8) if fields[BODY_LENGTH] else 0
    message.has_header = fields[HEADER] != 0
    if message.has_header and message.kind in (SCHEMA_KIND, RECORD_BATCH_KIND):
        flat_fields(flat, flat_follow(flat, fields[HEADER]), message.header)
    return message


cdef inline int64_t message_rows(FlatBuffer* flat, const MessageMetadata* message) noexcept nogil:
    cdef int64_t at = message.header[BATCH_LENGTH]
    return flat_number(flat, at, 8) if at else 0


cdef inline bint message_is_big_endian(
    FlatBuffer* flat, const MessageMetadata* message
) noexcept nogil:
    cdef int64_t at = message.header[ENDIANNESS]
    return message.kind == SCHEMA_KIND and at != 0 and flat_number(flat, at, 2) != 0


def arrow_metadata(const uint8_t[::1] metadata, int64_t want=0):
    """Read the metadata of an Arrow IPC message.

    Args:
        metadata: the flatbuffer, without prefix and body.
        want: how many of a record batch's first nodes, and twice as many buffers, to read.

    Returns:
        Kind, bytes of the body, rows, whether buffers are compressed, (length, nulls) of nodes,
        (offset, bytes) of buffers; all but the first two only of a record batch.

    Raises:
        KernelError: an offset leads outside, or a schema says that numbers are big-endian.
    """
    cdef FlatBuffer flat
    cdef MessageMetadata message
    cdef int64_t rows = 0
    cdef list nodes = [], buffers = []
    flat.bytes = &metadata[0] if metadata.shape[0] else NO_BYTES
    flat.size = metadata.shape[0]
    flat.bad = False
    message = message_metadata(&flat)
    if message.kind == RECORD_BATCH_KIND:
        rows = message_rows(&flat, &message)
        nodes = flat_pairs(&flat, message.header[BATCH_NODES], want)
        buffers = flat_pairs(&flat, message.header[BATCH_BUFFERS], 2 * want)
    big_endian = message_is_big_endian(&flat, &message)
    if flat.bad:
        raise KernelError("Arrow metadata points outside itself")
    if big_endian:
        raise KernelError("big-endian Arrow data is not supported")
    compressed = message.kind == RECORD_BATCH_KIND and message.header[BATCH_COMPRESSION] != 0
    return message.kind, message.body_bytes, rows, compressed, tuple(nodes), tuple(buffers)
