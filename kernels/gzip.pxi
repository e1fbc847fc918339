# Many chunks to gzip members in one release of the GIL, by libdeflate's own functions: a call per
# chunk would take the GIL each time, and threads would wait for one another.

ctypedef void* (*AllocCompressor)(int level) noexcept nogil
ctypedef size_t (*GzipCompress)(void* compressor, const void* data, size_t size, void* out, size_t room) noexcept nogil
ctypedef size_t (*GzipBound)(void* compressor, size_t size) noexcept nogil
ctypedef void (*FreeCompressor)(void* compressor) noexcept nogil

cdef enum:
    GZIP_SCRATCH_BYTES = 1 << 20  # of members before they become bytes objects


cdef struct Gzip:
    void* compressor
    GzipCompress compress
    GzipBound bound
    uint8_t* scratch
    size_t room
    size_t* sizes        # of each member


cdef int64_t gzip_run(Gzip* gzip, Views held, int64_t first) noexcept nogil:
    """Compress chunks from `first` on while the scratch has room; returns the first not taken."""
    cdef size_t used = 0
    cdef int64_t i = first
    while i < held.held and gzip.bound(gzip.compressor, held.views[i].len) <= gzip.room - used:
        gzip.sizes[i] = gzip.compress(
            gzip.compressor, held.views[i].buf, held.views[i].len,
            gzip.scratch + used, gzip.room - used)
        used += gzip.sizes[i]
        i += 1
    return i


cdef list gzip_all(Gzip* gzip, Views held):
    cdef int64_t i, first = 0, end
    cdef size_t at
    cdef list members = []
    while first < held.held:
        with nogil:
            end = gzip_run(gzip, held, first)
        at = 0
        for i in range(first, end):
            if gzip.sizes[i] == 0:
                raise RuntimeError("libdeflate refused a buffer of the size that it asked for")
            members.append(PyBytes_FromStringAndSize(<char*>gzip.scratch + at, gzip.sizes[i]))
            at += gzip.sizes[i]
        first = end
    return members


def gzip_chunks(chunks, int level, functions):
    """Compress each chunk to a gzip member of its own.

    Args:
        chunks: buffers.
        level: libdeflate's, 0 to 12.
        functions: addresses of libdeflate_alloc_compressor, libdeflate_gzip_compress,
            libdeflate_gzip_compress_bound and libdeflate_free_compressor (libdeflate.h).

    Returns:
        Members as bytes, in order.

    Raises:
        MemoryError: there is none for the compressor or its output.
    """
    cdef Views held = Views(chunks)
    cdef uintptr_t alloc, compress, bound, release
    alloc, compress, bound, release = functions
    cdef Gzip gzip
    cdef int64_t i
    gzip.compress, gzip.bound = <GzipCompress>compress, <GzipBound>bound
    gzip.scratch, gzip.sizes = NULL, NULL
    gzip.compressor = (<AllocCompressor>alloc)(level)
    if gzip.compressor == NULL:
        raise MemoryError(f"no compressor of level {level}")
    try:
        gzip.room = GZIP_SCRATCH_BYTES
        for i in range(held.held):
            gzip.room = max(gzip.room, gzip.bound(gzip.compressor, held.views[i].len))
        gzip.scratch = <uint8_t*>malloc(gzip.room)
        gzip.sizes = <size_t*>malloc((held.held + 1) * sizeof(size_t))
        if gzip.scratch == NULL or gzip.sizes == NULL:
            raise MemoryError(f"not enough memory for {gzip.room} bytes of members")
        return gzip_all(&gzip, held)
    finally:
        free(gzip.scratch)
        free(gzip.sizes)
        (<FreeCompressor>release)(gzip.compressor)
