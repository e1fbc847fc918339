"""Settings kept in the `.env` of the working directory; other lines and comments stay."""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from runtime.env_file import read_env_file
from runtime.errors import UsageError

_PLAIN: Final = re.compile(r"[\w./:@,+=-]+", re.ASCII)
_NEW_MODE: Final = 0o644
_HINT: Final = "write the settings there by hand, or pass them as options"


def keep_setting(path: Path, name: str, value: str) -> None:
    """Set a variable in a `.env` file, in place where it has a line; the file appears at once.

    Args:
        path: of the file, which need not exist.
        name: of the variable.
        value: any text without a line break.

    Raises:
        UsageError: the file cannot hold it: it is a folder, is not UTF-8, cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: settings cannot be kept in it", hint=_HINT)
    before = read_env_file(path)
    if before.get(name) == value:
        return
    target = path.resolve()
    try:
        data = target.read_bytes() if target.exists() else b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from None
    if b"\0" in data:
        raise UsageError(f"{path} is not UTF-8: settings cannot be kept in it", hint=_HINT)
    text = data.decode("utf-8", "surrogateescape")
    for changed in (_in_place(text, name, value), _appended(text, name, value)):
        if changed is not None and _write_if(target, changed, before | {name: value}):
            return
    raise UsageError(f"{path} cannot hold {name}={value}", hint=_HINT)


def _in_place(text: str, name: str, value: str) -> str | None:
    """The text with the last assignment of the variable replaced; None if there is none."""
    line = re.compile(
        rf"^([ \t]*(?:export[ \t]+)?{re.escape(name)}[ \t]*=[ \t]*)"
        r"('[^'\r\n]*'|\"[^\"\r\n]*\"|[^#'\"\r\n]*?)"
        r"([ \t]+#[^\r\n]*|[ \t]*)(?=\r?$)",
        re.MULTILINE,
    )
    found = list(line.finditer(text))
    if not found:
        return None
    last = found[-1]
    return text[: last.start(2)] + _quoted(value) + text[last.end(2) :]


def _appended(text: str, name: str, value: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    return f"{text}{'' if not text or text.endswith(end) else end}{name}={_quoted(value)}{end}"


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _write_if(path: Path, text: str, wanted: dict[str, str]) -> bool:
    """Write the file if its variables are then the wanted ones; readers see the old or the new."""
    mode = path.stat().st_mode & 0o777 if path.exists() else _NEW_MODE
    draft = None
    try:
        with tempfile.NamedTemporaryFile(
            "wb", dir=path.parent, prefix=".env-", delete=False
        ) as file:
            draft = Path(file.name)
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
        if read_env_file(draft) != wanted:
            return False
        draft.chmod(mode)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint=_HINT) from None
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
    return True
