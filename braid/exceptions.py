"""Errors of the formats, all below `BraidError`."""


class BraidError(Exception):
    """Base of every error that braid raises on purpose.

    Attributes:
        hint: next step for the user, set by callers that know more than the text.
    """

    hint: str | None = None


class InvalidShardFormatError(BraidError):
    """An Arrow shard, its CSV index or a .shard file breaks its format."""


class InvalidCoordinateError(BraidError):
    """A chunk coordinate is malformed or lies outside the grid."""


class ChunkNotFoundError(BraidError):
    """The shard holds no chunk at this coordinate."""


class DecompressionError(BraidError):
    """A block cannot be decoded: bad zstd, or counts that do not fit its bytes.

    Attributes:
        row: position of its row among those that were decoded together, where there were many.
        cause: the text without the row's name, likewise.
    """

    row: int | None = None
    cause: str = ""


class EncodingError(BraidError):
    """A chunk cannot be encoded: unsupported shape, block size or too large a table."""


class SpecError(BraidError):
    """A volume spec cannot be used; the text names the scale and the field."""


class SourceNotFoundError(BraidError, FileNotFoundError):
    """A file or object does not exist."""


def one_line(error: BaseException) -> str:
    """Text of another library's error, on one line and cut short."""
    return " ".join(str(error).split())[:200] or type(error).__name__
