"""crc32c checksums in the form of GCS; hardware accelerated."""

import base64
import zlib
from typing import Final

import google_crc32c

_ONES: Final = 0xFFFF_FFFF
_GZIP: Final = 31  # zlib's window bits for a gzip member
_ZEROS: Final = bytes(1 << 20)


def crc32c(data: bytes, crc: int = 0) -> int:
    """Checksum of `data`; with `crc`, of the data behind `crc` followed by `data`."""
    return int(google_crc32c.extend(crc, data))


def encode(crc: int) -> str:
    """Encode a checksum as GCS does: base64 of the big-endian value."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode("ascii")


def unpacked(data: bytes) -> bytes:
    """Content of an object that is stored as gzip; as it is, if it only claims to be."""
    try:
        return zlib.decompress(data, _GZIP)
    except zlib.error:
        return data


def combine(first: int, second: int, second_bytes: int) -> int:
    """Checksum of two concatenated pieces, from their checksums.

    A crc is linear: the first piece's share in the whole is its own checksum pushed through as
    many zeros as the second has bytes, started so that the crc's own initial and final inversion
    cancel out. Zeros run at memory speed, some 10 GB/s.
    """
    state = first ^ _ONES
    whole, rest = divmod(second_bytes, len(_ZEROS))
    for _ in range(whole):
        state = google_crc32c.extend(state, _ZEROS)
    return int(google_crc32c.extend(state, _ZEROS[:rest])) ^ _ONES ^ second
