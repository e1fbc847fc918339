"""Standard streams that are closed, full or gone: no reason for a traceback, nor to stop work.

A closed descriptor is opened on the null device, since the next file that is opened would get its
number, and with it all that is printed. What cannot be written is dropped and noted; the exit code
tells of results that are lost.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Final, TextIO

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2
# A terminal or a pipe's reader that is gone.
_NO_READER: Final = frozenset({errno.EIO, errno.EBADF, errno.ENXIO, errno.EPIPE})


class _LossyText(io.TextIOWrapper):
    """Text stream that drops what it cannot write.

    Attributes:
        lost: the first error, or None.
        raises_broken_pipe: whether the reader's end is an error, which ends a command that would
            print without end; one that works must not end by it.
    """

    lost: OSError | None = None
    raises_broken_pipe = False

    # Overridden here and not in the raw file below: a signal's exception between a write and the
    # buffer's account of it would have the bytes written twice.
    def write(self, text: str, /) -> int:
        """Write the text, or drop it."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what cannot be."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Empty the buffer onto the null device; later writes are tried again."""
        if isinstance(error, BrokenPipeError) and self.raises_broken_pipe:
            raise error
        self.lost = self.lost or error
        descriptor = self.fileno()
        with contextlib.suppress(OSError), _kept(descriptor):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)
            super().flush()


@contextlib.contextmanager
def _kept(descriptor: int) -> Iterator[None]:
    """Put a descriptor back afterwards."""
    kept = os.dup(descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def guard() -> None:
    """Guard the streams of this process; once, at its start, before a file is opened.

    Streams that were replaced, as tests do, are left alone.
    """
    _open_closed()
    sys.stdin = sys.stdin or open(_STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    sys.stdout = _guarded(sys.stdout, sys.__stdout__, _STDOUT)
    sys.stderr = _guarded(sys.stderr, sys.__stderr__, _STDERR)


def _open_closed() -> None:
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def _guarded(stream: TextIO | None, original: TextIO | None, descriptor: int) -> TextIO:
    if stream is not original or isinstance(stream, _LossyText):
        return stream or io.StringIO()
    encoding, buffered_by_line = "utf-8", True
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        encoding = stream.encoding or encoding
        buffered_by_line = getattr(stream, "line_buffering", True)
    try:
        raw = io.FileIO(descriptor, "wb", closefd=False)
    except OSError:  # a directory, as a shell's `1</` makes
        return io.StringIO()
    return _LossyText(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",  # a path need not fit the terminal's encoding
        line_buffering=buffered_by_line,
        write_through=bool(getattr(stream, "write_through", False)),
    )


def end_with_reader() -> None:
    """From now on, printing results to a pipe without a reader raises `BrokenPipeError`."""
    if isinstance(sys.stdout, _LossyText):
        sys.stdout.raises_broken_pipe = True


def flush_results() -> OSError | None:
    """Flush stdout; the error by which results were lost, or None.

    A reader that is gone (`... | head`), a terminal that was closed: nothing is lost by these.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return None
    except (OSError, ValueError) as error:
        return error if isinstance(error, OSError) else None
    lost = sys.stdout.lost if isinstance(sys.stdout, _LossyText) else None
    return None if lost is None or lost.errno in _NO_READER else lost
