# Payloads of a coarse scale from those of the fine one, a cell at a time: gzip members -> fine
# chunks -> coarse chunk -> gzip member. Intermediate results stay in a core's cache, and the
# threads that share a batch take its cells in turns, so that they end together.

cdef int cell_scratch_make(
    CellScratch* thread, const VotePlan* plan, const CellCodecs* codecs, Fault* fault
) noexcept nogil:
    cdef int64_t slots = plan.slots[0] * plan.slots[1] * plan.slots[2]
    cdef int64_t blocks = plan.coarse_chunk[0] * plan.coarse_chunk[1] * plan.coarse_chunk[2]
    thread.fines = <FineChunk*>calloc(<size_t>slots, sizeof(FineChunk))
    thread.views = <Py_buffer*>calloc(<size_t>slots, sizeof(Py_buffer))
    if thread.fines == NULL or thread.views == NULL:
        return fail(fault, FAULT_MEMORY, slots * (sizeof(FineChunk) + sizeof(Py_buffer)), 0)
    if codecs.gunzip.decompress != NULL:
        thread.decompressor = codecs.gunzip.create()
        if thread.decompressor == NULL:
            return fail(fault, FAULT_CODEC, 0, 0)
    if codecs.gzip.compress != NULL:
        thread.compressor = codecs.gzip.create(codecs.level)
        if thread.compressor == NULL:
            return fail(fault, FAULT_CODEC, 0, 0)
    return vote_scratch_make(
        &thread.vote, <uint32_t>(blocks // SUBBLOCK_VOXELS), plan.label_words, fault)


cdef void cell_scratch_free(CellScratch* thread, const CellCodecs* codecs) noexcept nogil:
    if thread.decompressor != NULL:
        codecs.gunzip.release(thread.decompressor)
    if thread.compressor != NULL:
        codecs.gzip.release(thread.compressor)
    free(thread.fines)
    free(thread.views)
    free(thread.fine_bytes.data)
    free(thread.member.data)
    vote_scratch_free(&thread.vote)
    free(thread)


# The fine chunks of a cell, as they are or decompressed to their stated sizes, in thread.views.
cdef int cell_decode(
    CellScratch* thread, const Py_buffer* stored, const int64_t* sizes, int64_t slots,
    const CellCodecs* codecs, Fault* fault
) noexcept nogil:
    cdef int64_t slot, total = 0
    cdef uint8_t* out
    if codecs.gunzip.decompress == NULL:
        memcpy(thread.views, stored, <size_t>slots * sizeof(Py_buffer))
        return 0
    for slot in range(slots):
        total += sizes[slot] if stored[slot].buf != NULL else 0
    if buffer_reserve(&thread.fine_bytes, <size_t>total + 1, fault):
        return -1
    out = thread.fine_bytes.data
    for slot in range(slots):
        thread.views[slot].buf = NULL
        if stored[slot].buf == NULL:
            continue
        # As the size made is not asked for, libdeflate refuses any other than the stated one.
        if codecs.gunzip.decompress(
            thread.decompressor, stored[slot].buf, <size_t>stored[slot].len, out,
            <size_t>sizes[slot], NULL
        ):
            return fail_at(fault, FAULT_GZIP_MEMBER, slot, <uint64_t>sizes[slot], 0)
        thread.views[slot].buf, thread.views[slot].len = out, sizes[slot]
        out += sizes[slot]
    return 0


cdef int cell_make(
    const CellInput* input, const CellCodecs* codecs, int64_t i, CellScratch* thread,
    Payload* payload, Fault* fault
) noexcept nogil:
    cdef int64_t slots = input.plan.slots[0] * input.plan.slots[1] * input.plan.slots[2]
    cdef int64_t now = now_ns(), size
    cdef int failed
    cdef VoteCell cell
    fault.item = i
    if vote_cell_locate(input.coords + 3 * i, &input.plan, &cell):
        return fail(fault, FAULT_VOTE_CELL, 0, 0)
    failed = cell_decode(
        thread, input.stored + i * slots, input.sizes + i * slots, slots, codecs, fault)
    now = time_spend(thread.spent_ns, 0, now)
    if failed:
        return -1
    size = vote_cell(
        &thread.vote, thread.fines, thread.views, &cell, 0, &payload.labels, &input.plan, fault)
    now = time_spend(thread.spent_ns, 1, now)
    if size < 0:
        return -1
    failed = payload_store(
        &codecs.gzip, thread.compressor, &thread.member, thread.vote.out, size, payload, fault)
    time_spend(thread.spent_ns, 2, now)
    return failed


# Takes cells from a batch until none is left or one fails; then no thread takes another. As cells
# are taken by ascending number, the first that fails does not depend on the threads.
cdef void cells_make_all(
    const CellInput* input, const CellCodecs* codecs, int64_t* next_cell, CellScratch* thread,
    Payload* payloads, Fault* fault
) noexcept nogil:
    cdef int64_t i
    while True:
        i = __atomic_fetch_add(next_cell, 1, __ATOMIC_RELAXED)
        if i >= input.k:
            return
        if cell_make(input, codecs, i, thread, &payloads[i], fault):
            __atomic_store_n(next_cell, input.k, __ATOMIC_RELAXED)
            return


cdef class CellMaker:
    """Geometry, functions and threads' scratch that the batches of a shard share.

    Args:
        fine_size, fine_chunk, coarse_chunk, slots, factors, nonzero, label_bits: as in
            `downsample_cells`.
        gunzip: addresses of functions, as in `gunzip_chunks`; None takes chunks as they are.
        gzip: addresses of functions, as in `gzip_chunks`; None keeps chunks as they are.
        level: libdeflate's, 0 to 12.
    """

    cdef VotePlan plan
    cdef CellCodecs codecs
    cdef CellScratch* spare

    def __cinit__(
        self, *, fine_size, fine_chunk, coarse_chunk, slots, factors, bint nonzero, label_bits,
        gunzip, gzip, int level
    ):
        self.plan = vote_plan_make(
            fine_size, fine_chunk, coarse_chunk, slots, factors, nonzero, label_bits)
        self.codecs.level = level
        if gunzip is not None:
            self.codecs.gunzip = gunzip_functions(gunzip)
        if gzip is not None:
            self.codecs.gzip = gzip_functions(gzip)

    def __dealloc__(self):
        cdef CellScratch* thread = self.spare
        while thread != NULL:
            self.spare = thread.next
            cell_scratch_free(thread, &self.codecs)
            thread = self.spare

    # The GIL guards the list of spare scratch.
    cdef CellScratch* take(self, Fault* fault) except? NULL:
        cdef CellScratch* thread = self.spare
        cdef int failed
        if thread != NULL:
            self.spare = thread.next
            return thread
        thread = <CellScratch*>calloc(1, sizeof(CellScratch))
        if thread == NULL:
            fail(fault, FAULT_MEMORY, sizeof(CellScratch), 0)
            return NULL
        with nogil:
            failed = cell_scratch_make(thread, &self.plan, &self.codecs, fault)
            if failed:
                cell_scratch_free(thread, &self.codecs)
        return NULL if failed else thread

    cdef void give_back(self, CellScratch* thread) noexcept:
        thread.next = self.spare
        self.spare = thread


cdef class CellBatch:
    """Cells that several threads turn into payloads together.

    Args:
        maker: of this and other batches.
        data: payloads of fine chunks.
        start: (n + 1,) byte offsets; payload i is data[start[i]:start[i + 1]].
        sizes: (n,) bytes of each when it is decompressed, which are allocated; so they must have
            been checked.
        place: (n,) cell times slots plus slot of each; x fastest, beginning with the chunk that
            holds the cell's first voxel. Where none has its place there are zeros.
        coords: (k, 3) grid coordinates (x, y, z) of the coarse chunks.

    Raises:
        KernelError: a start, a size or a place lies outside.
    """

    cdef CellMaker maker
    cdef CellInput input
    cdef Payload* payloads
    cdef int64_t next_cell
    cdef int64_t spent_ns[STEPS]
    cdef Fault fault
    cdef int64_t bad_slot
    cdef Py_buffer* stored
    cdef int64_t* sizes
    cdef object coords
    cdef object data

    def __cinit__(
        self, CellMaker maker not None, const uint8_t[::1] data not None,
        const int64_t[::1] start not None, const int64_t[::1] sizes not None,
        const int64_t[::1] place not None, const int64_t[:, ::1] coords not None
    ):
        cdef int64_t k = coords.shape[0], n = sizes.shape[0], i
        cdef int64_t slots = maker.plan.slots[0] * maker.plan.slots[1] * maker.plan.slots[2]
        if coords.shape[1] != 3 or place.shape[0] != n:
            raise ValueError(f"expected three coordinates and {n} places, found {coords.shape[1]} "
                             f"and {place.shape[0]}")
        check_starts(start, <size_t>n, data.shape[0], "data")
        self.maker, self.coords, self.data = maker, coords, data
        self.fault = no_fault()
        self.payloads = <Payload*>calloc(k + 1, sizeof(Payload))
        self.stored = <Py_buffer*>calloc(k * slots + 1, sizeof(Py_buffer))
        self.sizes = <int64_t*>calloc(k * slots + 1, sizeof(int64_t))
        if self.payloads == NULL or self.stored == NULL or self.sizes == NULL:
            raise MemoryError(f"not enough memory for a batch of {k} chunks")
        for i in range(n):
            if not 0 <= place[i] < k * slots:
                raise KernelError(f"place: expected 0 to {k * slots} - 1, found {place[i]}")
            if not 0 <= sizes[i] < <int64_t>1 << 40:
                raise KernelError(f"sizes: expected 0 to 2^40, found {sizes[i]}", place[i] // slots)
            self.stored[place[i]].buf = <void*>(&data[0] + start[i] if data.shape[0] else NO_BYTES)
            self.stored[place[i]].len = start[i + 1] - start[i]
            self.sizes[place[i]] = sizes[i]
        self.input.plan = maker.plan
        self.input.stored, self.input.sizes = self.stored, self.sizes
        if k:
            self.input.coords = &coords[0, 0]
        self.input.k = k

    def __dealloc__(self):
        payloads_free(self.payloads, <size_t>self.input.k)
        free(self.stored)
        free(self.sizes)

    def work(self):
        """Make chunks until none is left; any number of threads may do so at the same time."""
        cdef Fault fault = no_fault()
        cdef CellScratch* thread
        cdef int64_t bad_slot = 0
        cdef int step
        if __atomic_load_n(&self.next_cell, __ATOMIC_RELAXED) >= self.input.k:
            return
        thread = self.maker.take(&fault)
        if thread != NULL:
            memset(thread.spent_ns, 0, sizeof(thread.spent_ns))
            with nogil:
                cells_make_all(
                    &self.input, &self.maker.codecs, &self.next_cell, thread, self.payloads, &fault)
            bad_slot = fault.part if fault.code == FAULT_GZIP_MEMBER else thread.vote.slot
            # The GIL guards this merge, as that in payloads.pxi.
            for step in range(STEPS):
                self.spent_ns[step] += thread.spent_ns[step]
            self.maker.give_back(thread)
        if fault.code == FAULT_NONE:
            return
        self.stop()
        if self.fault.code == FAULT_NONE or fault.item < self.fault.item:
            self.fault, self.bad_slot = fault, bad_slot

    def stop(self):
        """Cancel the cells that no thread has taken yet."""
        __atomic_store_n(&self.next_cell, self.input.k, __ATOMIC_RELAXED)

    def result(self):
        """The payloads, after every `work` has returned.

        Raises:
            MemberError: a gzip member of cell `.item` is damaged or has another size.
            KernelError: a fine chunk of it breaks its format.
            MemoryError: not enough for a chunk, or for a library's context.
        """
        if self.fault.code == FAULT_GZIP_MEMBER:
            raise_member_fault(&self.fault, self.bad_slot)
        if self.fault.code != FAULT_NONE:
            vote_raise_fault(&self.fault, &self.maker.plan, self.coords, self.bad_slot)
        return payloads_join(self.payloads, <size_t>self.input.k, self.spent_ns)


cdef int raise_member_fault(const Fault* fault, int64_t slot) except -1:
    try:
        raise_fault(fault)
    except KernelError as error:
        raise MemberError(str(error), error.item, slot) from None
