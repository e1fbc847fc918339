"""JSON documents of infra's commands."""

from collections.abc import Iterable

from infra.changes import Change, as_json
from runtime.document import Document, DocumentPart


class PricePart(DocumentPart):
    """What a resource costs while it is there, at list prices.

    Attributes:
        dollars: per unit.
        per: the unit, such as `hour` or `GiB and month`.
    """

    dollars: float
    per: str


class ChangePart(DocumentPart):
    """Action for one resource.

    Attributes:
        action: `ok`, `create`, `update`, `delete`, `conflict`, `warn`, `extra`, `note` or `skip`.
        kind: of the resource: topic, subscription, bucket, pool, ...
        name: its id, without the project.
        note: fields that differ, or the reason to do nothing.
        price: null where it has none.
    """

    action: str
    kind: str
    name: str
    note: str = ""
    price: PricePart | None = None


class ChangesDocument(Document):
    """Resources of a queue, as `up`, `check`, `down`, `stop` and `start` left or found them.

    Attributes:
        queue: URL.
        dry_run: nothing was changed.
        next: command that starts a first run, where `up` knows what it needs; null elsewhere.
    """

    queue: str
    dry_run: bool
    changes: tuple[ChangePart, ...]
    notes: tuple[str, ...] = ()
    next: str | None = None


class InstancesDocument(Document):
    """Instances of a queue's worker pools.

    Attributes:
        queue: URL.
        counts: by tier.
        dollars_per_hour: of all of them, at list prices.
        autoscaler: instances of the autoscaler's own pool; null where there is none.
    """

    queue: str
    counts: dict[str, int]
    dollars_per_hour: float
    autoscaler: int | None


class RenderDocument(Document):
    """Text that `render` made for another engine.

    Attributes:
        engine: `kubernetes`, `slurm`, `terraform` or `crema`.
        content: as the command prints it without `--json`; null where it is in a file.
        out: path of that file.
    """

    engine: str
    content: str | None
    out: str | None


class AutoscaleDocument(Document):
    """What a look of the autoscaler did: that of `--once`, else the last one.

    Attributes:
        queue: URL.
        counts: instances by tier, as they are set now.
        left: shards left by tier; null where that is not known.
        over: all runs have ended, and all pools are at 0.
    """

    queue: str
    counts: dict[str, int]
    left: dict[str, int] | None
    over: bool


def changes_document(
    queue: str,
    changes: Iterable[Change],
    notes: Iterable[str],
    *,
    dry_run: bool,
    then: str | None = None,
) -> ChangesDocument:
    """The document of changes."""
    parts = tuple(ChangePart.model_validate(one) for one in as_json(changes))
    return ChangesDocument(
        queue=queue, dry_run=dry_run, changes=parts, notes=tuple(notes), next=then
    )
