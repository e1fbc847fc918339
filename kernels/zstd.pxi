# zstd: many frames decompressed in one release of the GIL, by libzstd's own functions.

cdef ZstdFunctions zstd_functions(functions) except *:
    """From their addresses, as `decompress_frames` takes them."""
    cdef ZstdFunctions zstd
    cdef uintptr_t create, decompress, is_error, error_name, release
    create, decompress, is_error, error_name, release = functions
    zstd.create, zstd.decompress = <ZstdCreate>create, <ZstdDecompress>decompress
    zstd.is_error, zstd.error_name = <ZstdIsError>is_error, <ZstdErrorName>error_name
    zstd.release = <ZstdFree>release
    return zstd


cdef int zstd_decompress(
    const ZstdFunctions* zstd, void* context, const uint8_t* frame, size_t size,
    uint8_t* out, size_t expected, Fault* fault
) noexcept nogil:
    """One frame, which must give as many bytes as expected."""
    cdef size_t found = zstd.decompress(context, out, expected, frame, size)
    if found == expected:
        return 0
    if not zstd.is_error(found):
        return fail(fault, FAULT_FRAME_SIZE, expected, found)
    fault.detail = zstd.error_name(found)    # a constant of the library
    return fail(fault, FAULT_FRAME_DAMAGED, expected, found)


cdef int zstd_decompress_all(
    const ZstdFunctions* zstd, void* context, const uint8_t* frames,
    const int64_t* begin, const int64_t* end, uint8_t* out, const int64_t* start, size_t k,
    Fault* fault
) noexcept nogil:
    cdef size_t i
    for i in range(k):
        fault.item = <int64_t>i
        if zstd_decompress(
            zstd, context, frames + begin[i], <size_t>(end[i] - begin[i]),
            out + start[i], <size_t>(start[i + 1] - start[i]), fault
        ):
            return -1
    return 0


cdef int zstd_check_frames(
    const int64_t* begin, const int64_t* end, size_t k, int64_t size, Fault* fault
) noexcept nogil:
    cdef size_t i
    for i in range(k):
        if begin[i] < 0 or end[i] < begin[i] or end[i] > size:
            fault.item = <int64_t>i
            return fail(fault, FAULT_FRAME_OUTSIDE, 0, 0)
    return 0


def decompress_frames(
    const uint8_t[::1] frames not None, const int64_t[::1] begin not None,
    const int64_t[::1] end not None, const int64_t[::1] start not None,
    uint8_t[::1] out not None, functions
):
    """Decompress zstd frames whose sizes are known.

    Args:
        frames: holds them.
        begin, end: (k,) byte offsets; frame i is frames[begin[i]:end[i]].
        start: (k + 1,) byte offsets into `out`; frame i must fill out[start[i]:start[i + 1]].
        out: written.
        functions: addresses of ZSTD_createDCtx, ZSTD_decompressDCtx, ZSTD_isError,
            ZSTD_getErrorName and ZSTD_freeDCtx (zstd.h).

    Raises:
        FrameError: frame `.item` is damaged or has another size.
        KernelError: a frame lies outside `frames`, or a start outside `out`.
        MemoryError: not enough for libzstd's context.
    """
    cdef ZstdFunctions zstd = zstd_functions(functions)
    cdef size_t k = <size_t>begin.shape[0]
    cdef Fault fault = no_fault()
    cdef void* context
    cdef int failed
    if end.shape[0] != begin.shape[0]:
        raise KernelError(f"frames: {k} begins and {end.shape[0]} ends")
    check_starts(start, k, out.shape[0], "out")
    if k == 0:
        return
    if zstd_check_frames(&begin[0], &end[0], k, frames.shape[0], &fault):
        raise_fault(&fault)
    context = zstd.create()
    if context == NULL:
        raise MemoryError("not enough memory to decompress")
    with nogil:
        failed = zstd_decompress_all(
            &zstd, context, &frames[0] if frames.shape[0] else NO_BYTES, &begin[0], &end[0],
            &out[0] if out.shape[0] else NO_BYTES, &start[0], k, &fault)
        zstd.release(context)
    if failed:
        raise_fault(&fault)
