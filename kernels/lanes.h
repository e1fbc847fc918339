/* The loops over 512 voxels that decide the speed of the kernels, each in portable C and, where
 * the processor has it, for AVX2 (chosen once, when the module is loaded).
 *
 *   unpack   MSB-first indices of a DVID sub-block -> one byte per voxel
 *   used     which of up to 64 palette entries occur
 *   pack     one byte per voxel, sent through a palette -> LSB-first indices of a cseg block
 *
 * Nine in ten sub-blocks that are not solid have two to four labels; theirs stay packed:
 *
 *   used1, used2        which entries occur, from the packed values
 *   recode1, recode2    the values through a palette, packed as they were but LSB first
 *
 * The format's bits are little-endian bytes, so the host must be little-endian too. */
#ifndef SHARDLIFT_LANES_H
#define SHARDLIFT_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernels are written for little-endian processors"
#endif

/* Unpacking reads up to this many bytes past a sub-block's values. */
#define LANES_SLACK 16
#define LANES_VOXELS 512

#define LANES_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(LANES_PORTABLE)
#define LANES_X86 1
#include <immintrin.h>
#define LANES_AVX2 static __attribute__((target("avx2")))
#endif

static int lanes_wide = 0; /* 1: AVX2 */

static int lanes_have_wide(void) {
#ifdef LANES_X86
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") ? 1 : 0;
#else
    return 0;
#endif
}

/* ---------------------------------------------------------------- portable */

LANES_INLINE uint64_t lanes_big_endian(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return __builtin_bswap64(word);
}

/* Eight values fill exactly `bits` bytes. */
LANES_INLINE void lanes_unpack_as(const uint8_t *values, const int bits, uint8_t *out) {
    for (int group = 0; group < LANES_VOXELS / 8; group++, values += bits, out += 8) {
        const uint64_t word = lanes_big_endian(values);
        for (int i = 0; i < 8; i++)
            out[i] = (uint8_t)((word >> (64 - bits * (i + 1))) & ((1u << bits) - 1));
    }
}

static void lanes_unpack_portable(const uint8_t *values, int bits, uint8_t *out) {
    switch (bits) {
    case 1: lanes_unpack_as(values, 1, out); break;
    case 2: lanes_unpack_as(values, 2, out); break;
    case 3: lanes_unpack_as(values, 3, out); break;
    case 4: lanes_unpack_as(values, 4, out); break;
    case 5: lanes_unpack_as(values, 5, out); break;
    case 6: lanes_unpack_as(values, 6, out); break;
    case 7: lanes_unpack_as(values, 7, out); break;
    default: lanes_unpack_as(values, 8, out); break;
    }
}

/* Nine bits, the most a sub-block can need: values straddle every byte. */
static void lanes_unpack9(const uint8_t *values, uint16_t *out) {
    for (int group = 0; group < LANES_VOXELS / 8; group++, values += 9)
        for (int i = 0; i < 8; i++) {
            const int first = i * 9;
            const unsigned pair = (unsigned)values[first >> 3] << 8 | values[(first >> 3) + 1];
            *out++ = (uint16_t)(pair >> (7 - (first & 7)) & 511);
        }
}

static uint64_t lanes_used_portable(const uint8_t *index) {
    uint64_t used = 0;
    for (int i = 0; i < LANES_VOXELS; i++)
        used |= (uint64_t)1 << (index[i] & 63);
    return used;
}

LANES_INLINE void lanes_pack_as(const uint8_t *index, const uint8_t *palette, const int bits,
                                uint8_t *out) {
    const int each = 8 / bits; /* values in a byte */
    for (int i = 0; i < LANES_VOXELS; i += each) {
        unsigned byte = 0;
        for (int j = 0; j < each; j++)
            byte |= (unsigned)palette[index[i + j]] << (j * bits);
        *out++ = (uint8_t)byte;
    }
}

static void lanes_pack_portable(const uint8_t *index, const uint8_t *palette, int bits,
                                uint8_t *out) {
    switch (bits) {
    case 1: lanes_pack_as(index, palette, 1, out); break;
    case 2: lanes_pack_as(index, palette, 2, out); break;
    case 4: lanes_pack_as(index, palette, 4, out); break;
    default: lanes_pack_as(index, palette, 8, out); break;
    }
}

/* Packed values as words of 64; the same source serves both builds, as compilers vectorise it. */

#define LANES_EVEN 0x5555555555555555ULL
#define LANES_PAIRS 0x3333333333333333ULL
#define LANES_NIBBLES 0x0f0f0f0f0f0f0f0fULL

LANES_INLINE uint64_t lanes_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

LANES_INLINE unsigned lanes_used1_as(const uint8_t *values) {
    uint64_t ones = 0, zeros = 0;
    for (int i = 0; i < 64; i += 8) {
        const uint64_t word = lanes_word(values + i);
        ones |= word;
        zeros |= ~word;
    }
    return (zeros != 0) | (unsigned)(ones != 0) << 1;
}

/* Bits of a byte from last to first. */
LANES_INLINE void lanes_recode1_as(const uint8_t *values, uint64_t flip, uint8_t *out) {
    for (int i = 0; i < 64; i += 8) {
        uint64_t word = lanes_word(values + i) ^ flip;
        word = (word >> 1 & LANES_EVEN) | (word & LANES_EVEN) << 1;
        word = (word >> 2 & LANES_PAIRS) | (word & LANES_PAIRS) << 2;
        word = (word >> 4 & LANES_NIBBLES) | (word & LANES_NIBBLES) << 4;
        memcpy(out + i, &word, 8);
    }
}

LANES_INLINE unsigned lanes_used2_as(const uint8_t *values) {
    uint64_t some[4] = {0, 0, 0, 0};
    for (int i = 0; i < 128; i += 8) {
        const uint64_t word = lanes_word(values + i), high = word >> 1;
        some[0] |= ~high & ~word;
        some[1] |= ~high & word;
        some[2] |= high & ~word;
        some[3] |= high & word;
    }
    unsigned used = 0;
    for (int i = 0; i < 4; i++)
        used |= (unsigned)((some[i] & LANES_EVEN) != 0) << i;
    return used;
}

/* Each bit of an index is an OR over the entries that have it; then a byte's four fields change
 * order. */
LANES_INLINE void lanes_recode2_as(const uint8_t *values, const uint8_t *remap, uint8_t *out) {
    uint64_t low[4], high[4];
    for (int i = 0; i < 4; i++) {
        low[i] = remap[i] & 1 ? LANES_EVEN : 0;
        high[i] = remap[i] & 2 ? LANES_EVEN : 0;
    }
    for (int i = 0; i < 128; i += 8) {
        const uint64_t word = lanes_word(values + i), upper = word >> 1;
        const uint64_t is0 = ~upper & ~word, is1 = ~upper & word;
        const uint64_t is2 = upper & ~word, is3 = upper & word;
        uint64_t index = (is0 & low[0]) | (is1 & low[1]) | (is2 & low[2]) | (is3 & low[3]);
        index |= ((is0 & high[0]) | (is1 & high[1]) | (is2 & high[2]) | (is3 & high[3])) << 1;
        index = (index >> 2 & LANES_PAIRS) | (index & LANES_PAIRS) << 2;
        index = (index >> 4 & LANES_NIBBLES) | (index & LANES_NIBBLES) << 4;
        memcpy(out + i, &index, 8);
    }
}

static unsigned lanes_used1_portable(const uint8_t *values) { return lanes_used1_as(values); }
static unsigned lanes_used2_portable(const uint8_t *values) { return lanes_used2_as(values); }
static void lanes_recode1_portable(const uint8_t *values, uint64_t flip, uint8_t *out) {
    lanes_recode1_as(values, flip, out);
}
static void lanes_recode2_portable(const uint8_t *values, const uint8_t *remap, uint8_t *out) {
    lanes_recode2_as(values, remap, out);
}

/* ---------------------------------------------------------------- AVX2 */

#ifdef LANES_X86

LANES_AVX2 unsigned lanes_used1_avx2(const uint8_t *values) { return lanes_used1_as(values); }
LANES_AVX2 unsigned lanes_used2_avx2(const uint8_t *values) { return lanes_used2_as(values); }
LANES_AVX2 void lanes_recode1_avx2(const uint8_t *values, uint64_t flip, uint8_t *out) {
    lanes_recode1_as(values, flip, out);
}
LANES_AVX2 void lanes_recode2_avx2(const uint8_t *values, const uint8_t *remap, uint8_t *out) {
    lanes_recode2_as(values, remap, out);
}

/* Per width: which two bytes hold value i of a group of eight (low byte of the pair first), and
 * the factor that moves the value to the top of the pair. */
static uint8_t lanes_spread[9][16];
static uint16_t lanes_lift[9][8];

static void lanes_tables(void) {
    for (int bits = 1; bits <= 8; bits++)
        for (int i = 0; i < 8; i++) {
            lanes_spread[bits][2 * i] = (uint8_t)(((i * bits) >> 3) + 1);
            lanes_spread[bits][2 * i + 1] = (uint8_t)((i * bits) >> 3);
            lanes_lift[bits][i] = (uint16_t)(1u << ((i * bits) & 7));
        }
}

LANES_AVX2 inline __m256i lanes_two_groups(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
        _mm_loadu_si128((const __m128i *)high), 1);
}

LANES_AVX2 void lanes_unpack_avx2(const uint8_t *values, int bits, uint8_t *out) {
    const __m256i spread = _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)lanes_spread[bits]));
    const __m256i lift = _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)lanes_lift[bits]));
    const __m128i drop = _mm_cvtsi32_si128(16 - bits);
    for (int i = 0; i < LANES_VOXELS; i += 32, values += 4 * bits) {
        __m256i even = lanes_two_groups(values, values + 2 * bits);
        __m256i odd = lanes_two_groups(values + bits, values + 3 * bits);
        even = _mm256_srl_epi16(_mm256_mullo_epi16(_mm256_shuffle_epi8(even, spread), lift), drop);
        odd = _mm256_srl_epi16(_mm256_mullo_epi16(_mm256_shuffle_epi8(odd, spread), lift), drop);
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_packus_epi16(even, odd));
    }
}

/* OR of 32 bytes into the low byte. */
LANES_AVX2 inline uint64_t lanes_or_bytes(__m256i all) {
    __m128i half = _mm_or_si128(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    half = _mm_or_si128(half, _mm_unpackhi_epi64(half, half));
    uint64_t word = (uint64_t)_mm_cvtsi128_si64(half);
    word |= word >> 32;
    word |= word >> 16;
    word |= word >> 8;
    return word & 0xff;
}

/* A byte shuffle looks up 1 << (value & 7); values of another eighth of the palette are masked. */
LANES_AVX2 uint64_t lanes_used_avx2(const uint8_t *index, int entries) {
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ULL);
    const __m256i seven = _mm256_set1_epi8(7);
    uint64_t used = 0;
    for (int eighth = 0; eighth * 8 < entries; eighth++) {
        const __m256i first = _mm256_set1_epi8((char)(eighth * 8));
        __m256i all = _mm256_setzero_si256();
        for (int i = 0; i < LANES_VOXELS; i += 32) {
            const __m256i value = _mm256_loadu_si256((const __m256i *)(index + i));
            const __m256i here = _mm256_cmpeq_epi8(_mm256_andnot_si256(seven, value), first);
            const __m256i mark = _mm256_shuffle_epi8(bit, _mm256_and_si256(value, seven));
            all = _mm256_or_si256(all, _mm256_and_si256(mark, here));
        }
        used |= lanes_or_bytes(all) << (eighth * 8);
    }
    return used;
}

typedef struct {
    __m256i low, high; /* palette entries 0-15 and 16-31, in both halves */
} lanes_palette;

LANES_AVX2 inline __m256i lanes_look_up(const uint8_t *index, lanes_palette palette) {
    const __m256i value = _mm256_loadu_si256((const __m256i *)index);
    /* Bit 4 of the value, moved to the sign of its byte, chooses the half. */
    return _mm256_blendv_epi8(_mm256_shuffle_epi8(palette.low, value),
                              _mm256_shuffle_epi8(palette.high, value),
                              _mm256_slli_epi16(value, 3));
}

LANES_AVX2 inline lanes_palette lanes_load_palette(const uint8_t *palette) {
    lanes_palette loaded;
    loaded.low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)palette));
    loaded.high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(palette + 16)));
    return loaded;
}

LANES_AVX2 inline void lanes_pack1_avx2(const uint8_t *index, lanes_palette palette, uint8_t *out) {
    for (int i = 0; i < LANES_VOXELS; i += 32, out += 4) {
        const __m256i value = lanes_look_up(index + i, palette);
        const int word = _mm256_movemask_epi8(_mm256_slli_epi16(value, 7));
        memcpy(out, &word, 4);
    }
}

LANES_AVX2 inline void lanes_pack2_avx2(const uint8_t *index, lanes_palette palette, uint8_t *out) {
    const __m256i pairs = _mm256_set1_epi16(0x0401), quads = _mm256_set1_epi32(0x00100001);
    const __m256i gather = _mm256_set1_epi32(0x0c080400);
    for (int i = 0; i < LANES_VOXELS; i += 32, out += 8) {
        __m256i value = lanes_look_up(index + i, palette);
        value = _mm256_madd_epi16(_mm256_maddubs_epi16(value, pairs), quads);
        value = _mm256_shuffle_epi8(value, gather);
        const int low = _mm256_extract_epi32(value, 0), high = _mm256_extract_epi32(value, 4);
        memcpy(out, &low, 4);
        memcpy(out + 4, &high, 4);
    }
}

LANES_AVX2 inline void lanes_pack4_avx2(const uint8_t *index, lanes_palette palette, uint8_t *out) {
    const __m256i pairs = _mm256_set1_epi16(0x1001);
    for (int i = 0; i < LANES_VOXELS; i += 64, out += 32) {
        const __m256i low = _mm256_maddubs_epi16(lanes_look_up(index + i, palette), pairs);
        const __m256i high = _mm256_maddubs_epi16(lanes_look_up(index + i + 32, palette), pairs);
        _mm256_storeu_si256((__m256i *)out,
                            _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xd8));
    }
}

LANES_AVX2 inline void lanes_pack8_avx2(const uint8_t *index, lanes_palette palette, uint8_t *out) {
    for (int i = 0; i < LANES_VOXELS; i += 32)
        _mm256_storeu_si256((__m256i *)(out + i), lanes_look_up(index + i, palette));
}

/* At most 32 palette entries. */
LANES_AVX2 void lanes_pack_avx2(const uint8_t *index, const uint8_t *palette, int bits,
                                uint8_t *out) {
    const lanes_palette loaded = lanes_load_palette(palette);
    switch (bits) {
    case 1: lanes_pack1_avx2(index, loaded, out); break;
    case 2: lanes_pack2_avx2(index, loaded, out); break;
    case 4: lanes_pack4_avx2(index, loaded, out); break;
    default: lanes_pack8_avx2(index, loaded, out); break;
    }
}

#endif

/* ---------------------------------------------------------------- public entry points */

/* Called when the module is loaded; `wide` = 0 keeps to portable C. */
static void lanes_choose(int wide) {
#ifdef LANES_X86
    lanes_tables();
#endif
    lanes_wide = wide && lanes_have_wide();
}

/* `values`: 64 * bits bytes and LANES_SLACK more that may be read; bits 1-8. `out`: 512 bytes. */
LANES_INLINE void lanes_unpack(const uint8_t *values, int bits, uint8_t *out) {
#ifdef LANES_X86
    if (lanes_wide) {
        lanes_unpack_avx2(values, bits, out);
        return;
    }
#endif
    lanes_unpack_portable(values, bits, out);
}

/* Bit i of the result: the value i occurs in index[512]; all values are below 64, and those that
 * do not exist in a palette of `entries` (up to the next power of two) are shown too. */
LANES_INLINE uint64_t lanes_used(const uint8_t *index, int entries) {
#ifdef LANES_X86
    if (lanes_wide)
        return lanes_used_avx2(index, entries);
#endif
    (void)entries;
    return lanes_used_portable(index);
}

/* `index`: 512 bytes, each below `entries`; `palette`: `entries` bytes, readable up to 32;
 * `out`: 64 * bits bytes; bits 1, 2, 4 or 8. */
LANES_INLINE void lanes_pack(const uint8_t *index, const uint8_t *palette, int entries, int bits,
                             uint8_t *out) {
#ifdef LANES_X86
    if (lanes_wide && entries <= 32) {
        lanes_pack_avx2(index, palette, bits, out);
        return;
    }
#endif
    (void)entries;
    lanes_pack_portable(index, palette, bits, out);
}

#ifdef LANES_X86
#define LANES_CHOOSE(name, ...) \
    (lanes_wide ? lanes_##name##_avx2(__VA_ARGS__) : lanes_##name##_portable(__VA_ARGS__))
#else
#define LANES_CHOOSE(name, ...) lanes_##name##_portable(__VA_ARGS__)
#endif

/* Entries that occur among 512 values of one bit (64 bytes) or two (128 bytes): bit i for entry i.
 * None of these four reads or writes beyond its values. */
LANES_INLINE unsigned lanes_used1(const uint8_t *values) { return LANES_CHOOSE(used1, values); }
LANES_INLINE unsigned lanes_used2(const uint8_t *values) { return LANES_CHOOSE(used2, values); }

/* One bit to one bit; `swap` exchanges the two entries. */
LANES_INLINE void lanes_recode1(const uint8_t *values, int swap, uint8_t *out) {
    LANES_CHOOSE(recode1, values, swap ? ~(uint64_t)0 : 0, out);
}

/* Two bits to two bits through remap[4], each below 4. */
LANES_INLINE void lanes_recode2(const uint8_t *values, const uint8_t *remap, uint8_t *out) {
    LANES_CHOOSE(recode2, values, remap, out);
}

#endif
