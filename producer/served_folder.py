"""Files of a volume's folder that the file server may send, by their paths below it.

What lies in the folder is sent. A symbolic link out of it is followed in two cases only, since a
volume may come from others: a scale's folder that was moved to another disk, of which files named
like shards or chunks are sent, and `info`, where it is one.
"""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec

_INFO: Final = "info"
_DATA: Final = re.compile(r"[0-9a-f]{1,16}\.shard|\d+-\d+_\d+-\d+_\d+-\d+(?:\.gz)?")


class ServedFolder:
    """A folder that is served.

    Args:
        root: its path; the links in it are resolved once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def find(self, relative: str) -> Path | None:
        """The regular file of a URL's path below the folder; None if there is none to be sent.

        Args:
            relative: the path as the URL has it, without a leading slash.
        """
        parts = os.fsdecode(unquote_to_bytes(relative)).split("/")
        if not all(map(_is_name, parts)):
            return None
        try:
            found = self.root.joinpath(*parts).resolve(strict=True)
            if not found.is_file():
                return None
            return (
                found if found.is_relative_to(self.root) or self._leads_out(parts, found) else None
            )
        except (OSError, RuntimeError):  # too long, without rights, a circle of links
            return None

    def _leads_out(self, parts: list[str], found: Path) -> bool:
        """Whether a file outside the folder belongs to the volume."""
        if parts == [_INFO]:
            return bool(self._scale_keys())
        if len(parts) != len(("scale", "file")) or _DATA.fullmatch(parts[1]) is None:
            return False
        # The folder may be a link; a file in it that is one leads on to anything.
        return (
            found == (self.root / parts[0]).resolve() / parts[1] and parts[0] in self._scale_keys()
        )

    def _scale_keys(self) -> set[str]:
        """Folders of the scales; none without a sound `info`."""
        try:
            return {
                scale.key for scale in VolumeSpec.parse((self.root / _INFO).read_bytes()).scales
            }
        except (OSError, SpecError):
            return set()


def _is_name(part: str) -> bool:
    """Whether a part of a path names an entry of the folder before it, and does not climb."""
    return part not in {"", ".", ".."} and "\0" not in part
