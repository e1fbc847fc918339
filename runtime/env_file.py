"""The `.env` of the working directory: found, decoded, parsed.

Editors and shells write it in several encodings. On Linux a variable is bytes, so what is not
UTF-8, such as a Latin-1 comment, keeps its bytes.
"""

import codecs
import io
import stat
from pathlib import Path
from typing import Final

import dotenv

from runtime.errors import UsageError

_MOST_BYTES: Final = 1 << 20
_MARKS: Final = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HINT: Final = "write it as text, NAME=value on each line, or take it out of the working directory"


def read_env_file(path: Path) -> dict[str, str]:
    """Variables of the file; none without a file, or where a folder has its name.

    Raises:
        UsageError: it cannot be read, or is not text.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):  # the name of many a virtual environment
            return {}
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is not a file", hint=_HINT)
        if found.st_size > _MOST_BYTES:
            raise UsageError(f"{path} is too large for settings: {found.st_size:,} bytes", _HINT)
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from None
    return _parse(_decode(data, path))


def _decode(data: bytes, path: Path) -> str:
    text = _decoded(data)
    if text is None or "\0" in text:
        raise UsageError(f"{path} is not text", hint=_HINT)
    return text


def _decoded(data: bytes) -> str | None:
    """The text; None for bytes that are in no known encoding."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strictly(data[len(mark) :], encoding)
    if b"\0" in data:  # UTF-16 without a mark: every other byte of ASCII letters is zero
        return _strictly(data, "utf-16-le" if data.find(b"\0") % 2 else "utf-16-be")
    return data.decode("utf-8", "surrogateescape")


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError:
        return None


def _parse(text: str) -> dict[str, str]:
    values = dotenv.dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in values.items() if name and value is not None}
