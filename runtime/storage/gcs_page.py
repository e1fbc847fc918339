"""Pages of a bucket's listing, as they came: a client object for each entry costs more than it.

Of thousands of entries, each would be copied and its time parsed by a pattern.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from runtime.storage.base import ObjectInfo
from runtime.storage.gcs_errors import reading_answer

LISTED_FIELDS: Final = "items(name,size,crc32c,updated,metadata,contentEncoding),nextPageToken"
UNKNOWN: Final = datetime.fromtimestamp(0, UTC)  # when an object was written


class ListingPage(NamedTuple):
    """One answer of a listing.

    Attributes:
        infos: entries of its objects.
        folders: names up to the next slash, where they were requested.
        token: of the next page, if there is one.
    """

    infos: list[ObjectInfo]
    folders: tuple[str, ...]
    token: str | None


def read_page(listing: Any, prefix: str) -> ListingPage:  # noqa: ANN401 - Google publishes no types
    """Request the next page.

    Args:
        listing: the client's iterator.
        prefix: of the names, to be left out of the paths.

    Raises:
        DamagedInTransit: the answer cannot be read.
    """
    page = next(listing.pages, None)
    answer: Mapping[str, Any] = page.raw_page if page is not None else {}
    with reading_answer(f"gs://{listing.bucket.name}"):
        infos = [_info(entry, prefix) for entry in answer.get("items", ())]
        return ListingPage(infos, tuple(answer.get("prefixes", ())), listing.next_page_token)


def _info(entry: Mapping[str, Any], prefix: str) -> ObjectInfo:
    updated = entry.get("updated")
    return ObjectInfo(
        entry["name"].removeprefix(prefix),
        int(entry.get("size") or 0),  # some servers leave a size of 0 out
        entry.get("crc32c"),
        datetime.fromisoformat(updated) if updated else UNKNOWN,
        entry.get("metadata") or {},
        content_encoding=entry.get("contentEncoding") or None,
    )
