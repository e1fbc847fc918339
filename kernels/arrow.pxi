# Metadata of an Arrow message: the few fields of `format/Message.fbs` that a walk over a stream
# needs, read from the flatbuffer with every offset checked before it is followed.

# Field numbers in Message.fbs, and how many of a table's fields are looked at.
cdef enum:
    HEADER_TYPE = 1
    HEADER = 2
    BODY_LENGTH = 3
    BATCH_LENGTH = 0
    BATCH_NODES = 1
    BATCH_BUFFERS = 2
    BATCH_COMPRESSION = 3
    FIELDS = 4
    SCHEMA_KIND = 1
    RECORD_BATCH_KIND = 3
    ENDIANNESS = 0  # of a schema


cdef struct Flat:
    const uint8_t* bytes
    int64_t size
    bint bad  # an offset led outside; numbers read since then are 0


cdef int64_t flat_number(Flat* flat, int64_t at, int width) noexcept nogil:
    """A little-endian number of 1, 2, 4 (unsigned) or 8 (signed) bytes."""
    cdef uint64_t found = 0
    if at < 0 or at > flat.size - width:
        flat.bad = True
        return 0
    memcpy(&found, flat.bytes + at, width)
    return <int64_t>found


cdef int64_t flat_follow(Flat* flat, int64_t at) noexcept nogil:
    """Where the offset at `at` leads."""
    return at + flat_number(flat, at, 4)


cdef void flat_fields(Flat* flat, int64_t table, int64_t* fields) noexcept nogil:
    """Positions of a table's first fields; 0 where one is left out."""
    cdef int64_t back = <int32_t>flat_number(flat, table, 4)
    cdef int64_t vtable = table - back
    cdef int64_t entries = (flat_number(flat, vtable, 2) - 4) >> 1
    cdef int64_t offset
    cdef int i
    for i in range(FIELDS):
        offset = flat_number(flat, vtable + 4 + 2 * i, 2) if i < entries else 0
        fields[i] = table + offset if offset else 0


cdef list flat_pairs(Flat* flat, int64_t at, int64_t want):
    """The first `want` structs of two i64 in the vector that the offset at `at` points to."""
    cdef int64_t vector, first, i
    cdef list pairs = []
    if at == 0 or want == 0:
        return pairs
    vector = flat_follow(flat, at)
    for i in range(min(want, flat_number(flat, vector, 4))):
        first = vector + 4 + 16 * i
        pairs.append((flat_number(flat, first, 8), flat_number(flat, first + 8, 8)))
        if flat.bad:
            break
    return pairs


def arrow_metadata(const uint8_t[::1] metadata, int64_t want=0):
    """What a message's metadata says of it.

    Args:
        metadata: the flatbuffer, without prefix and body.
        want: how many of a record batch's first nodes, and twice as many buffers, to read.

    Returns:
        Kind, bytes of the body, rows, whether buffers are compressed, (length, nulls) of nodes,
        (offset, bytes) of buffers; all but the first two only of a record batch.

    Raises:
        KernelError: an offset leads outside, or a schema says that numbers are big-endian.
    """
    cdef Flat flat
    cdef int64_t message[FIELDS]
    cdef int64_t batch[FIELDS]
    cdef int64_t kind, body_bytes, rows = 0
    flat.bytes = &metadata[0] if metadata.shape[0] else NO_BYTES
    flat.size = metadata.shape[0]
    flat.bad = False
    flat_fields(&flat, flat_follow(&flat, 0), message)
    kind = flat_number(&flat, message[HEADER_TYPE], 1) if message[HEADER_TYPE] else 0
    body_bytes = flat_number(&flat, message[BODY_LENGTH], 8) if message[BODY_LENGTH] else 0
    memset(batch, 0, sizeof(batch))
    if (kind == RECORD_BATCH_KIND or kind == SCHEMA_KIND) and message[HEADER]:
        flat_fields(&flat, flat_follow(&flat, message[HEADER]), batch)
    if kind == SCHEMA_KIND:
        big_endian = batch[ENDIANNESS] and flat_number(&flat, batch[ENDIANNESS], 2)
        memset(batch, 0, sizeof(batch))
        if big_endian and not flat.bad:
            raise KernelError("big-endian Arrow data is not supported")
    elif kind == RECORD_BATCH_KIND:
        rows = flat_number(&flat, batch[BATCH_LENGTH], 8) if batch[BATCH_LENGTH] else 0
    nodes = flat_pairs(&flat, batch[BATCH_NODES], want)
    buffers = flat_pairs(&flat, batch[BATCH_BUFFERS], 2 * want)
    if flat.bad:
        raise KernelError("Arrow metadata points outside itself")
    return kind, body_bytes, rows, batch[BATCH_COMPRESSION] != 0, tuple(nodes), tuple(buffers)
