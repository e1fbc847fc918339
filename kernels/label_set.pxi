# Distinct labels, found by hash: of a sub-block's voxels, and of a whole chunk.

# Distinct labels of 512 voxels in order of appearance; local[i] is voxel i's index among them.
# Runs are common, so the label before is tried first, then a hash of two slots per voxel.
cdef uint32_t palette_build(
    const uint64_t* voxels, uint64_t* palette, uint16_t* local
) noexcept nogil:
    cdef uint16_t slots[2 * SUBBLOCK_VOXELS]
    cdef uint32_t n = 1, slot, at = 0
    cdef int i
    memset(slots, 0, sizeof(slots))
    palette[0] = voxels[0]
    slots[label_hash(voxels[0]) & (2 * SUBBLOCK_VOXELS - 1)] = 1
    for i in range(SUBBLOCK_VOXELS):
        if voxels[i] != palette[at]:
            slot = label_hash(voxels[i]) & (2 * SUBBLOCK_VOXELS - 1)
            while slots[slot] != 0 and palette[slots[slot] - 1] != voxels[i]:
                slot = (slot + 1) & (2 * SUBBLOCK_VOXELS - 1)
            if slots[slot] == 0:
                palette[n] = voxels[i]
                n += 1
                slots[slot] = <uint16_t>n
            at = slots[slot] - 1
        local[i] = <uint16_t>at
    return n


cdef inline uint32_t label_hash(uint64_t label) noexcept nogil:
    label ^= label >> 32
    label *= <uint64_t>0x9E3779B97F4A7C15
    return <uint32_t>(label >> 40)


cdef inline bint all_equal(const uint64_t* voxels, size_t n) noexcept nogil:
    cdef uint64_t differs = 0
    cdef size_t i
    for i in range(n):
        differs |= voxels[i] ^ voxels[0]
    return differs == 0


cdef int label_set_make(LabelSet* label_set, Fault* fault) noexcept nogil:
    label_set.room = 1024
    label_set.labels = <uint64_t*>calloc(label_set.room, 8)
    return 0 if label_set.labels != NULL else fail(fault, FAULT_MEMORY, 8 * label_set.room, 0)


cdef void label_set_clear(LabelSet* label_set) noexcept nogil:
    memset(label_set.labels, 0, 8 * label_set.room)
    label_set.count, label_set.zero = 0, False


cdef inline uint64_t label_set_slot(const LabelSet* label_set, uint64_t label) noexcept nogil:
    cdef uint64_t slot = (label ^ (label >> 32)) * <uint64_t>0x9E3779B97F4A7C15
    slot = (slot ^ (slot >> 29)) & (label_set.room - 1)
    while label_set.labels[slot] != 0 and label_set.labels[slot] != label:
        slot = (slot + 1) & (label_set.room - 1)
    return slot


cdef int label_set_add(LabelSet* label_set, uint64_t label, Fault* fault) noexcept nogil:
    cdef uint64_t slot
    if label == 0:
        label_set.zero = True
        return 0
    slot = label_set_slot(label_set, label)
    if label_set.labels[slot] == label:
        return 0
    label_set.labels[slot] = label
    label_set.count += 1
    return label_set_grow(label_set, fault) if 2 * label_set.count > label_set.room else 0


cdef int label_set_grow(LabelSet* label_set, Fault* fault) noexcept nogil:
    cdef LabelSet larger = label_set[0]
    cdef uint64_t i
    larger.room *= 2
    larger.labels = <uint64_t*>calloc(larger.room, 8)
    if larger.labels == NULL:
        return fail(fault, FAULT_MEMORY, 8 * larger.room, 0)
    for i in range(label_set.room):
        if label_set.labels[i]:
            larger.labels[label_set_slot(&larger, label_set.labels[i])] = label_set.labels[i]
    free(label_set.labels)
    label_set[0] = larger
    return 0
