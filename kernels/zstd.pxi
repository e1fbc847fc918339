# Many zstd frames to blocks in one release of the GIL, by libzstd's own functions.

ctypedef void* (*ZstdCreate)() noexcept nogil
ctypedef size_t (*ZstdDecompress)(void* context, void* out, size_t room, const void* frame, size_t size) noexcept nogil
ctypedef unsigned int (*ZstdIsError)(size_t code) noexcept nogil
ctypedef const char* (*ZstdErrorName)(size_t code) noexcept nogil
ctypedef size_t (*ZstdFree)(void* context) noexcept nogil


# libzstd's functions, as its header declares them.
cdef struct Zstd:
    ZstdCreate create
    ZstdDecompress decompress
    ZstdIsError is_error
    ZstdErrorName error_name
    ZstdFree release


cdef Zstd make_zstd(functions) except *:
    """From their addresses, as `unzip_frames` takes them."""
    cdef Zstd zstd
    cdef uintptr_t create, decompress, is_error, error_name, release
    create, decompress, is_error, error_name, release = functions
    zstd.create, zstd.decompress = <ZstdCreate>create, <ZstdDecompress>decompress
    zstd.is_error, zstd.error_name = <ZstdIsError>is_error, <ZstdErrorName>error_name
    zstd.release = <ZstdFree>release
    return zstd


# What a frame is blamed for that gave `found` (a size, or libzstd's code) for `expected` bytes.
cdef object frame_error(const Zstd* zstd, uint64_t expected, uint64_t found, int64_t item):
    if zstd.is_error(found):
        return FrameError((<bytes>zstd.error_name(found)).decode(), item)
    return FrameError(f"it holds {found} bytes, expected {expected}", item)


# Decompresses frame after frame; the index of the first that gives other than its size, k if none
# does. `code` is what libzstd said of it.
cdef size_t unzip_run(
    const Zstd* zstd, void* context, const uint8_t* frames, const int64_t* begin, const int64_t* end,
    uint8_t* out, const int64_t* start, size_t k, size_t* code
) noexcept nogil:
    cdef size_t i
    for i in range(k):
        code[0] = zstd.decompress(
            context, out + start[i], <size_t>(start[i + 1] - start[i]),
            frames + begin[i], <size_t>(end[i] - begin[i]))
        if code[0] != <size_t>(start[i + 1] - start[i]):
            return i
    return k


# The first frame that is no part of the data; k if there is none.
cdef size_t stray_frame(const int64_t* begin, const int64_t* end, size_t k, int64_t size) noexcept nogil:
    cdef size_t i
    for i in range(k):
        if begin[i] < 0 or end[i] < begin[i] or end[i] > size:
            return i
    return k


def unzip_frames(
    const uint8_t[::1] frames not None, const int64_t[::1] begin not None,
    const int64_t[::1] end not None, const int64_t[::1] start not None,
    uint8_t[::1] out not None, functions
):
    """Decompress zstd frames whose sizes are known.

    Args:
        frames: holds them.
        begin, end: (k,) byte offsets; frame i is frames[begin[i]:end[i]].
        start: (k + 1,) byte offsets into `out`, where each shall go; it must fill its place.
        out: written.
        functions: addresses of ZSTD_createDCtx, ZSTD_decompressDCtx, ZSTD_isError,
            ZSTD_getErrorName and ZSTD_freeDCtx (zstd.h).

    Raises:
        FrameError: frame `.item` is damaged, or is not as long as its place.
        KernelError: frames or places are not where they are said to be.
        MemoryError: there is none for libzstd's context.
    """
    cdef Zstd zstd = make_zstd(functions)
    cdef size_t k = <size_t>begin.shape[0]
    cdef size_t failed, code = 0
    cdef void* context
    if end.shape[0] != begin.shape[0]:
        raise KernelError(f"frames: {k} begins and {end.shape[0]} ends")
    check_starts(start, k, out.shape[0], "places")
    if k == 0:
        return
    failed = stray_frame(&begin[0], &end[0], k, frames.shape[0])
    if failed < k:
        raise KernelError("the frame is no part of the data", failed)
    context = zstd.create()
    if context == NULL:
        raise MemoryError("not enough memory to decompress")
    with nogil:
        failed = unzip_run(
            &zstd, context, &frames[0] if frames.shape[0] else NO_BYTES, &begin[0], &end[0],
            &out[0] if out.shape[0] else NO_BYTES, &start[0], k, &code)
        zstd.release(context)
    if failed < k:
        raise frame_error(&zstd, <uint64_t>(start[failed + 1] - start[failed]), code, failed)
