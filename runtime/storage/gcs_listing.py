"""Listings of the objects of a bucket below one prefix, page by page."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Final

from runtime.storage.base import ObjectInfo, Overview, is_temporary
from runtime.storage.gcs_objects import GcsObjects
from runtime.storage.gcs_page import LISTED_FIELDS, ListingPage, read_page
from runtime.storage.gcs_source import TIMEOUT_S

_LISTINGS_AT_ONCE: Final = 16
_FOLDER_FIELDS: Final = "prefixes,nextPageToken"


class GcsListing:
    """Lists objects; one request per thousand.

    Args:
        objects: to be listed.
    """

    def __init__(self, objects: GcsObjects) -> None:
        self._objects = objects

    def objects(self, prefix: str, first: str = "", last: str = "") -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, sorted by path, from `first` to `last`."""
        return filter(_is_shown, self.all(prefix, first, last))

    def objects_by_parts(self, prefix: str, bounds: Sequence[str]) -> Iterator[ObjectInfo]:
        """The same, sorted; what the first request leaves is listed by parts at the same time."""
        found, _, token = self._objects.call(
            self._objects.bucket, partial(self._page, prefix, None)
        )
        if token and not found:  # nothing says where to go on
            return self.objects(prefix)
        if token:
            reached = found[-1].path
            later = [reached, *(bound for bound in bounds if bound > reached), ""]
            with ThreadPoolExecutor(_LISTINGS_AT_ONCE, thread_name_prefix="list") as pool:
                parts = pool.map(partial(self._part, prefix), pairwise(later))
                found += [info for part in parts for info in part]
        infos = {info.path: info for info in found}  # bounds are listed twice
        return filter(_is_shown, infos.values())

    def all(self, prefix: str, first: str = "", last: str = "") -> Iterator[ObjectInfo]:
        """The same with temporary objects, and with those that stand for folders."""
        token: str | None = None
        while True:
            page = partial(self._page, prefix, token, first=first, last=last)
            infos, _, token = self._objects.call(self._objects.bucket, page)
            yield from infos
            if not token:
                return

    def folders(self) -> Sequence[str]:
        """Names up to the first slash."""
        return sorted(self._level(_FOLDER_FIELDS).folders)

    def overview(self) -> Overview:
        """Objects without a slash, and names up to the first slash."""
        return self._level(f"prefixes,{LISTED_FIELDS}")

    def check(self) -> None:
        """Raise an error unless the bucket exists and can be listed."""
        self._objects.call(self._objects.bucket, lambda: self._page("", None, size=1))

    def _part(self, prefix: str, ends: tuple[str, str]) -> Sequence[ObjectInfo]:
        """What lies between two paths, with both."""
        return list(self.all(prefix, *ends))

    def _level(self, fields: str) -> Overview:
        """What lies directly below the prefix, as far as these fields tell."""
        found: dict[str, ObjectInfo] = {}
        names: set[str] = set()
        token: str | None = None
        while True:
            request = partial(self._level_page, fields, token)
            page = self._objects.call(self._objects.bucket, request)
            found |= {info.path: info for info in filter(_is_shown, page.infos)}
            prefix = self._objects.prefix
            names.update(name.removeprefix(prefix).rstrip("/") for name in page.folders)
            token = page.token
            if not token:
                return Overview(found, frozenset(n for n in names if not is_temporary(n)))

    def _level_page(self, fields: str, token: str | None) -> ListingPage:
        listing = self._objects.bucket.list_blobs(
            prefix=self._objects.prefix,
            delimiter="/",
            page_token=token,
            fields=fields,
            timeout=TIMEOUT_S,
            retry=None,
        )
        return read_page(listing, self._objects.prefix)

    def _page(
        self,
        prefix: str,
        token: str | None,
        size: int | None = None,
        *,
        first: str = "",
        last: str = "",
    ) -> ListingPage:
        root = self._objects.prefix
        listing = self._objects.bucket.list_blobs(
            prefix=root + prefix,
            page_token=token,
            page_size=size,
            start_offset=root + first if first else None,
            end_offset=f"{root}{last} " if last else None,  # the first name left out
            fields=LISTED_FIELDS,
            timeout=TIMEOUT_S,
            retry=None,
        )
        return read_page(listing, root)


def _is_shown(info: ObjectInfo) -> bool:
    """Whether an object is more than a temporary one, or a folder's mark of other tools."""
    stands_for_folder = info.size == 0 and (not info.path or info.path.endswith("/"))
    return not stands_for_folder and not is_temporary(info.path)
