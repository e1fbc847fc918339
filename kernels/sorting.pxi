# Sorting of labels, and their ranks.

# A sort of (key, pos) pairs by key, equal keys in their order: insertion for few, else a radix
# sort that skips bytes in which all keys agree, so no input can make it slow.
# tmp_keys and tmp_pos: room for n entries.
cdef void sort_pairs(
    uint64_t* keys, uint32_t* pos, uint64_t* tmp_keys, uint32_t* tmp_pos, size_t n
) noexcept nogil:
    if n <= SMALL_SORT:
        insertion_sort(keys, pos, n)
    else:
        radix_sort(keys, pos, tmp_keys, tmp_pos, n)


cdef inline void insertion_sort(uint64_t* keys, uint32_t* pos, size_t n) noexcept nogil:
    cdef size_t i, j
    cdef uint64_t key
    cdef uint32_t at
    for i in range(1, n):
        key = keys[i]
        at = pos[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            pos[j] = pos[j - 1]
            j -= 1
        keys[j] = key
        pos[j] = at


cdef void radix_sort(
    uint64_t* keys, uint32_t* pos, uint64_t* tmp_keys, uint32_t* tmp_pos, size_t n
) noexcept nogil:
    cdef uint32_t start[256]
    cdef uint64_t varying = 0
    cdef uint64_t* from_keys = keys
    cdef uint32_t* from_pos = pos
    cdef uint64_t* to_keys = tmp_keys
    cdef uint32_t* to_pos = tmp_pos
    cdef size_t i
    cdef int shift
    for i in range(n):
        varying |= keys[i] ^ keys[0]
    for shift in range(0, 64, 8):
        if (varying >> shift) & 255 == 0:
            continue
        radix_starts(from_keys, n, shift, start)
        radix_move(from_keys, from_pos, to_keys, to_pos, n, shift, start)
        from_keys, to_keys = to_keys, from_keys
        from_pos, to_pos = to_pos, from_pos
    if from_keys != keys:
        memcpy(keys, from_keys, n * sizeof(uint64_t))
        memcpy(pos, from_pos, n * sizeof(uint32_t))


cdef inline void radix_starts(
    const uint64_t* keys, size_t n, int shift, uint32_t* start
) noexcept nogil:
    cdef size_t i
    cdef uint32_t total = 0, count
    memset(start, 0, 256 * sizeof(uint32_t))
    for i in range(n):
        start[(keys[i] >> shift) & 255] += 1
    for i in range(256):
        count = start[i]
        start[i] = total
        total += count


cdef inline void radix_move(
    const uint64_t* keys, const uint32_t* pos, uint64_t* to_keys, uint32_t* to_pos,
    size_t n, int shift, uint32_t* start
) noexcept nogil:
    cdef size_t i
    cdef uint32_t slot
    for i in range(n):
        slot = start[(keys[i] >> shift) & 255]
        start[(keys[i] >> shift) & 255] = slot + 1
        to_keys[slot] = keys[i]
        to_pos[slot] = pos[i]


# Sorts keys of distinct or equal labels and drops the repeats: afterwards keys[0..result) ascend
# and rank[i] says where the label that stood at i is now.
cdef size_t rank_labels(
    uint64_t* keys, uint32_t* pos, uint64_t* tmp_keys, uint32_t* tmp_pos,
    uint32_t* rank, size_t n
) noexcept nogil:
    cdef size_t i, last = 0
    if n == 0:
        return 0
    for i in range(n):
        pos[i] = <uint32_t>i
    sort_pairs(keys, pos, tmp_keys, tmp_pos, n)
    for i in range(n):
        if keys[i] != keys[last]:
            last += 1
            keys[last] = keys[i]
        rank[pos[i]] = <uint32_t>last
    return last + 1


cdef inline size_t upper_bound(const uint64_t* keys, size_t n, uint64_t key) noexcept nogil:
    """Index of the first of n ascending keys that is above `key`; n if none is."""
    cdef size_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) // 2
        if keys[middle] <= key:
            low = middle + 1
        else:
            high = middle
    return low
