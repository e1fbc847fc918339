# Bytes: unaligned reads, and buffers and arrays that Python hands in.

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


cdef int check_starts(const int64_t[::1] start, size_t k, size_t size, str name) except -1:
    """k + 1 starts must ascend within an array of `size` entries."""
    cdef size_t i
    if <size_t>start.shape[0] != k + 1:
        raise KernelError(f"{name}: expected {k + 1} starts, found {start.shape[0]}")
    if start[0] < 0 or <uint64_t>start[k] > size:
        raise KernelError(
            f"{name}: expected starts within 0 and {size}, found {start[0]} and {start[k]}")
    for i in range(k):
        if start[i] > start[i + 1]:
            raise KernelError(
                f"{name}: expected ascending starts, found {start[i]} before {start[i + 1]}", i)
    return 0


cdef class Views:
    """Buffers held while nogil code reads them; None is a buffer at NULL."""

    cdef Py_buffer* views
    cdef Py_ssize_t held

    def __cinit__(self, buffers):
        self.held = 0
        self.views = <Py_buffer*>calloc(len(buffers) + 1, sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError(f"not enough memory for a batch of {len(buffers)} buffers")
        for buffer in buffers:
            if buffer is not None:
                PyObject_GetBuffer(buffer, &self.views[self.held], PyBUF_SIMPLE)
            self.held += 1

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])  # of NULL: nothing happens
        free(self.views)
