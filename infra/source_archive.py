"""Archive of the sources that the Dockerfile copies, from which the workers' image is built.

The same sources make the same archive on every machine: names in order, and no times, owners or
modes of their own. Its SHA-256 names the image, so that one is built only when a source changed.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from runtime.errors import UsageError

DOCKERFILE: Final = "Dockerfile"
ROOT: Final = Path(__file__).resolve().parents[1]
# What else may lie in a folder of sources is made from them: bytecode, C, libraries.
SUFFIXES: Final = frozenset({".h", ".pxi", ".py", ".typed"})
_MODE: Final = 0o644


@dataclass(frozen=True)
class SourceArchive:
    """Sources by name, sorted; text is read once."""

    files: dict[str, bytes]

    @cached_property
    def tar(self) -> bytes:
        """The archive before its compression."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in self.files.items():
                entry = tarfile.TarInfo(name)  # user, group and time are 0
                entry.size, entry.mode = len(content), _MODE
                archive.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    @cached_property
    def sha256(self) -> str:
        """Of the archive before its compression: libraries compress differently."""
        return hashlib.sha256(self.tar).hexdigest()

    @property
    def tar_gz(self) -> bytes:
        """The archive as it is uploaded."""
        return gzip.compress(self.tar, compresslevel=9, mtime=0)

    @property
    def object_name(self) -> str:
        """Its name in a bucket."""
        return f"shardlift-{self.sha256}.tar.gz"


def read_sources(root: Path = ROOT) -> SourceArchive | None:
    """The sources below a folder; None where there are none, as in an installed wheel.

    Raises:
        UsageError: what the Dockerfile copies is not there.
    """
    dockerfile = root / DOCKERFILE
    if not dockerfile.is_file():
        return None
    names = [DOCKERFILE, ".dockerignore", *copied(dockerfile.read_text())]
    found = sorted({file for name in names for file in _files(root, name)})
    return SourceArchive({name: (root / name).read_bytes() for name in found})


def copied(dockerfile: str) -> list[str]:
    """Files and folders that a Dockerfile copies from its context, in its order."""
    lines = dockerfile.replace("\\\n", " ").splitlines()
    instructions = [line.split() for line in lines if line.startswith("COPY ")]
    return [name for words in instructions if "--from" not in words[1] for name in words[1:-1]]


def _files(root: Path, name: str) -> Iterator[str]:
    path = root / name
    if path.is_file():
        yield name
    elif path.is_dir():
        for file in path.rglob("*"):
            if file.suffix in SUFFIXES and file.is_file():
                yield file.relative_to(root).as_posix()
    else:
        raise UsageError(
            f"{root} lacks {name}, of which an image is to be built",
            hint="restore it from the repository, or pass --image IMAGE@DIGEST",
        )
