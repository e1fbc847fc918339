/* Votes on blocks of up to 16 labels, halved on every axis, for AVX2; the loops of votes.pxi serve
 * all other blocks and processors, and give the same.
 *
 *   vote64    packed LSB-first ranks of 512 voxels -> the ranks that win 64 windows
 *   join64    the votes of eight parts -> packed LSB-first indices of a coarse block
 *
 * A window has two voxels along each axis. Windows and parts are in ZYX order. */
#ifndef SHARDLIFT_VOTE_LANES_H
#define SHARDLIFT_VOTE_LANES_H

#include "lanes.h"

#ifdef LANES_X86

LANES_AVX2 inline __m256i lanes_load(const uint8_t *at) {
    return _mm256_loadu_si256((const __m256i *)at);
}

LANES_AVX2 inline void lanes_store(uint8_t *at, __m256i value) {
    _mm256_storeu_si256((__m256i *)at, value);
}

/* Highest byte of 32. */
LANES_AVX2 inline unsigned lanes_highest_byte(__m256i all) {
    __m128i most = _mm_max_epu8(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    most = _mm_max_epu8(most, _mm_srli_si128(most, 8));
    most = _mm_max_epu8(most, _mm_srli_si128(most, 4));
    most = _mm_max_epu8(most, _mm_srli_si128(most, 2));
    most = _mm_max_epu8(most, _mm_srli_si128(most, 1));
    return (unsigned)_mm_cvtsi128_si32(most) & 0xff;
}

/* ---------------------------------------------------------------- two labels
 *
 * Counts of windows stand side by side in nibbles. A word is a slice, a byte of it a row. */

LANES_AVX2 void vote64_bits1(const uint8_t *values, int skip_zero, uint8_t *votes) {
    const __m256i ones = _mm256_set1_epi8(0x55), twos = _mm256_set1_epi8(0x33);
    const __m256i one = _mm256_set1_epi8(1), rows = _mm256_set1_epi16(0x00ff);
    /* Label 1 wins with five of eight, since a tie goes to 0; with one if zeros do not vote. */
    const __m256i lift = _mm256_set1_epi8(skip_zero ? 0x77 : 0x33);
    const __m256i order = _mm256_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15,
                                           0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    const __m256i low = lanes_load(values), high = lanes_load(values + 32);
    __m256i a = _mm256_unpacklo_epi64(low, high), b = _mm256_unpackhi_epi64(low, high);
    a = _mm256_add_epi8(_mm256_and_si256(a, ones), _mm256_and_si256(_mm256_srli_epi64(a, 1), ones));
    b = _mm256_add_epi8(_mm256_and_si256(b, ones), _mm256_and_si256(_mm256_srli_epi64(b, 1), ones));
    __m256i even = _mm256_add_epi8(_mm256_and_si256(a, twos), _mm256_and_si256(b, twos));
    __m256i odd = _mm256_add_epi8(_mm256_and_si256(_mm256_srli_epi64(a, 2), twos),
                                  _mm256_and_si256(_mm256_srli_epi64(b, 2), twos));
    even = _mm256_add_epi8(even, _mm256_srli_epi16(even, 8));
    odd = _mm256_add_epi8(odd, _mm256_srli_epi16(odd, 8));
    even = _mm256_or_si256(_mm256_and_si256(even, rows), _mm256_slli_epi16(odd, 8));
    even = _mm256_srli_epi64(_mm256_add_epi8(even, lift), 3);
    const __m256i left = _mm256_and_si256(even, one);
    const __m256i right = _mm256_and_si256(_mm256_srli_epi64(even, 4), one);
    /* Words 0 and 2 hold slices 0 and 1 of the votes, words 1 and 3 slices 2 and 3. */
    lanes_store(votes, _mm256_shuffle_epi8(_mm256_unpacklo_epi8(left, right), order));
    lanes_store(votes + 32, _mm256_shuffle_epi8(_mm256_unpackhi_epi8(left, right), order));
}

/* ---------------------------------------------------------------- four labels */

typedef struct {
    __m256i low, high; /* even slices of two pairs, then of the other two; or the odd ones */
} vote_slices;

/* How often a label occurs in each window, in nibbles; its mark is bit 0 of every two. */
LANES_AVX2 inline __m256i vote64_count2(vote_slices even, vote_slices odd) {
    const __m256i twos = _mm256_set1_epi8(0x33);
    __m256i a = _mm256_add_epi8(even.low, odd.low), b = _mm256_add_epi8(even.high, odd.high);
    a = _mm256_add_epi8(_mm256_and_si256(a, twos), _mm256_and_si256(_mm256_srli_epi64(a, 2), twos));
    b = _mm256_add_epi8(_mm256_and_si256(b, twos), _mm256_and_si256(_mm256_srli_epi64(b, 2), twos));
    a = _mm256_add_epi8(a, _mm256_srli_epi32(a, 16));
    b = _mm256_add_epi8(b, _mm256_slli_epi32(b, 16));
    a = _mm256_blend_epi16(b, a, 0x55);
    /* 8 to 7: then no other label has a vote, and a nibble has a bit to spare. */
    return _mm256_sub_epi8(a, _mm256_and_si256(_mm256_srli_epi64(a, 3), _mm256_set1_epi8(0x11)));
}

LANES_AVX2 inline vote_slices vote64_marks(vote_slices value, int label) {
    const __m256i ones = _mm256_set1_epi8(0x55);
    const __m256i low = _mm256_srli_epi64(value.low, 1), high = _mm256_srli_epi64(value.high, 1);
    vote_slices marks;
    if (label == 3) {
        marks.low = _mm256_and_si256(low, value.low);
        marks.high = _mm256_and_si256(high, value.high);
    } else if (label == 2) {
        marks.low = _mm256_andnot_si256(value.low, low);
        marks.high = _mm256_andnot_si256(value.high, high);
    } else {
        marks.low = _mm256_andnot_si256(low, value.low);
        marks.high = _mm256_andnot_si256(high, value.high);
    }
    marks.low = _mm256_and_si256(marks.low, ones);
    marks.high = _mm256_and_si256(marks.high, ones);
    return marks;
}

/* Where `count` is larger than `most`, the label wins so far. */
LANES_AVX2 inline void vote64_best(__m256i count, int label, __m256i *most, __m256i *best) {
    const __m256i top = _mm256_set1_epi8((char)0x88);
    __m256i wins = _mm256_andnot_si256(_mm256_sub_epi8(_mm256_or_si256(*most, top), count), top);
    wins = _mm256_or_si256(wins, _mm256_sub_epi8(wins, _mm256_srli_epi64(wins, 3)));
    *most = _mm256_or_si256(_mm256_and_si256(wins, count), _mm256_andnot_si256(wins, *most));
    *best = _mm256_or_si256(_mm256_and_si256(wins, _mm256_set1_epi8((char)(label * 0x11))),
                            _mm256_andnot_si256(wins, *best));
}

LANES_AVX2 void vote64_bits2(const uint8_t *values, int skip_zero, uint8_t *votes) {
    const __m256i v0 = lanes_load(values), v1 = lanes_load(values + 32);
    const __m256i v2 = lanes_load(values + 64), v3 = lanes_load(values + 96);
    const vote_slices even = {_mm256_permute2x128_si256(v0, v1, 0x20),
                              _mm256_permute2x128_si256(v2, v3, 0x20)};
    const vote_slices odd = {_mm256_permute2x128_si256(v0, v1, 0x31),
                             _mm256_permute2x128_si256(v2, v3, 0x31)};
    const __m256i one = vote64_count2(vote64_marks(even, 1), vote64_marks(odd, 1));
    const __m256i two = vote64_count2(vote64_marks(even, 2), vote64_marks(odd, 2));
    const __m256i three = vote64_count2(vote64_marks(even, 3), vote64_marks(odd, 3));
    __m256i best = _mm256_setzero_si256(), most = best;
    if (!skip_zero) {
        /* What the others leave of 8 votes; where one has all 8, counted as 7, the 1 that seems
         * to be left wins nothing. */
        most = _mm256_sub_epi8(_mm256_set1_epi8((char)0x88), one);
        most = _mm256_sub_epi8(_mm256_sub_epi8(most, two), three);
        most = _mm256_sub_epi8(
            most, _mm256_and_si256(_mm256_srli_epi64(most, 3), _mm256_set1_epi8(0x11)));
    }
    vote64_best(one, 1, &most, &best);
    vote64_best(two, 2, &most, &best);
    vote64_best(three, 3, &most, &best);
    /* Each 32 bits: four votes of one pair of slices, then four of the pair two further. */
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i left = _mm256_and_si256(best, nibble);
    const __m256i right = _mm256_and_si256(_mm256_srli_epi64(best, 4), nibble);
    const __m256i upper = _mm256_shuffle_epi32(_mm256_unpacklo_epi8(left, right), 0xd8);
    const __m256i lower = _mm256_shuffle_epi32(_mm256_unpackhi_epi8(left, right), 0xd8);
    lanes_store(votes, _mm256_unpacklo_epi64(upper, lower));
    lanes_store(votes + 32, _mm256_unpackhi_epi64(upper, lower));
}

/* ---------------------------------------------------------------- sixteen labels
 *
 * A register holds a slice, a byte two voxels of a row. The voxels at one corner of 32 windows come
 * together; how often each occurs among those after it, then the rank's complement, decide. */

LANES_AVX2 inline __m256i vote64_even(__m256i a, __m256i b) {
    return _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}

LANES_AVX2 inline __m256i vote64_odd(__m256i a, __m256i b) {
    return _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd));
}

/* Four slices; the votes of two, in 64-bit words 0, 2, 1, 3. */
LANES_AVX2 inline __m256i vote64_half4(const uint8_t *values, int skip_zero) {
    const __m256i nibble = _mm256_set1_epi8(0x0f), zero = _mm256_setzero_si256();
    const __m256i down = _mm256_set1_epi8(skip_zero ? 1 : 0);
    const __m256i v0 = lanes_load(values), v1 = lanes_load(values + 32);
    const __m256i v2 = lanes_load(values + 64), v3 = lanes_load(values + 96);
    const __m256i pairs[4] = {vote64_even(v0, v2), vote64_odd(v0, v2), vote64_even(v1, v3),
                              vote64_odd(v1, v3)};
    __m256i corner[8], most = zero;
    for (int i = 0; i < 4; i++) {
        corner[2 * i] = _mm256_and_si256(pairs[i], nibble);
        corner[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi64(pairs[i], 4), nibble);
    }
    for (int i = 0; i < 8; i++) {
        __m256i same = zero;
        for (int j = i + 1; j < 8; j++)
            same = _mm256_sub_epi8(same, _mm256_cmpeq_epi8(corner[i], corner[j]));
        if (skip_zero)
            same = _mm256_andnot_si256(_mm256_cmpeq_epi8(corner[i], zero), same);
        const __m256i rank = _mm256_and_si256(_mm256_sub_epi8(corner[i], down), nibble);
        const __m256i key = _mm256_or_si256(_mm256_slli_epi64(same, 4),
                                            _mm256_xor_si256(rank, nibble));
        most = _mm256_max_epu8(most, key);
    }
    const __m256i rank = _mm256_xor_si256(_mm256_and_si256(most, nibble), nibble);
    return _mm256_and_si256(_mm256_add_epi8(rank, down), nibble);
}

LANES_AVX2 void vote64_bits4(const uint8_t *values, int skip_zero, uint8_t *votes) {
    for (int half = 0; half < 2; half++, values += 128, votes += 32)
        lanes_store(votes, _mm256_permute4x64_epi64(vote64_half4(values, skip_zero), 0xd8));
}

/* ---------------------------------------------------------------- what occurs */

LANES_AVX2 unsigned vote64_highest_avx2(const uint8_t *values, int bits) {
    const __m256i nibble = _mm256_set1_epi8(0x0f), odd = _mm256_set1_epi8(0x55);
    __m256i some = _mm256_setzero_si256(), both = some, most = some;
    for (int i = 0; i < 64 * bits; i += 32) {
        const __m256i value = lanes_load(values + i);
        some = _mm256_or_si256(some, value);
        both = _mm256_or_si256(both, _mm256_and_si256(value, _mm256_srli_epi64(value, 1)));
        most = _mm256_max_epu8(most, _mm256_and_si256(value, nibble));
        most = _mm256_max_epu8(most, _mm256_and_si256(_mm256_srli_epi64(value, 4), nibble));
    }
    if (bits == 1)
        return !_mm256_testz_si256(some, some);
    if (bits == 4)
        return lanes_highest_byte(most);
    if (!_mm256_testz_si256(both, odd))
        return 3;
    return _mm256_testc_si256(odd, some) ? !_mm256_testz_si256(some, odd) : 2;
}

/* Bit i: rank i won a window. */
LANES_AVX2 unsigned vote64_won(const uint8_t *votes) {
    const __m256i low = _mm256_setr_epi64x(0x8040201008040201LL, 0, 0x8040201008040201LL, 0);
    const __m256i high = _mm256_setr_epi64x(0, 0x8040201008040201LL, 0, 0x8040201008040201LL);
    const __m256i a = lanes_load(votes), b = lanes_load(votes + 32);
    const __m256i lower = _mm256_or_si256(_mm256_shuffle_epi8(low, a), _mm256_shuffle_epi8(low, b));
    const __m256i upper =
        _mm256_or_si256(_mm256_shuffle_epi8(high, a), _mm256_shuffle_epi8(high, b));
    return (unsigned)(lanes_or_bytes(lower) | lanes_or_bytes(upper) << 8);
}

LANES_AVX2 unsigned vote64_avx2(const uint8_t *values, int bits, int skip_zero, uint8_t *votes) {
    switch (bits) {
    case 1: vote64_bits1(values, skip_zero, votes); break;
    case 2: vote64_bits2(values, skip_zero, votes); break;
    default: vote64_bits4(values, skip_zero, votes); break;
    }
    return vote64_won(votes);
}

/* ---------------------------------------------------------------- a coarse block */

/* Four rows of 8 indices. */
LANES_AVX2 inline void join64_put(__m256i rows, int bits, uint8_t *out) {
    if (bits == 1) {
        const int word = _mm256_movemask_epi8(_mm256_slli_epi16(rows, 7));
        memcpy(out, &word, 4);
        return;
    }
    if (bits == 2) {
        const __m256i quads = _mm256_madd_epi16(
            _mm256_maddubs_epi16(rows, _mm256_set1_epi16(0x0401)), _mm256_set1_epi32(0x00100001));
        const __m256i bytes = _mm256_shuffle_epi8(quads, _mm256_set1_epi32(0x0c080400));
        const int low = _mm256_extract_epi32(bytes, 0), high = _mm256_extract_epi32(bytes, 4);
        memcpy(out, &low, 4);
        memcpy(out + 4, &high, 4);
        return;
    }
    const __m256i pairs = _mm256_maddubs_epi16(rows, _mm256_set1_epi16(0x1001));
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128((__m128i *)out, bytes);
}

LANES_AVX2 inline __m256i join64_look_up(const uint8_t *votes, const uint8_t *entries) {
    const __m256i palette = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)entries));
    return _mm256_shuffle_epi8(palette, lanes_load(votes));
}

LANES_AVX2 inline void join64_as(const uint8_t *const *votes, const uint8_t (*entries)[16],
                                 const int bits, uint8_t *out) {
    for (int part = 0; part < 8; part += 2) {
        /* First block row of the two parts: 32 votes deep along z, 4 along y. */
        uint8_t *to = out + ((part >> 2) * 32 + (part >> 1 & 1) * 4) * bits;
        for (int half = 0; half < 64; half += 32, to += 16 * bits) {
            const __m256i a = join64_look_up(votes[part] + half, entries[part]);
            const __m256i b = join64_look_up(votes[part + 1] + half, entries[part + 1]);
            const __m256i low = _mm256_unpacklo_epi32(a, b), high = _mm256_unpackhi_epi32(a, b);
            join64_put(_mm256_permute2x128_si256(low, high, 0x20), bits, to);
            join64_put(_mm256_permute2x128_si256(low, high, 0x31), bits, to + 8 * bits);
        }
    }
}

LANES_AVX2 void join64_avx2(const uint8_t *const *votes, const uint8_t (*entries)[16], int bits,
                            uint8_t *out) {
    switch (bits) {
    case 1: join64_as(votes, entries, 1, out); break;
    case 2: join64_as(votes, entries, 2, out); break;
    default: join64_as(votes, entries, 4, out); break;
    }
}

#endif

/* ---------------------------------------------------------------- public entry points
 *
 * To be called where `lanes_wide` is set, and nowhere else. */

/* Highest rank among 512 values of 1, 2 or 4 bits. */
LANES_INLINE unsigned vote64_highest(const uint8_t *values, int bits) {
#ifdef LANES_X86
    return vote64_highest_avx2(values, bits);
#else
    (void)values, (void)bits;
    return 0;
#endif
}

/* The ranks that win, one byte each, and as result a bit for each. With `skip_zero` rank 0 wins
 * only where it is alone. `values`: 64 * bits bytes, bits 1, 2 or 4; `votes`: 64 bytes. */
LANES_INLINE unsigned vote64(const uint8_t *values, int bits, int skip_zero, uint8_t *votes) {
#ifdef LANES_X86
    return vote64_avx2(values, bits, skip_zero, votes);
#else
    (void)values, (void)bits, (void)skip_zero, (void)votes;
    return 0;
#endif
}

/* `votes`: of eight parts, 64 ranks below 16 each; `entries`: the ranks' indices in the coarse
 * block's table; `out`: 64 * bits bytes, bits 1, 2 or 4. */
LANES_INLINE void join64(const uint8_t *const *votes, const uint8_t (*entries)[16], int bits,
                         uint8_t *out) {
#ifdef LANES_X86
    join64_avx2(votes, entries, bits, out);
#else
    (void)votes, (void)entries, (void)bits, (void)out;
#endif
}

#endif
