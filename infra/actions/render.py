"""Workers of a queue as text for another engine."""

from pathlib import Path
from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra.actions.inputs import needed_region, needed_root, queue_names
from infra.bucket_findings import Use
from infra.commands.options import PlaceOptions, QueueOptions, WorkerOptions
from infra.defaults import Engine, Home
from infra.documents import RenderDocument
from infra.places import places as places_of_runs
from infra.pool_configuration import pool_settings
from infra.pools import PoolSettings
from infra.render import crema, kubernetes, slurm, terraform
from infra.render.workers import Workers
from memmodel.tiers import parse_tiers
from runtime import cli
from runtime.errors import UsageError
from runtime.urls import is_remote, split_bucket

_PUBSUB: Final = "pubsub:"


def render_workers(
    engine: Engine,
    target: QueueOptions,
    options: WorkerOptions,
    places: PlaceOptions,
    *,
    per_tier: int,
    idle_s: int,
    spot: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the text, or write it to a file; nothing is made.

    Args:
        engine: what it is for.
        target: the queue.
        options: of the workers.
        places: of the queue's runs.
        per_tier: workers, at most.
        idle_s: without a message, before a worker ends.
        spot: on Spot nodes only.
        out: the file; None for stdout.
        as_json: print a document that holds the text, or names the file.
    """
    found = places_of_runs(places.source, places.dest, places.state)
    needed_root(found[Use.STATE], "which runs may the workers serve? No state root is given")
    pools = pool_settings(  # what the workers have in common, as in our own pools
        _names(target),
        options.region or "",
        image=options.image,
        account=options.worker_account,
        state=found[Use.STATE],
        tiers=options.tiers,
        lease_s=options.lease,
        home=Home.POOLS,
    )
    workers = Workers(
        names=pools.names,
        tiers=list(parse_tiers(options.tiers)),
        image=options.image,
        account=pools.service_account,
        environment=pools.environment,
        per_tier=per_tier,
        region=options.region,
        lease_s=options.lease,
        idle_s=idle_s,
    )
    buckets = {
        use: split_bucket(place)[0] if place and is_remote(place) else None
        for use, place in found.items()
    }
    text = _text(engine, workers, pools, buckets, spot=spot).rstrip("\n")
    if out is not None:
        _write(text, out)
    if as_json:
        held, file = (None, str(out)) if out else (text, None)
        cli.print_document(RenderDocument(engine=engine.value, content=held, out=file))
    elif out is None:
        cli.print_lines(text)


def _text(
    engine: Engine,
    workers: Workers,
    pools: PoolSettings,
    buckets: dict[Use, str | None],
    *,
    spot: bool,
) -> str:
    match engine:
        case Engine.KUBERNETES:
            return kubernetes.render(workers, spot=spot)
        case Engine.SLURM:
            return slurm.render(workers)
        case Engine.CREMA:
            return crema.render(workers, needed_region(workers.region))
        case Engine.TERRAFORM:
            needed_region(workers.region)
            if not workers.image:
                raise UsageError(
                    "which image do the pools run?",
                    hint="pass --image IMAGE@DIGEST, or set WORKER_IMAGE",
                )
            return terraform.render(workers, pools, buckets)


def _names(target: QueueOptions) -> PubSubNames:
    """The queue, which workers on several machines share.

    Raises:
        UsageError: a file cannot be shared.
    """
    if target.queue is not None and not target.queue.startswith(_PUBSUB):
        raise UsageError(
            f"workers of several machines cannot share {target.queue}: "
            "SQLite does not work over NFS",
            hint="pass --queue pubsub://PROJECT_ID/PREFIX; on one node: python -m consumer fleet",
        )
    return queue_names(target, "which queue do the workers serve?")


def _write(text: str, out: Path) -> None:
    try:
        out.write_text(f"{text}\n")
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {error.strerror}", hint="choose another path for --out"
        ) from error
    cli.print_stderr(f"written: {out}")
