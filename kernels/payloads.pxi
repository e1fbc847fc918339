# Payloads of a shard from rows of an export, a chunk at a time: frame -> block -> chunk -> gzip
# member. Intermediate results stay in a core's cache, and the threads that share a batch take its
# chunks in turns, so that they end together.

cdef int buffer_reserve(Buffer* buffer, size_t size, Fault* fault) noexcept nogil:
    if size <= buffer.room:
        return 0
    free(buffer.data)
    buffer.data = <uint8_t*>malloc(size)
    buffer.room = 0 if buffer.data == NULL else size
    return 0 if buffer.room else fail(fault, FAULT_MEMORY, size, 0)


cdef int thread_scratch_make(
    ThreadScratch* thread, const PayloadCodecs* codecs, Fault* fault
) noexcept nogil:
    memset(thread, 0, sizeof(ThreadScratch))
    thread.zstd = codecs.zstd.create()
    if thread.zstd == NULL:
        return fail(fault, FAULT_CODEC, 0, 0)
    if codecs.gzip.compress != NULL:
        thread.compressor = codecs.gzip.create(codecs.level)
        if thread.compressor == NULL:
            return fail(fault, FAULT_CODEC, 0, 0)
    return cseg_writer_make(&thread.writer, SUBBLOCK_LABELS, 2, fault)


cdef void thread_scratch_free(ThreadScratch* thread, const PayloadCodecs* codecs) noexcept nogil:
    if thread.zstd != NULL:
        codecs.zstd.release(thread.zstd)
    if thread.compressor != NULL:
        codecs.gzip.release(thread.compressor)
    free(thread.block.data)
    free(thread.chunk.data)
    free(thread.member.data)
    label_scratch_free(&thread.labels)
    cseg_writer_free(&thread.writer)


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


# Adds the time since `began` to a step; returns the time now.
cdef inline int64_t time_spend(int64_t* spent_ns, int step, int64_t began) noexcept nogil:
    cdef int64_t now = now_ns()
    spent_ns[step] += now - began
    return now


# The row's block, in thread.block.
cdef int payload_decompress(
    const PayloadInput* input, size_t row, const PayloadCodecs* codecs, ThreadScratch* thread,
    Fault* fault
) noexcept nogil:
    cdef size_t size = input.sizes[row]
    cdef int64_t begin = input.frame_start[row], end = input.frame_start[row + 1]
    if buffer_reserve(&thread.block, size + 1, fault):
        return -1
    return zstd_decompress(
        &codecs.zstd, thread.zstd, input.frames + begin, <size_t>(end - begin),
        thread.block.data, size, fault)


# Bytes of the row's chunk in thread.chunk; 0 if it is all zeros, -1 on a fault.
cdef int64_t payload_transcode(
    const PayloadInput* input, size_t row, ThreadScratch* thread, uint32_t* labels, Fault* fault
) noexcept nogil:
    cdef Block block
    cdef LabelMap label_map
    if block_open(thread.block.data, input.sizes[row], 8, 8, 8, &block, fault):
        return -1
    if label_map_at(&input.label_maps, row, &label_map, fault):
        return -1
    if buffer_reserve(&thread.chunk, 4 * block.most_words, fault):
        return -1
    return transcode_block(
        &block, &label_map, &thread.labels, &thread.writer, thread.chunk.data, labels, fault)


# Stores a chunk as payload, compressed if there is a compressor.
cdef int payload_store(
    const GzipFunctions* gzip, void* compressor, Buffer* member, const uint8_t* data, int64_t size,
    Payload* payload, Fault* fault
) noexcept nogil:
    cdef size_t room
    if size and compressor != NULL:
        room = gzip.bound(compressor, <size_t>size)
        if buffer_reserve(member, room, fault):
            return -1
        size = <int64_t>gzip.compress(compressor, data, <size_t>size, member.data, room)
        if size == 0:
            return fail(fault, FAULT_GZIP_BOUND, room, 0)
        data = member.data
    if size == 0:
        return 0
    payload.data = <uint8_t*>malloc(<size_t>size)
    if payload.data == NULL:
        return fail(fault, FAULT_MEMORY, <uint64_t>size, 0)
    memcpy(payload.data, data, <size_t>size)
    payload.size = size
    return 0


cdef void payloads_free(Payload* payloads, size_t k) noexcept nogil:
    cdef size_t i
    if payloads != NULL:
        for i in range(k):
            free(payloads[i].data)
        free(payloads)


cdef payloads_join(const Payload* payloads, size_t k, const int64_t* spent_ns):
    """Payloads of a batch, one after another."""
    cdef size_t i
    cdef int64_t[::1] start = np.zeros(k + 1, np.int64)
    cdef uint32_t[::1] labels = np.zeros(k, np.uint32)
    for i in range(k):
        start[i + 1] = start[i] + payloads[i].size
        labels[i] = payloads[i].labels
    cdef bytes data = PyBytes_FromStringAndSize(NULL, start[k])
    cdef char* out = data
    for i in range(k):
        if payloads[i].size:
            memcpy(out + start[i], payloads[i].data, <size_t>payloads[i].size)
    seconds = tuple([spent_ns[i] / 1e9 for i in range(STEPS)])
    return Payloads(data, np.asarray(start), np.asarray(labels), seconds)


cdef int payload_make(
    const PayloadInput* input, const PayloadCodecs* codecs, size_t i, ThreadScratch* thread,
    Payload* payload, Fault* fault
) noexcept nogil:
    cdef size_t row = <size_t>input.rows[i]
    cdef int64_t now = now_ns()
    cdef int64_t size
    cdef int failed
    fault.item = <int64_t>i
    failed = payload_decompress(input, row, codecs, thread, fault)
    now = time_spend(thread.spent_ns, 0, now)
    if failed:
        return -1
    size = payload_transcode(input, row, thread, &payload.labels, fault)
    now = time_spend(thread.spent_ns, 1, now)
    if size < 0:
        return -1
    failed = payload_store(
        &codecs.gzip, thread.compressor, &thread.member, thread.chunk.data, size, payload, fault)
    time_spend(thread.spent_ns, 2, now)
    return failed


# Takes chunks from a batch until none is left or one fails; then no thread takes another. As chunks
# are taken by ascending number, the first that fails does not depend on the threads.
cdef void payloads_make_all(
    const PayloadInput* input, const PayloadCodecs* codecs, int64_t* next_chunk,
    ThreadScratch* thread, Payload* payloads, Fault* fault
) noexcept nogil:
    cdef int64_t i
    while True:
        i = __atomic_fetch_add(next_chunk, 1, __ATOMIC_RELAXED)
        if i >= <int64_t>input.k:
            return
        if payload_make(input, codecs, <size_t>i, thread, &payloads[i], fault):
            __atomic_store_n(next_chunk, <int64_t>input.k, __ATOMIC_RELAXED)
            return


class Payloads(NamedTuple):
    """Payloads of a batch.

    Attributes:
        data: the payloads, one after another.
        start: (k + 1,) int64; payload i is data[start[i]:start[i + 1]], without bytes for zeros.
        labels: (k,) uint32, distinct labels of each chunk, as in `Transcoded`.
        seconds: spent on decompress, transcode and gzip, summed over threads.
    """

    data: bytes
    start: object
    labels: object
    seconds: tuple


cdef class PayloadBatch:
    """Rows that several threads turn into payloads together: whole 64 x 64 x 64 chunks.

    Args:
        rows: (k,) the rows, in the order of their chunks.
        frames, frame_start: zstd frames; row r's is frames[frame_start[r]:frame_start[r + 1]].
        sizes: bytes of each row's block, which are allocated; so they must have been checked.
        zstd: addresses of functions, as in `decompress_frames`.
        gzip: addresses of functions, as in `gzip_chunks`; None keeps chunks as they are.
        level: libdeflate's, 0 to 12.
        labels, label_start, supervoxels, supervoxel_start: the rows' mappings, as in
            `decode_blocks`.

    Raises:
        KernelError: a row or a start lies outside its array.
    """

    cdef PayloadInput input
    cdef PayloadCodecs codecs
    cdef Payload* payloads
    cdef int64_t next_chunk
    cdef int64_t spent_ns[STEPS]
    cdef Fault fault
    cdef object held

    def __cinit__(
        self, const int64_t[::1] rows not None,
        const uint8_t[::1] frames not None, const int64_t[::1] frame_start not None,
        const uint32_t[::1] sizes not None,
        zstd, gzip, int level,
        const uint64_t[::1] labels=None, const int64_t[::1] label_start=None,
        const uint64_t[::1] supervoxels=None, const int64_t[::1] supervoxel_start=None
    ):
        cdef size_t i
        cdef size_t n = sizes.shape[0], k = rows.shape[0]
        self.held = (
            rows, frames, frame_start, sizes, labels, label_start, supervoxels, supervoxel_start)
        self.fault = no_fault()
        self.codecs.zstd, self.codecs.level = zstd_functions(zstd), level
        if gzip is not None:
            self.codecs.gzip = gzip_functions(gzip)
        check_starts(frame_start, n, frames.shape[0], "frames")
        self.input.label_maps = label_maps_make(
            n, labels, label_start, supervoxels, supervoxel_start)
        for i in range(k):
            if not 0 <= rows[i] < <int64_t>n:
                raise KernelError(f"rows: expected 0 to {n} - 1, found {rows[i]}", i)
        self.input.frames = &frames[0] if frames.shape[0] else NO_BYTES
        self.input.frame_start = &frame_start[0]
        if k:
            self.input.rows, self.input.sizes = &rows[0], &sizes[0]
        self.payloads = <Payload*>calloc(k + 1, sizeof(Payload))
        if self.payloads == NULL:
            raise MemoryError(f"not enough memory for a batch of {k} chunks")
        self.input.k = k

    def __dealloc__(self):
        payloads_free(self.payloads, self.input.k)

    def work(self):
        """Make chunks until none is left; any number of threads may do so at the same time."""
        cdef ThreadScratch thread
        cdef Fault fault = no_fault()
        cdef int step
        if __atomic_load_n(&self.next_chunk, __ATOMIC_RELAXED) >= <int64_t>self.input.k:
            return
        with nogil:
            if thread_scratch_make(&thread, &self.codecs, &fault) == 0:
                payloads_make_all(
                    &self.input, &self.codecs, &self.next_chunk, &thread, self.payloads, &fault)
            thread_scratch_free(&thread, &self.codecs)
        # The GIL guards this merge: `spent_ns` and `fault` are shared between threads and have no
        # lock. A free-threaded Python enables the GIL for this module, as it does not declare
        # `freethreading_compatible`; before it does, the merge needs a lock.
        for step in range(STEPS):
            self.spent_ns[step] += thread.spent_ns[step]
        if fault.code == FAULT_NONE:
            return
        self.stop()
        if self.fault.code == FAULT_NONE or fault.item < self.fault.item:
            self.fault = fault

    def stop(self):
        """Cancel the chunks that no thread has taken yet."""
        __atomic_store_n(&self.next_chunk, <int64_t>self.input.k, __ATOMIC_RELAXED)

    def result(self):
        """The payloads, after every `work` has returned.

        Raises:
            FrameError: the frame of chunk `.item` is damaged or has another size.
            KernelError: its block is damaged.
            MemoryError: not enough for a chunk, or for a library's context.
        """
        if self.fault.code != FAULT_NONE:
            raise_fault(&self.fault)
        return payloads_join(self.payloads, self.input.k, self.spent_ns)
