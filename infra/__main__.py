"""`python -m infra up | check | down`: the cloud resources of a queue.

They hold no state that is not in the ledger: after `down`, or after a restart of an emulator,
`infra up` and `producer replay --missing` restore a run. `down` asks first, because until then an
unfinished run stands still.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from delivery.broker.pubsub_names import PubSubNames
from infra import autoscale_command, desired, iam, unfinished_runs
from infra.changes import FINDINGS, Action, Change, as_json, summary, table
from infra.pubsub_admin import PubSubAdmin
from infra.topics import Topics
from memmodel.tiers import parse_tiers
from runtime import cli, settings
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import absolute
from runtime.text import counted, json_text

app = cli.new_app("Create, compare and delete the cloud resources of a queue.")
autoscale_command.register(app)

QueueOption = Annotated[
    str | None,
    typer.Option(
        "--queue",
        envvar=settings.QUEUE_URL,
        metavar="pubsub://PROJECT_ID/PREFIX",
        help="The queue. Default: made of PROJECT_ID and BASE_JOB_NAME.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")
]
NumberOption = Annotated[
    int | None,
    typer.Option(
        "--project-number",
        metavar="NUMBER",
        help="Of the project, if it cannot be looked up. It names Pub/Sub's service account.",
    ),
]


@dataclass(frozen=True, slots=True)
class QueueResources:
    """Desired resources of a queue, and access to the cloud or its emulator."""

    admin: PubSubAdmin
    topics: Topics
    queues: Sequence[desired.Queue]
    bindings: Sequence[desired.Binding] | None  # None where the emulator has no IAM

    def compare(self) -> list[Change]:
        """Changes that the resources need."""
        changes = list(self.topics.compare(self.queues))
        if self.bindings is None:
            return [*changes, Change(Action.SKIP, "binding", "all", "the emulator has no IAM")]
        return [*changes, *iam.compare(self.admin, self.bindings)]


@app.command()
def up(
    *,
    queue: QueueOption = None,
    project: cli.ProjectOption = None,
    base_name: cli.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    project_number: NumberOption = None,
    dry_run: DryRunOption = False,
    json: cli.JsonOption = False,
) -> None:
    """Create what is missing and update what differs; idempotent."""
    names = _names(queue, project, base_name)
    with _open_resources(names, tiers, lease, project_number) as resources:
        changes = resources.compare()
        if not dry_run:
            resources.topics.make(resources.queues, changes)
            iam.grant(resources.admin, resources.bindings or ())
    _print_changes(names, changes, json=json, dry_run=dry_run)


@app.command()
def check(
    *,
    queue: QueueOption = None,
    project: cli.ProjectOption = None,
    base_name: cli.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    project_number: NumberOption = None,
    json: cli.JsonOption = False,
) -> None:
    """Compare; exit code 1 if something is missing or differs."""
    names = _names(queue, project, base_name)
    with _open_resources(names, tiers, lease, project_number) as resources:
        changes = resources.compare()
    _print_changes(names, changes, json=json, dry_run=True)
    if any(change.action in FINDINGS for change in changes):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def down(
    *,
    queue: QueueOption = None,
    project: cli.ProjectOption = None,
    base_name: cli.BaseNameOption = settings.DEFAULT_BASE_JOB_NAME,
    state: cli.StateOption = None,
    dry_run: DryRunOption = False,
    yes: cli.YesOption = False,
    json: cli.JsonOption = False,
) -> None:
    """Delete the queues of all tiers; plan, receipts and volume stay.

    Unfinished runs of the queue are named if --state or STATE_PATH tells where runs are.
    """
    names = _names(queue, project, base_name)
    admin = PubSubAdmin(names.url)
    with closing(admin):
        topics = Topics(admin, names, emulator=_is_emulator())
        changes = topics.leftovers()
        for note in unfinished_runs.notes(names.url, absolute(state)) if state else ():
            cli.print_stderr(f"note: {note}")
        if changes and not dry_run:
            cli.confirm(f"delete {counted(len(changes), 'resource')} of {names.url}", yes=yes)
            topics.remove(changes)
    _print_changes(names, changes, json=json, dry_run=dry_run)


def _names(queue: str | None, project: str | None, base_name: str) -> PubSubNames:
    if queue is None and project is None:
        raise UsageError(
            "which queue? An embedded one needs no infra",
            hint="pass --queue pubsub://PROJECT_ID/PREFIX, or set PROJECT_ID",
        )
    return PubSubNames.parse(queue or f"pubsub://{project}/{base_name}")


@contextmanager
def _open_resources(
    names: PubSubNames, tiers: str, lease_s: int, project_number: int | None
) -> Iterator[QueueResources]:
    emulator = _is_emulator()
    queues = desired.queues(names, [tier.name for tier in parse_tiers(tiers)], lease_s)
    bindings = None
    if not emulator:
        number = project_number or iam.project_number(names.project)
        bindings = desired.bindings(queues, number)
    admin = PubSubAdmin(names.url)
    try:
        yield QueueResources(admin, Topics(admin, names, emulator=emulator), queues, bindings)
    finally:
        admin.close()


def _is_emulator() -> bool:
    return settings.get(settings.PUBSUB_EMULATOR_HOST) is not None


def _print_changes(
    names: PubSubNames, changes: Sequence[Change], *, json: bool, dry_run: bool
) -> None:
    if json:
        document = {"queue": names.url, "dry_run": dry_run, "changes": as_json(changes)}
        cli.print_lines(json_text(document, indent=2))
        return
    if changes:
        cli.print_lines(table(changes, done=not dry_run))
    cli.print_line(f"{names.url}: {summary(changes, done=not dry_run) or 'nothing there'}")


if __name__ == "__main__":
    cli.run(app)
