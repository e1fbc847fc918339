"""What can go wrong with bytes, as one small tree of errors."""


class BraidError(Exception):
    """Base of every error that braid raises on purpose.

    Attributes:
        hint: what to do next, where a caller knows more of it than the text says.
    """

    hint: str | None = None


class InvalidShardFormatError(BraidError):
    """An Arrow shard, its CSV index or a .shard file breaks its format."""


class InvalidCoordinateError(BraidError):
    """A chunk coordinate is no coordinate, or lies outside the grid."""


class ChunkNotFoundError(BraidError):
    """The shard holds no chunk at this coordinate."""


class DecompressionError(BraidError):
    """A block cannot be decoded: bad zstd, or counts that do not fit its bytes."""


class EncodingError(BraidError):
    """A chunk cannot be encoded: unsupported shape, block size or too large a table."""


class SpecError(BraidError):
    """A volume spec cannot be used; the text names the scale and the field."""


class SourceNotFoundError(BraidError, FileNotFoundError):
    """There is no such file or object."""
