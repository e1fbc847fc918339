# Table of contents of `_braid` at the C level, part by part in the order of their inclusion: every
# constant and struct, and under `Offers` the functions that a part has for others. (Prototypes here
# would export the functions, which keeps the compiler from inlining them; a test holds the lists
# against the parts.)

from cpython.buffer cimport Py_buffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


# ---------------- lanes.h: loops over 512 voxels

cdef extern from "kernels/lanes.h" nogil:
    enum:
        LANES_SLACK
    int lanes_wide
    void lanes_choose(int wide)
    void lanes_unpack(const uint8_t* values, int bits, uint8_t* out)
    void lanes_unpack9(const uint8_t* values, uint16_t* out)
    uint64_t lanes_used(const uint8_t* index, int entries)
    void lanes_pack(
        const uint8_t* index, const uint8_t* palette, int entries, int bits, uint8_t* out)
    unsigned int lanes_used1(const uint8_t* values)
    unsigned int lanes_used2(const uint8_t* values)
    void lanes_recode1(const uint8_t* values, int swap, uint8_t* out)
    void lanes_recode2(const uint8_t* values, const uint8_t* remap, uint8_t* out)

# ---------------- vote_lanes.h: votes on blocks of up to 16 labels, where `lanes_wide` is set

cdef extern from "kernels/vote_lanes.h" nogil:
    unsigned int vote64_highest(const uint8_t* values, int bits)
    unsigned int vote64(const uint8_t* values, int bits, int skip_zero, uint8_t* votes)
    void join64(
        const uint8_t* const* votes, const uint8_t (*entries)[16], int bits, uint8_t* out)

cdef extern from * nogil:
    int __builtin_clz(unsigned int)
    int __builtin_ctz(unsigned int)
    int __builtin_clzll(unsigned long long)


# ---------------- faults: numbered in nogil code, raised as exceptions

# Offers
#   fail, fail_at: fill in a fault; return -1
#   no_fault: before a call
#   raise_fault: as the exception of its code

# Every fault of every kernel, numbered once; `FAULT_TEXTS` in faults.pxi has a text for each.
cdef enum:
    FAULT_NONE = 0
    FAULT_MEMORY
    FAULT_CODEC
    FAULT_ROOM
    FAULT_FRAME_DAMAGED
    FAULT_FRAME_SIZE
    FAULT_FRAME_OUTSIDE
    FAULT_GZIP_BOUND
    FAULT_GZIP_MEMBER
    FAULT_BLOCK_SHORT
    FAULT_BLOCK_GRID
    FAULT_BLOCK_EMPTY
    FAULT_BLOCK_TABLE
    FAULT_BLOCK_COUNTS
    FAULT_BLOCK_COUNT
    FAULT_BLOCK_SIZE
    FAULT_BLOCK_INDEX
    FAULT_BLOCK_VALUE
    FAULT_LABEL_MAP
    FAULT_NO_ENTRY
    FAULT_CSEG_SIZE
    FAULT_CSEG_CHANNEL
    FAULT_CSEG_HEADERS
    FAULT_CSEG_BITS
    FAULT_CSEG_VALUES
    FAULT_CSEG_TABLE
    FAULT_CSEG_VALUE
    FAULT_CSEG_LARGE
    FAULT_CSEG_LABELS
    FAULT_VOTE_CELL
    FAULT_IPC_SHORT
    FAULT_IPC_MARK
    FAULT_IPC_METADATA
    FAULT_IPC_OUTSIDE
    FAULT_IPC_KIND
    FAULT_IPC_COMPRESSED
    FAULT_IPC_BYTES
    FAULT_IPC_ROWS
    FAULT_IPC_LACKING
    FAULT_COLUMN_NULLS
    FAULT_COLUMN_ITEM_NULLS
    FAULT_COLUMN_LENGTH
    FAULT_COLUMN_BUFFER
    FAULT_COLUMN_OFFSET

# One fault per call: nogil code fills it in, `raise_fault` turns it into an exception.
cdef struct Fault:
    int code
    int64_t item             # index in the batch, or -1
    int64_t part             # sub-block, block or column of the item, or -1
    uint64_t expected
    uint64_t found
    const char* detail       # a library's own text, or NULL


# ---------------- bytes: unaligned reads, Python's buffers

# Offers
#   load16, load32, load64: little-endian words at any address
#   Views: buffers held while nogil code reads them
#   check_starts: k + 1 starts ascend within an array


# ---------------- sorting: labels and their ranks

# Offers
#   sort_pairs: (key, pos) pairs by key, stable
#   rank_labels: sort, drop repeats, rank each label
#   upper_bound: in ascending keys

cdef enum:
    SMALL_SORT = 40          # entries up to which insertion beats radix


# ---------------- label_set: labels of a chunk

# Offers
#   label_set_make, label_set_clear, label_set_add: labels of a chunk
#   palette_build: labels of 512 voxels and each voxel's index
#   all_equal: whether voxels have one label

# Each label once, by hash. 0 marks a free slot, so label 0 has its own flag.
cdef struct LabelSet:
    uint64_t* labels
    uint64_t room            # a power of two
    uint64_t count           # without 0
    bint zero


# ---------------- dvid_block: parse and decode

# Offers
#   subblock_bits: bits per value for a number of labels
#   block_open: check header and counts; allocates nothing
#   subblock_first, subblock_next: walk over sub-blocks
#   subblock_entry: a palette entry's index into the block's table
#   subblock_unpack, subblock_unpack_wide: values to one or two bytes per voxel
#   block_decode: voxels through a table
#   subblock_grid: sub-blocks per axis of a shape

cdef enum:
    SUBBLOCK_EDGE = 8        # voxels along an edge of a sub-block
    SUBBLOCK_VOXELS = 512
    SUBBLOCK_LABELS = 512    # most labels that a sub-block can hold
    BLOCK_HEADER_BYTES = 16

# A block whose counts have all been checked against its size; only the indices into the table
# and the values are still to be checked, where they are read.
cdef struct Block:
    uint32_t gx, gy, gz
    uint32_t n_subblocks     # gx * gy * gz
    uint32_t n_labels
    const uint8_t* table     # u64[n_labels]
    const uint8_t* counts    # u16[n_subblocks]; not for a solid block (n_labels == 1)
    const uint8_t* indices   # u32[sum of counts]
    const uint8_t* values
    const uint8_t* end
    uint64_t most_words      # of a cseg chunk with this block's voxels, however they are mapped

# One sub-block of a block; `subblock_next` moves on to the next.
cdef struct SubBlock:
    uint32_t number          # in the block, x fastest
    uint32_t n_labels
    int bits
    const uint8_t* indices   # u32[n_labels]
    const uint8_t* values    # 64 * bits bytes


# ---------------- label_map: supervoxels to labels

# Offers
#   label_map_at: one block's map
#   label_maps_make: from checked arrays
#   label_map_apply: the block's table after mapping
#   label_scratch_none, label_scratch_reserve, label_scratch_free: memory of a scratch

# What a block's labels become: labels[i] is the label of supervoxels[i]; supervoxels NULL keeps
# every label as it is.
cdef struct LabelMap:
    const uint64_t* labels
    const uint64_t* supervoxels
    size_t n

# The maps of many blocks as flat arrays, each with a start more; supervoxels NULL: none.
cdef struct LabelMaps:
    const uint64_t* labels
    const int64_t* label_start
    const uint64_t* supervoxels
    const int64_t* supervoxel_start

# For one block at a time: room for `room` entries in each array.
cdef struct LabelScratch:
    size_t room
    uint64_t* labels         # the block's table after mapping
    uint64_t* keys
    uint64_t* tmp_keys
    uint32_t* pos
    uint32_t* tmp_pos
    uint32_t* rank
    uint8_t* seen


# ---------------- block_batch: blocks one after another

# Offers
#   block_batch_make: from checked arrays
#   block_batch_open: block i and its map

# Blocks one after another, with k + 1 starts, and their label maps.
cdef struct BlockBatch:
    size_t k
    const uint8_t* blocks
    const int64_t* start
    LabelMaps label_maps


# ---------------- dvid_block_encode: voxels to a block

# What the first pass over a block's voxels leaves behind.
cdef struct BlockEncoder:
    uint32_t gx, gy, gz
    uint32_t n_subblocks
    uint64_t* palettes       # labels of all sub-blocks, one sub-block after another
    uint32_t* indices        # the same as indices into the table
    uint16_t* counts
    uint8_t* values
    size_t n_indices
    size_t n_values


# ---------------- cseg_writer: compressed_segmentation, written

# Offers
#   cseg_writer_make, cseg_writer_free: memory of a writer
#   cseg_writer_begin, cseg_writer_bytes: a chunk's begin, and its size so far
#   cseg_put_solid, cseg_put_block, cseg_put_block_wide: the chunk's next block
#   cseg_values_begin, cseg_values_end: the same in two steps, packed in place
#   cseg_bits: bits per value for a number of labels
#   cseg_pack: values of a block of any size

cdef enum:
    CSEG_LAST_OFFSET = 0xFFFFFF    # in words
    CSEG_LARGEST_BLOCK = 1 << 21   # voxels, ours: bounds the scratch for one block

# A table written before in the chunk.
cdef struct CsegTableSlot:
    uint32_t stamp           # slots of another chunk are free
    uint32_t hash
    uint32_t offset
    uint32_t n

# Writes one chunk after another. The blocks of a chunk must come in order, each exactly once.
cdef struct CsegWriter:
    uint8_t* channel         # first byte of the channel: the block headers
    uint64_t used            # words of the channel written so far, headers included
    uint64_t room            # words that the channel may take
    uint32_t n_blocks
    uint32_t block           # next block
    uint32_t label_words     # 2: u64 labels, 1: u32
    CsegTableSlot* slots     # tables of this chunk, found by hash
    uint32_t slot_mask
    uint32_t stamp
    bint has_solid           # the solid block before, as neighbours are mostly alike
    uint64_t solid_label
    uint32_t solid_offset


# ---------------- cseg_chunk: parsed

# Offers
#   cseg_chunk_open, cseg_block_open: check headers, check one block
#   cseg_label: of a table entry
#   cseg_block_indices: of all voxels, checked
#   cseg_unpack: the same unchecked

# A chunk whose headers lie inside its bytes; each block is checked when it is opened.
cdef struct CsegChunk:
    const uint8_t* channel
    uint64_t n_words         # of the channel
    uint32_t n_blocks
    uint32_t label_words

# One block, its values checked to lie inside the chunk, its table to have an entry at least.
cdef struct CsegBlock:
    int bits
    const uint8_t* values    # whole words
    const uint8_t* table     # u64 or u32, unaligned
    uint64_t n_entries       # entries that fit between the table's start and the chunk's end


# ---------------- cseg_voxels: encoded and decoded

ctypedef fused label_t:
    uint64_t
    uint32_t

# How a chunk of (z, y, x) voxels divides into blocks; those at the upper edges may be partial.
cdef struct CsegGrid:
    size_t sx, sy, sz        # voxels of the chunk
    size_t bx, by, bz        # voxels of a block
    size_t gx, gy, gz        # blocks
    size_t n_blocks
    size_t n_voxels          # of one whole block

# One block in its chunk: first voxel and (clipped) extent.
cdef struct CsegBox:
    size_t x, y, z
    size_t nx, ny, nz

# Voxels in memory, of any strides (bytes), with labels of one or two words.
cdef struct VoxelView:
    uint8_t* data
    Py_ssize_t x, y, z
    uint32_t label_words

# Scratch for one block of voxels at a time.
cdef struct CsegTile:
    uint64_t* voxels         # a whole block
    uint32_t* indices
    LabelScratch scratch

# Memory for a chunk that grows with its blocks; a chunk's worst case is 100 times its usual.
cdef struct CsegBuffer:
    uint8_t* out
    uint64_t words


# ---------------- transcode: DVID block to cseg

# Offers
#   transcode_block: one block's chunk

ctypedef fused entry_t:      # of a palette
    uint8_t
    uint16_t

# A sub-block's palette on its way to the new table.
cdef struct Palette:
    uint64_t keys[SUBBLOCK_LABELS]   # ranks of the entries in use, later the new table's labels
    uint32_t pos[SUBBLOCK_LABELS]    # which entry has that rank
    uint64_t tmp_keys[SUBBLOCK_LABELS]
    uint32_t tmp_pos[SUBBLOCK_LABELS]
    uint32_t n                       # entries in use

# A block of a batch, checked, and its label map.
cdef struct BatchBlock:
    Block block
    LabelMap label_map


# ---------------- votes: on cseg blocks

# Offers
#   vote_block: a fine block's votes
#   vote_put_block: the coarse block from its parts

cdef enum:
    NARROW_RANKS = 32        # ranks that fit beside a count in 8 bits
    WIDE_RANKS = 512         # ... in 16 bits
    VOTE_LANES = 64          # windows per step; constant, so that the compiler vectorises
    LANE_RANKS = 16          # ranks that `vote_lanes.h` takes
    LANE_WINDOWS = 64        # ... and windows, each of 8 voxels
    FEW_LABELS = 4           # that insertion adds to a list sooner than a merge
    MOST_PARTS = 8           # fine blocks behind a coarse block
    MOST_AXIS_BLOCKS = 1024  # fine blocks behind a coarse chunk, along one axis

ctypedef fused rank_t:       # of a label in a fine block
    uint8_t
    uint16_t

ctypedef fused coarse_t:     # index of a label in a coarse block
    uint8_t
    uint16_t

ctypedef fused index_t:      # of a label in a fine block's table
    uint8_t
    uint32_t

# Geometry of a batch, all (x, y, z).
cdef struct VotePlan:
    int64_t fine_size[3]     # voxels of the fine volume
    int64_t fine_chunk[3]
    int64_t coarse_chunk[3]
    int64_t slots[3]         # fine chunks that a cell can meet
    int halved[3]            # 1 where the factor is 2
    int windows              # in a fine block
    bint nonzero             # zeros never vote
    uint32_t label_words

# The fine voxels and chunks behind one coarse chunk.
cdef struct VoteCell:
    int64_t region[3]        # fine voxels that it is made from, clipped to the volume
    int64_t reach[3]         # voxels from the first fine chunk's begin to the volume's end
    uint16_t slot[3][MOST_AXIS_BLOCKS]    # per fine block: the fine chunk that holds it,
    uint16_t inner[3][MOST_AXIS_BLOCKS]   # and its position in that chunk, in blocks

cdef struct FineChunk:
    bint stored              # False: zeros
    int64_t blocks[3]
    CsegChunk cseg

# What one fine block gives to a coarse block.
cdef struct VotePart:
    int64_t at[3]            # first vote's position in the coarse block
    int64_t votes[3]         # that exist
    bint solid
    bint wide                # votes in `wide_votes`, else in `narrow_votes`
    int used
    uint64_t label           # if solid
    uint16_t ranks[512]      # that won a vote, ascending
    uint64_t labels[512]     # theirs
    uint8_t narrow_votes[512]
    uint16_t wide_votes[512]

cdef struct VoteScratch:
    VotePart parts[MOST_PARTS]
    uint32_t indices[512]
    uint8_t voxels[512]
    uint8_t planes[512]
    uint16_t wide_voxels[512]
    uint16_t wide_planes[512]
    uint64_t table[512]      # of the block being voted on
    uint64_t merged[2][512]
    uint64_t keys[512]
    uint64_t tmp_keys[512]
    uint32_t pos[512]
    uint32_t tmp_pos[512]
    uint8_t block[512]
    uint16_t wide_block[512]
    LabelSet seen
    CsegWriter writer
    uint8_t* out             # the batch's chunks, one after another
    uint64_t out_room
    int64_t slot             # being read: for errors


# ---------------- downsample: whole coarse chunks

# Offers
#   vote_plan_make: geometry, checked
#   vote_scratch_make, vote_scratch_free: memory of a thread
#   vote_cell_locate, vote_cell: one coarse chunk
#   vote_raise_fault: with the fine chunk's name


# ---------------- gzip: functions of libdeflate

# Offers
#   gzip_functions, gunzip_functions: from their addresses

ctypedef void* (*AllocCompressor)(int level) noexcept nogil
ctypedef size_t (*GzipCompress)(
    void* compressor, const void* data, size_t size, void* out, size_t room) noexcept nogil
ctypedef size_t (*GzipBound)(void* compressor, size_t size) noexcept nogil
ctypedef void (*FreeCompressor)(void* compressor) noexcept nogil
ctypedef void* (*AllocDecompressor)() noexcept nogil
ctypedef int (*GzipDecompress)(
    void* decompressor, const void* member, size_t size, void* out, size_t room, size_t* made
) noexcept nogil
ctypedef void (*FreeDecompressor)(void* decompressor) noexcept nogil

cdef struct GzipFunctions:
    AllocCompressor create
    GzipCompress compress
    GzipBound bound
    FreeCompressor release

cdef struct GunzipFunctions:
    AllocDecompressor create
    GzipDecompress decompress
    FreeDecompressor release


# ---------------- zstd: functions of libzstd

# Offers
#   zstd_functions: from their addresses
#   zstd_decompress: one frame of known size

ctypedef void* (*ZstdCreate)() noexcept nogil
ctypedef size_t (*ZstdDecompress)(
    void* context, void* out, size_t room, const void* frame, size_t size) noexcept nogil
ctypedef unsigned int (*ZstdIsError)(size_t code) noexcept nogil
ctypedef const char* (*ZstdErrorName)(size_t code) noexcept nogil
ctypedef size_t (*ZstdFree)(void* context) noexcept nogil

cdef struct ZstdFunctions:
    ZstdCreate create
    ZstdDecompress decompress
    ZstdIsError is_error
    ZstdErrorName error_name
    ZstdFree release


# ---------------- payloads: of a shard, from rows

# Offers
#   buffer_reserve: memory that grows
#   now_ns, time_spend: times of steps
#   payload_store, payloads_free, payloads_join: payloads of a batch

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
    STEPS = 3                # decompress, transcode, gzip

# The rows of a batch, checked; all arrays outlive the batch.
cdef struct PayloadInput:
    size_t k
    const int64_t* rows      # int64[k]; chunk i is made of this row
    const uint8_t* frames
    const int64_t* frame_start
    const uint32_t* sizes    # of the blocks, as the export states them
    LabelMaps label_maps

# The packages' functions; without those of libdeflate chunks are stored as they are.
cdef struct PayloadCodecs:
    ZstdFunctions zstd
    GzipFunctions gzip
    int level

# A payload, with memory of its own.
cdef struct Payload:
    uint8_t* data
    int64_t size
    uint32_t labels

# Memory that grows; its contents are lost then.
cdef struct Buffer:
    uint8_t* data
    size_t room

# One thread's contexts and memory, reused from chunk to chunk.
cdef struct ThreadScratch:
    void* zstd
    void* compressor
    Buffer block
    Buffer chunk
    Buffer member
    LabelScratch labels
    CsegWriter writer
    int64_t spent_ns[STEPS]


# ---------------- cells: payloads of a coarse scale, from those of the fine one

# Without functions, chunks are taken or stored as they are.
cdef struct CellCodecs:
    GunzipFunctions gunzip
    GzipFunctions gzip
    int level

# The cells of a batch, checked; all arrays outlive the batch.
cdef struct CellInput:
    int64_t k
    VotePlan plan
    const Py_buffer* stored  # per cell every slot; NULL: zeros
    const int64_t* sizes     # of each when it is decompressed
    const int64_t* coords    # x, y, z of each cell

# One thread's contexts and memory, reused from cell to cell and from batch to batch.
cdef struct CellScratch:
    void* decompressor
    void* compressor
    FineChunk* fines
    Py_buffer* views         # of a cell's chunks, decompressed
    Buffer fine_bytes
    Buffer member
    VoteScratch vote
    int64_t spent_ns[STEPS]
    CellScratch* next        # of the spare ones


# ---------------- arrow: metadata of IPC messages

# Offers
#   flat_number, flat_vector: checked reads of a flatbuffer
#   message_metadata: of an IPC message
#   message_rows: of a record batch

# Field numbers in Message.fbs, and how many of a table's fields are looked at.
cdef enum:
    HEADER_TYPE = 1
    HEADER = 2
    BODY_LENGTH = 3
    BATCH_LENGTH = 0
    BATCH_NODES = 1
    BATCH_BUFFERS = 2
    BATCH_COMPRESSION = 3
    FIELDS = 4
    SCHEMA_KIND = 1
    RECORD_BATCH_KIND = 3
    ENDIANNESS = 0           # of a schema

cdef struct FlatBuffer:
    const uint8_t* bytes
    int64_t size
    bint bad                 # an offset led outside; numbers read since then are 0

# A message's metadata and, of a schema or a record batch, the fields of its header.
cdef struct MessageMetadata:
    int64_t kind
    int64_t body_bytes
    bint has_header
    int64_t header[FIELDS]


# ---------------- rows: of Arrow record batches

cdef enum:
    ROW_VALUES = 4           # columns of four bytes a row
    ROW_LISTS = 3            # columns of lists: labels, supervoxels, bytes of the block
    ROW_NODES = 9            # the seven columns and the items of two of them
    ROW_BUFFERS = 19
    BLOCK_LIST = 2           # its items have no node of their own
    MARK_BYTES = 8           # 0xFFFFFFFF and the length of the metadata
    LONGEST_METADATA = 1 << 24

# A record batch that was proved to lie within its message.
cdef struct RecordBatch:
    int64_t rows
    const uint8_t* values[ROW_VALUES]   # x, y, z, uncompressed_size
    const uint8_t* ends[ROW_LISTS]      # int32 offsets, rows + 1 of them
    const uint8_t* items[ROW_LISTS]

# Metadata and body of one IPC message, and where its vectors of nodes and buffers begin.
cdef struct IpcMessage:
    FlatBuffer flat
    const uint8_t* body
    int64_t body_bytes
    int64_t nodes
    int64_t buffers
