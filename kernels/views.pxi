# Buffers of Python objects for nogil code.

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
