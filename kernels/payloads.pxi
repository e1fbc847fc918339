# Rows of an export to the payloads of a shard, a chunk at a time: frame -> block -> chunk -> gzip
# member. What lies between stays in a core's cache, and the threads that share a batch take its
# chunks in turns, so that they end together.

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* now)

cdef extern from * nogil:
    int __ATOMIC_RELAXED
    int64_t __atomic_fetch_add(int64_t* at, int64_t by, int order)
    int64_t __atomic_load_n(int64_t* at, int order)
    void __atomic_store_n(int64_t* at, int64_t value, int order)

cdef enum:
    STEPS = 3                # unzip, transcode, gzip

# What a batch is made of, checked; all of it outlives the batch.
cdef struct Source:
    size_t k
    const int64_t* rows      # int64[k]; chunk i is made of this row
    const uint8_t* frames
    const int64_t* frame_start
    const uint32_t* sizes    # of the blocks, as told
    Mappings mappings

# The packages' functions; without those of libdeflate chunks are stored as they are.
cdef struct Tools:
    Zstd zstd
    Gzip gzip
    int level

# A payload, with memory of its own.
cdef struct Payload:
    uint8_t* data
    int64_t size
    uint32_t labels

# Memory that grows; what it held is gone then.
cdef struct Scratch:
    uint8_t* data
    size_t room

# What a thread works with.
cdef struct Hand:
    void* zstd
    void* compressor
    Scratch block
    Scratch chunk
    Scratch member
    Tables tables
    CsegWriter writer
    int64_t spent_ns[STEPS]


cdef int scratch_reserve(Scratch* scratch, size_t size, Fault* fault) noexcept nogil:
    if size <= scratch.room:
        return 0
    free(scratch.data)
    scratch.data = <uint8_t*>malloc(size)
    scratch.room = 0 if scratch.data == NULL else size
    return 0 if scratch.room else fail(fault, FAULT_MEMORY, size, 0)


cdef int hand_make(Hand* hand, const Tools* tools, Fault* fault) noexcept nogil:
    memset(hand, 0, sizeof(Hand))
    hand.zstd = tools.zstd.create()
    if hand.zstd == NULL:
        return fail(fault, FAULT_TOOLS, 0, 0)
    if tools.gzip.compress != NULL:
        hand.compressor = tools.gzip.create(tools.level)
        if hand.compressor == NULL:
            return fail(fault, FAULT_TOOLS, 0, 0)
    return writer_make(&hand.writer, CELL_LABELS, 2, fault)


cdef void hand_free(Hand* hand, const Tools* tools) noexcept nogil:
    if hand.zstd != NULL:
        tools.zstd.release(hand.zstd)
    if hand.compressor != NULL:
        tools.gzip.release(hand.compressor)
    free(hand.block.data)
    free(hand.chunk.data)
    free(hand.member.data)
    tables_free(&hand.tables)
    writer_free(&hand.writer)


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


# Adds the time since `began` to a step, and says what time it is.
cdef inline int64_t spend(Hand* hand, int step, int64_t began) noexcept nogil:
    cdef int64_t now = now_ns()
    hand.spent_ns[step] += now - began
    return now


# The row's block, in hand.block.
cdef int unzip_row(const Source* source, size_t row, const Tools* tools, Hand* hand, Fault* fault) noexcept nogil:
    cdef size_t code, size = source.sizes[row]
    cdef const uint8_t* frame = source.frames + source.frame_start[row]
    if scratch_reserve(&hand.block, size + 1, fault):
        return -1
    code = tools.zstd.decompress(
        hand.zstd, hand.block.data, size,
        frame, <size_t>(source.frame_start[row + 1] - source.frame_start[row]))
    if code == size:
        return 0
    return fail(fault, FAULT_FRAME, size, code)


# Bytes of the row's chunk in hand.chunk; 0 if it is all zeros, -1 on a fault.
cdef int64_t transcode_row(
    const Source* source, size_t row, Hand* hand, uint32_t* labels, Fault* fault
) noexcept nogil:
    cdef Block block
    cdef Mapping mapping
    if open_block(hand.block.data, source.sizes[row], 8, 8, 8, &block, fault):
        return -1
    if mapping_at(&source.mappings, row, &mapping, fault):
        return -1
    if scratch_reserve(&hand.chunk, 4 * block.most_words, fault):
        return -1
    return transcode_block(
        &block, &mapping, &hand.tables, &hand.writer, hand.chunk.data, labels, fault)


# Keeps the chunk in hand.chunk, compressed if that is wanted.
cdef int keep_chunk(const Tools* tools, Hand* hand, int64_t size, Payload* payload, Fault* fault) noexcept nogil:
    cdef const uint8_t* data = hand.chunk.data
    cdef size_t room
    if size and tools.gzip.compress != NULL:
        room = tools.gzip.bound(hand.compressor, <size_t>size)
        if scratch_reserve(&hand.member, room, fault):
            return -1
        size = <int64_t>tools.gzip.compress(
            hand.compressor, hand.chunk.data, <size_t>size, hand.member.data, room)
        if size == 0:
            return fail(fault, FAULT_MEMBER, room, 0)
        data = hand.member.data
    if size == 0:
        return 0
    payload.data = <uint8_t*>malloc(<size_t>size)
    if payload.data == NULL:
        return fail(fault, FAULT_MEMORY, <uint64_t>size, 0)
    memcpy(payload.data, data, <size_t>size)
    payload.size = size
    return 0


cdef int make_payload(
    const Source* source, const Tools* tools, size_t i, Hand* hand, Payload* payload, Fault* fault
) noexcept nogil:
    cdef size_t row = <size_t>source.rows[i]
    cdef int64_t now = now_ns()
    cdef int64_t size
    cdef int failed
    fault.item = <int64_t>i
    failed = unzip_row(source, row, tools, hand, fault)
    now = spend(hand, 0, now)
    if failed:
        return -1
    size = transcode_row(source, row, hand, &payload.labels, fault)
    now = spend(hand, 1, now)
    if size < 0:
        return -1
    failed = keep_chunk(tools, hand, size, payload, fault)
    spend(hand, 2, now)
    return failed


# Takes chunks from a batch until none is left, or one fails: then nobody takes another. As chunks
# are taken by ascending number, the first that fails is the same whatever the threads.
cdef void make_payloads(
    const Source* source, const Tools* tools, int64_t* taken, Hand* hand, Payload* payloads, Fault* fault
) noexcept nogil:
    cdef int64_t i
    while True:
        i = __atomic_fetch_add(taken, 1, __ATOMIC_RELAXED)
        if i >= <int64_t>source.k:
            return
        if make_payload(source, tools, <size_t>i, hand, &payloads[i], fault):
            __atomic_store_n(taken, <int64_t>source.k, __ATOMIC_RELAXED)
            return


class Payloads(NamedTuple):
    """What became of a batch.

    Attributes:
        data: the payloads, one after another.
        start: (k + 1,) int64; payload i is data[start[i]:start[i + 1]], without bytes for zeros.
        labels: (k,) uint32, distinct labels of each chunk, as in `Transcoded`.
        seconds: spent on unzip, transcode and gzip, summed over threads.
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
        zstd: addresses of functions, as in `unzip_frames`.
        gzip: addresses of functions, as in `gzip_chunks`; None keeps chunks as they are.
        level: libdeflate's, 0 to 12.
        labels, label_start, supervoxels, supervoxel_start: the rows' mappings, as in
            `decode_blocks`.

    Raises:
        KernelError: a row is none, or a start lies outside its array.
    """

    cdef Source source
    cdef Tools tools
    cdef Payload* payloads
    cdef int64_t taken
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
        self.held = rows, frames, frame_start, sizes, labels, label_start, supervoxels, supervoxel_start
        self.fault = no_fault()
        self.tools.zstd, self.tools.level = make_zstd(zstd), level
        if gzip is not None:
            self.tools.gzip = make_gzip(gzip)
        check_starts(frame_start, n, frames.shape[0], "frames")
        self.source.mappings = make_mappings(n, labels, label_start, supervoxels, supervoxel_start)
        for i in range(k):
            if not 0 <= rows[i] < <int64_t>n:
                raise KernelError(f"rows: expected 0 to {n} - 1, found {rows[i]}", i)
        self.source.frames = &frames[0] if frames.shape[0] else NO_BYTES
        self.source.frame_start = &frame_start[0]
        if k:
            self.source.rows, self.source.sizes = &rows[0], &sizes[0]
        self.payloads = <Payload*>calloc(k + 1, sizeof(Payload))
        if self.payloads == NULL:
            raise MemoryError(f"not enough memory for a batch of {k} chunks")
        self.source.k = k

    def __dealloc__(self):
        cdef size_t i
        if self.payloads != NULL:
            for i in range(self.source.k):
                free(self.payloads[i].data)
            free(self.payloads)

    def work(self):
        """Make chunks until none is left; any number of threads may do so at the same time."""
        cdef Hand hand
        cdef Fault fault = no_fault()
        cdef int step
        if __atomic_load_n(&self.taken, __ATOMIC_RELAXED) >= <int64_t>self.source.k:
            return
        with nogil:
            if hand_make(&hand, &self.tools, &fault) == 0:
                make_payloads(&self.source, &self.tools, &self.taken, &hand, self.payloads, &fault)
            hand_free(&hand, &self.tools)
        for step in range(STEPS):
            self.spent_ns[step] += hand.spent_ns[step]
        if fault.code == FINE:
            return
        self.stop()
        if self.fault.code == FINE or fault.item < self.fault.item:
            self.fault = fault

    def stop(self):
        """Let nobody take another chunk."""
        __atomic_store_n(&self.taken, <int64_t>self.source.k, __ATOMIC_RELAXED)

    def result(self):
        """What has been made, once all that worked have come back.

        Raises:
            FrameError: the frame of chunk `.item` is damaged, or its size is not as told.
            KernelError: its block is.
            MemoryError: there was none.
        """
        if self.fault.code == FAULT_FRAME:
            raise frame_error(
                &self.tools.zstd, self.fault.expected, self.fault.found, self.fault.item)
        if self.fault.code:
            raise_fault(&self.fault)
        cdef size_t i
        cdef size_t k = self.source.k
        cdef int64_t[::1] start = np.zeros(k + 1, np.int64)
        cdef uint32_t[::1] labels = np.zeros(k, np.uint32)
        for i in range(k):
            start[i + 1] = start[i] + self.payloads[i].size
            labels[i] = self.payloads[i].labels
        cdef bytes data = PyBytes_FromStringAndSize(NULL, start[k])
        cdef char* out = data
        for i in range(k):
            if self.payloads[i].size:
                memcpy(out + start[i], self.payloads[i].data, <size_t>self.payloads[i].size)
        seconds = tuple([ns / 1e9 for ns in self.spent_ns])
        return Payloads(data, np.asarray(start), np.asarray(labels), seconds)
