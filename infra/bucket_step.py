"""Buckets of a queue's runs: look at those that are there, make those that are missing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from infra.bucket_client import BucketClient, BucketDeniedError, PayerMissingError
from infra.bucket_findings import PAYER_MISSING, BucketUse, Use, findings
from infra.changes import Action, Change, UnitPrice
from infra.defaults import BUCKETS
from infra.rights import STORAGE_ADMIN, Need
from infra.steps import UNSEEN, Step
from memmodel import prices
from runtime import settings
from runtime.errors import ShardliftError
from runtime.urls import GS, is_remote, split_bucket

KIND: Final = "bucket"
KEPT: Final = "holds data: it stays, and is billed"
_STORED: Final = UnitPrice(prices.STORED.dollars, "GiB and month")


class BucketsStep(Step):
    """Buckets of source, destination and state.

    Existing ones keep their settings, but for soft delete of the destination, which goes off.

    Args:
        project: of new ones.
        region: of new ones, and of the workers; None if it is not known.
        places: source, destination and state, as far as they are known.
    """

    part = BUCKETS
    title = "buckets"
    apis: ClassVar = frozenset({"storage.googleapis.com"})

    def __init__(self, project: str, region: str | None, places: Mapping[Use, str | None]) -> None:
        self._project = project
        self._region = region
        self._uses = bucket_uses(places)
        self._client = BucketClient(project)

    def compare(self) -> list[Change]:
        """A line per missing bucket and per finding; one `ok` for a bucket without a finding."""
        return [change for use in self._uses for change in self._compare(use)]

    def apply(self, changes: Sequence[Change]) -> None:
        """Make missing buckets; turn soft delete of the destination off."""
        for change in changes:
            if change.action is Action.CREATE and self._region is not None:
                self._client.create(change.name, self._region)
            elif change.action is Action.UPDATE:
                self._client.stop_soft_delete(change.name)

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """Rights to make or change buckets."""
        project = f"projects/{self._project}"
        found = []
        if any(one.kind == KIND and one.action is Action.CREATE for one in changes):
            found.append(Need("storage.buckets.create", STORAGE_ADMIN, project))
        return found + [
            Need("storage.buckets.update", STORAGE_ADMIN, f"buckets/{one.name}")
            for one in changes
            if one.action is Action.UPDATE
        ]

    def _compare(self, use: BucketUse) -> Iterator[Change]:
        try:
            facts = self._client.get(use.name)
        except BucketDeniedError as error:
            yield Change(Action.SKIP, KIND, use.name, f"{use}: {UNSEEN}; {_reason(error)}")
            return
        except PayerMissingError:
            yield Change(PAYER_MISSING.action, KIND, use.name, f"{use}: {PAYER_MISSING.note}")
            return
        if facts is None:
            yield self._missing(use)
            return
        payer = settings.get(settings.USER_PROJECT)
        found = list(findings(use, facts, self._region, payer))
        for one in found:
            yield Change(one.action, KIND, use.name, f"{use}: {one.note}")
        if all(one.action is Action.NOTE for one in found):
            yield Change(Action.OK, KIND, use.name, f"{use}")

    def _missing(self, use: BucketUse) -> Change:
        if use.uses == {Use.SOURCE}:
            note = f"{use}: does not exist; it is to hold the export: see SOURCE_PATH"
            return Change(Action.WARN, KIND, use.name, note)
        if self._region is None:
            note = f"{use}: does not exist; in which region is it to be made? set REGION"
            return Change(Action.WARN, KIND, use.name, note)
        note = f"{use}; in {self._region}: standard, uniform access, no soft delete"
        return Change(Action.CREATE, KIND, use.name, note, _STORED)


def bucket_uses(places: Mapping[Use, str | None]) -> list[BucketUse]:
    """Buckets of some places, each once, in the order of their first use; folders are left out."""
    found: dict[str, set[Use]] = {}
    for use in Use:
        place = places.get(use)
        if place is not None and is_remote(place):
            found.setdefault(split_bucket(place)[0], set()).add(use)
    return [BucketUse(name, frozenset(uses)) for name, uses in found.items()]


def kept_buckets(places: Mapping[Use, str | None]) -> list[Change]:
    """A line for each bucket that `down` leaves."""
    return [Change(Action.NOTE, KIND, use.name, f"{use}: {KEPT}") for use in bucket_uses(places)]


def _reason(error: ShardliftError) -> str:
    return str(error).removeprefix(f"{GS}").partition(": ")[2] or str(error)
