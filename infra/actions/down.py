"""Deletion of a queue's pools and topics; plan, receipts and volume stay."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra import unfinished_runs
from infra.actions.change_report import ChangeReport
from infra.actions.inputs import queue_names
from infra.bucket_step import kept_buckets
from infra.changes import Action, Change
from infra.commands.options import QueueOptions
from infra.defaults import BUCKETS, POOLS, TOPICS
from infra.places import places
from infra.pool_configuration import reason_for_no_pools
from infra.pubsub_admin import PubSubAdmin
from infra.resources import WorkerHomes, is_emulator, open_homes
from infra.steps import parse_parts
from infra.topics import Topics
from runtime import cli, settings
from runtime.storage import absolute
from runtime.text import counted

_PLACES: Final = (settings.SOURCE_PATH, settings.DEST_PATH, settings.STATE_PATH)


def delete_resources(
    target: QueueOptions,
    region: str | None,
    state: str | None,
    *,
    only: str,
    dry_run: bool,
    yes: bool,
    json: bool,
) -> None:
    """Delete what was made for a queue, after the question whether to.

    Args:
        target: the queue.
        region: of its pools.
        state: root of its runs, whose unfinished ones are named.
        only: parts, as `--only` names them.
        dry_run: find out only.
        yes: do not ask.
        json: print one document.
    """
    names, parts = queue_names(target), parse_parts(only)
    reason = reason_for_no_pools(region) if POOLS in parts else None
    with _open(names, parts, region if reason is None else None) as resources:
        changes = resources.leftovers()
        if BUCKETS in parts:
            changes += kept_buckets(places(*map(settings.get, _PLACES)))
        for note in unfinished_runs.notes(names.url, absolute(state)) if state else ():
            cli.print_stderr(f"note: {note}")
        deletions = [change for change in changes if change.action is Action.DELETE]
        if deletions and not dry_run:
            cli.confirm(_deed(names, deletions, resources.running), yes=yes)
            resources.remove(deletions)
    notes = [reason] if reason and deletions and not dry_run else []
    ChangeReport(names.url, changes, notes, dry_run).print(json=json)


@dataclass(frozen=True, slots=True)
class _Resources:
    """Pools, jobs and topics of a queue; None where they are not to be deleted."""

    homes: WorkerHomes | None
    topics: Topics | None

    @property
    def running(self) -> int:
        """Instances and tasks that run."""
        return self.homes.running if self.homes else 0

    def leftovers(self) -> list[Change]:
        """Deletions of all that there is."""
        return [change for one in (self.homes, self.topics) if one for change in one.leftovers()]

    def remove(self, deletions: Sequence[Change]) -> None:
        """Make them."""
        if self.homes is not None:
            self.homes.remove(deletions)
        if self.topics is not None:
            self.topics.remove([change for change in deletions if change.kind in Topics.KINDS])


@contextmanager
def _open(names: PubSubNames, parts: frozenset[str], region: str | None) -> Iterator[_Resources]:
    with ExitStack() as stack:
        homes = topics = None
        if POOLS in parts and region is not None:
            homes = stack.enter_context(open_homes(names, region))
        if TOPICS in parts:
            admin = stack.enter_context(closing(PubSubAdmin(names.url)))
            topics = Topics(admin, names, emulator=is_emulator())
        yield _Resources(homes, topics)


def _deed(names: PubSubNames, deletions: Sequence[Change], running: int) -> str:
    deed = f"delete {counted(len(deletions), 'resource')} of {names.url}"
    return f"{deed} with {counted(running, 'running instance')}" if running else deed
