# gzip: many chunks compressed in one release of the GIL, by libdeflate's own functions. A call per
# chunk would take the GIL each time, and threads would wait for one another.

cdef GzipFunctions gzip_functions(functions) except *:
    """From their addresses, as `gzip_chunks` takes them."""
    cdef GzipFunctions gzip
    cdef uintptr_t create, compress, bound, release
    create, compress, bound, release = functions
    gzip.create, gzip.compress = <AllocCompressor>create, <GzipCompress>compress
    gzip.bound, gzip.release = <GzipBound>bound, <FreeCompressor>release
    return gzip


# Bytes that the members can have at most.
cdef size_t gzip_room(
    const GzipFunctions* gzip, void* compressor, const int64_t* start, size_t k
) noexcept nogil:
    cdef size_t i
    cdef size_t room = 0
    for i in range(k):
        room += gzip.bound(compressor, <size_t>(start[i + 1] - start[i]))
    return room


# Writes the members and where each begins; -1 if one does not fit, which its bound rules out.
cdef int gzip_compress_all(
    const GzipFunctions* gzip, void* compressor, const uint8_t* data, const int64_t* start,
    size_t k, uint8_t* out, size_t room, int64_t* out_start
) noexcept nogil:
    cdef size_t i, size
    out_start[0] = 0
    for i in range(k):
        size = gzip.compress(
            compressor, data + start[i], <size_t>(start[i + 1] - start[i]),
            out + out_start[i], room - <size_t>out_start[i])
        if size == 0:
            return -1
        out_start[i + 1] = out_start[i] + <int64_t>size
    return 0


cdef bytes gzip_members(
    const GzipFunctions* gzip, void* compressor, const uint8_t* data, const int64_t* start,
    size_t k, int64_t* out_start
):
    cdef size_t room = gzip_room(gzip, compressor, start, k)
    cdef int failed
    cdef uint8_t* out = <uint8_t*>malloc(room + 1)
    if out == NULL:
        raise MemoryError(f"not enough memory for {room} bytes of members")
    try:
        with nogil:
            failed = gzip_compress_all(gzip, compressor, data, start, k, out, room, out_start)
        if failed:
            raise RuntimeError("libdeflate refused a buffer of the size that it asked for")
        return PyBytes_FromStringAndSize(<char*>out, out_start[k])
    finally:
        free(out)


def gzip_chunks(
    const uint8_t[::1] data not None, const int64_t[::1] start not None, int level, functions
):
    """Compress each chunk to a gzip member of its own.

    Args:
        data: the chunks.
        start: (k + 1,) byte offsets; chunk i is data[start[i]:start[i + 1]].
        level: libdeflate's, 0 to 12.
        functions: addresses of libdeflate_alloc_compressor, libdeflate_gzip_compress,
            libdeflate_gzip_compress_bound and libdeflate_free_compressor (libdeflate.h).

    Returns:
        Members one after another, and the (k + 1,) int64 offsets of each.

    Raises:
        KernelError: a chunk lies outside the data.
        MemoryError: not enough for the compressor or its output.
    """
    cdef GzipFunctions gzip = gzip_functions(functions)
    cdef void* compressor
    cdef int64_t[::1] out_start = np.zeros(max(start.shape[0], 1), np.int64)
    if start.shape[0] < 2:
        return b"", np.asarray(out_start)
    check_starts(start, <size_t>start.shape[0] - 1, data.shape[0], "chunks")
    compressor = gzip.create(level)
    if compressor == NULL:
        raise MemoryError(f"no compressor of level {level}")
    try:
        members = gzip_members(
            &gzip, compressor, &data[0] if data.shape[0] else NO_BYTES,
            &start[0], <size_t>start.shape[0] - 1, &out_start[0])
    finally:
        gzip.release(compressor)
    return members, np.asarray(out_start)


# ---------------------------------------------------------------- decompress

cdef GunzipFunctions gunzip_functions(functions) except *:
    """From their addresses, as `gunzip_chunks` takes them."""
    cdef GunzipFunctions gunzip
    cdef uintptr_t create, decompress, release
    create, decompress, release = functions
    gunzip.create, gunzip.decompress = <AllocDecompressor>create, <GzipDecompress>decompress
    gunzip.release = <FreeDecompressor>release
    return gunzip


# Decompresses member after member, each to its expected size: as `made` is NULL, libdeflate
# refuses any other.
cdef int gunzip_all(
    void* decompressor, GzipDecompress decompress, Views members, uint8_t* out,
    const int64_t* start, size_t k, Fault* fault
) noexcept nogil:
    cdef size_t i, size
    for i in range(k):
        size = <size_t>(start[i + 1] - start[i])
        if decompress(
            decompressor, members.views[i].buf, <size_t>members.views[i].len,
            out + start[i], size, NULL
        ):
            fault.item = <int64_t>i
            return fail(fault, FAULT_GZIP_MEMBER, size, 0)
    return 0


def gunzip_chunks(members, const int64_t[::1] start not None, uint8_t[::1] out not None, functions):
    """Decompress gzip members whose sizes are known.

    Args:
        members: k buffers.
        start: (k + 1,) byte offsets into `out`; member i must fill out[start[i]:start[i + 1]].
        out: written.
        functions: addresses of libdeflate_alloc_decompressor, libdeflate_gzip_decompress and
            libdeflate_free_decompressor (libdeflate.h).

    Raises:
        KernelError: member `.item` is damaged or has another size; or a start lies outside `out`.
        MemoryError: not enough for the decompressor.
    """
    cdef GunzipFunctions gunzip = gunzip_functions(functions)
    cdef Views held = Views(members)
    cdef size_t k = <size_t>held.held
    cdef Fault fault = no_fault()
    cdef void* decompressor
    cdef int failed
    check_starts(start, k, out.shape[0], "out")
    if k == 0:
        return
    decompressor = gunzip.create()
    if decompressor == NULL:
        raise MemoryError("not enough memory to decompress")
    with nogil:
        failed = gunzip_all(
            decompressor, gunzip.decompress, held,
            &out[0] if out.shape[0] else NO_BYTES, &start[0], k, &fault)
        gunzip.release(decompressor)
    if failed:
        raise_fault(&fault)
