# Label maps: the labels that a block's supervoxels become.

cdef inline LabelScratch label_scratch_none() noexcept nogil:
    cdef LabelScratch scratch
    memset(&scratch, 0, sizeof(scratch))
    return scratch


cdef int label_scratch_reserve(LabelScratch* scratch, size_t room, Fault* fault) noexcept nogil:
    """Room for so many entries, in one allocation; those held before are gone."""
    cdef size_t size = room * (3 * sizeof(uint64_t) + 3 * sizeof(uint32_t) + 1)
    cdef uint8_t* memory
    if room <= scratch.room:
        return 0
    label_scratch_free(scratch)
    memory = <uint8_t*>malloc(size)
    if memory == NULL:
        return fail(fault, FAULT_MEMORY, size, 0)
    scratch.room = room
    scratch.labels = <uint64_t*>memory
    scratch.keys = scratch.labels + room
    scratch.tmp_keys = scratch.keys + room
    scratch.pos = <uint32_t*>(scratch.tmp_keys + room)
    scratch.tmp_pos = scratch.pos + room
    scratch.rank = scratch.tmp_pos + room
    scratch.seen = <uint8_t*>(scratch.rank + room)
    return 0


cdef void label_scratch_free(LabelScratch* scratch) noexcept nogil:
    free(scratch.labels)
    scratch[0] = label_scratch_none()


cdef int label_map_apply(
    const Block* block, const LabelMap* label_map, LabelScratch* scratch, Fault* fault
) noexcept nogil:
    """The block's table after mapping, in scratch.labels[0..n_labels), and room for one more.

    Tables that agree entry by entry are replaced; others are looked up by value.
    """
    cdef size_t size = 8 * <size_t>block.n_labels
    if label_scratch_reserve(scratch, max(<size_t>block.n_labels + 1, label_map.n), fault):
        return -1
    if label_map.supervoxels == NULL:
        memcpy(scratch.labels, block.table, size)
    elif label_map.n == block.n_labels and memcmp(label_map.supervoxels, block.table, size) == 0:
        memcpy(scratch.labels, label_map.labels, size)
    else:
        memcpy(scratch.labels, block.table, size)
        label_map_by_value(label_map, scratch, block.n_labels)
    return 0


# Of a supervoxel listed twice the last counts; one without a mapping stays as it is.
cdef void label_map_by_value(
    const LabelMap* label_map, LabelScratch* scratch, size_t n_labels
) noexcept nogil:
    cdef size_t i, at
    if label_map.n == 0:
        return
    for i in range(label_map.n):
        scratch.keys[i] = label_map.supervoxels[i]
        scratch.pos[i] = <uint32_t>i
    sort_pairs(scratch.keys, scratch.pos, scratch.tmp_keys, scratch.tmp_pos, label_map.n)
    for i in range(n_labels):
        at = upper_bound(scratch.keys, label_map.n, scratch.labels[i])
        if at > 0 and scratch.keys[at - 1] == scratch.labels[i]:
            scratch.labels[i] = label_map.labels[scratch.pos[at - 1]]


# The map of block i; a fault if labels and supervoxels do not come in pairs.
cdef int label_map_at(
    const LabelMaps* label_maps, size_t i, LabelMap* label_map, Fault* fault
) noexcept nogil:
    cdef int64_t n_labels, n_supervoxels
    label_map.labels = label_map.supervoxels = NULL
    label_map.n = 0
    if label_maps.supervoxels == NULL:
        return 0
    n_labels = label_maps.label_start[i + 1] - label_maps.label_start[i]
    n_supervoxels = label_maps.supervoxel_start[i + 1] - label_maps.supervoxel_start[i]
    if n_labels != n_supervoxels:
        return fail(fault, FAULT_LABEL_MAP, n_supervoxels, n_labels)
    label_map.labels = label_maps.labels + label_maps.label_start[i]
    label_map.supervoxels = label_maps.supervoxels + label_maps.supervoxel_start[i]
    label_map.n = <size_t>n_supervoxels
    return 0


cdef LabelMaps label_maps_make(
    size_t k,
    const uint64_t[::1] labels, const int64_t[::1] label_start,
    const uint64_t[::1] supervoxels, const int64_t[::1] supervoxel_start
) except *:
    """Raw pointers to checked arrays of k blocks, which must outlive them."""
    cdef LabelMaps label_maps
    memset(&label_maps, 0, sizeof(label_maps))
    if labels is None and supervoxels is None:
        return label_maps
    if labels is None or label_start is None or supervoxels is None or supervoxel_start is None:
        raise KernelError("a mapping needs labels and supervoxels, both with their starts")
    check_starts(label_start, k, labels.shape[0], "labels")
    check_starts(supervoxel_start, k, supervoxels.shape[0], "supervoxels")
    label_maps.labels = &labels[0] if labels.shape[0] else NO_LABELS
    label_maps.label_start = &label_start[0]
    label_maps.supervoxels = &supervoxels[0] if supervoxels.shape[0] else NO_LABELS
    label_maps.supervoxel_start = &supervoxel_start[0]
    return label_maps
