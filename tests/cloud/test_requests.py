"""Requests that a shard makes to a bucket, counted: few, few listings, and what they cost."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.signals import ShutdownFlags
from consumer.worker import leased_shard
from consumer.worker.config import WorkerConfig
from consumer.worker.worker import Worker
from delivery import replay
from delivery.broker import open_broker
from delivery.cascade import cascade
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status, read_status_for_work
from delivery.messages import decode
from memmodel import usage
from memmodel.run_context import tier_chooser
from memmodel.tiers import tier_of
from memmodel.usage import Usage, shard_usage
from runtime.storage import Pieces, open_storage
from runtime.storage.gcs_client import MOST_AT_ONCE_BYTES
from tests.support.gcs_requests import CLASS_A, CLASS_B, LISTING, RequestLog, Seen, logged
from tests.support.gcs_server import GcsServer
from tests.support.ledgers import finish, info, low_tier, made_run, row
from tests.support.run_harness import make_export, small_plan, small_spec

SIZE = (128, 128, 512)  # 32 shards, 4 of the next scale, 2 of the last
SCALES = 3
FAN_IN = 8
TIER = "512mi"


@pytest.fixture
def run(tmp_path: Path, bucket: str) -> Run:
    """A run of shards with one source file each, all in a bucket."""
    files = make_export(tmp_path, SIZE)
    source = open_storage(f"gs://{bucket}/export")
    for path in files[0].parent.iterdir():
        source.write(f"s0/{path.name}", path.read_bytes())
    spec = small_spec(SIZE, SCALES)
    about = info(
        run_id="run",
        created=datetime.now(UTC),
        source=source.url,
        dest=f"gs://{bucket}/volume",
        downres=(1, 2),
        tiers=(TIER,),
        queue=f"sqlite:{tmp_path}/queue.db",
        volume=spec.to_info(),
    )
    return Run.create(f"gs://{bucket}/state", about, small_plan(spec, files, TIER))


@pytest.fixture
def made(run: Run, gcs: GcsServer) -> dict[str, RequestLog]:
    """The requests of every shard but the first, made by one worker, by key."""
    found: dict[str, RequestLog] = {}
    tier = tier_of(TIER)
    config = WorkerConfig(tier, tier.limit_bytes, roots=(run.state_url,), worker="me")
    with open_broker(run.info.queue, run.info.tiers, 60.0) as broker:
        replay.missing(run, broker, tier_chooser(run))
        with closing(Worker(broker, config, ShutdownFlags())) as worker:
            while (delivery := broker.lease(TIER, 0)) is not None:
                with logged(gcs, "state/run/") as log:
                    worker.handle(delivery)
                found[decode(delivery.data).key] = log
    assert read_status(run).succeeded
    first, *_ = found
    found[first].seen = [one for one in found[first].seen if not _at_first(one)]
    return found


def _at_first(one: Seen) -> bool:
    """Whether a worker makes a request for the first shard of a run alone."""
    return one.thing in {"run.json", "plan.arrow"}


def joined(made: dict[str, RequestLog], scale: str) -> tuple[RequestLog, int]:
    """The requests of all shards of a scale, and the number of shards."""
    logs = [log for key, log in made.items() if key.startswith(scale)]
    return RequestLog([one for log in logs for one in log.seen]), len(logs)


def without_heartbeats(log: RequestLog) -> RequestLog:
    """The requests but for heartbeats, of which slow machines write more."""
    return RequestLog([one for one in log.seen if one.thing != "workers/"])


def test_a_shard_makes_few_requests(made: dict[str, RequestLog]) -> None:
    """Besides the data at most twelve, one of them a listing; the cascade is in them."""
    for scale, most, most_listings in (("s0/", 12, 1), ("s1/", 21, 3), ("s2/", 12, 1)):
        log, shards = joined(made, scale)
        sys.stdout.write(f"{scale}\n{log.table(shards)}\n")
        assert log.besides_data() <= most * shards
        assert log.of_kind(LISTING) <= most_listings * shards + 1  # one before the first


def test_a_cascade_reads_about_two_receipts_of_eight(made: dict[str, RequestLog]) -> None:
    """Mostly one, which is missing; the last input's reads all, once."""
    reads = [log.counts()["read", "receipts/"] for key, log in made.items() if key[:3] == "s0/"]
    cascades = [number - 1 for number in reads]  # one is the shard's own
    assert sorted(cascades) == [1] * 28 + [FAN_IN + 1] * 4  # with the dependent's own


def test_the_estimate_counts_these_requests(run: Run, made: dict[str, RequestLog]) -> None:
    """What `enqueue --dry-run` says, but for heartbeats, is what a run makes."""
    log = without_heartbeats(joined(made, "s")[0])
    estimated = Usage()
    data = 0
    for one in run.plan.rows():
        inputs = len(one.sources) + len(one.inputs)
        estimated += shard_usage(one.kind, 0.0, inputs, one.bytes_in, 1)
        data += inputs
    besides_data = sum(one.kind in CLASS_B and not one.is_data for one in log.seen)
    # Before the first shard the overview, and after it a look whether composing deletes its parts.
    heartbeats, at_first = len(made), 1
    assert estimated.reads - data + at_first == besides_data
    assert estimated.writes - heartbeats + at_first == log.of_kind(*CLASS_A)
    assert {one.kind for one in log.seen} <= CLASS_A | CLASS_B
    assert estimated.messages == len(made)


def test_the_estimates_sizes_are_the_programs() -> None:
    """What is read and stored at once."""
    assert usage.AT_ONCE_BYTES == MOST_AT_ONCE_BYTES


def body(size: int) -> Pieces:
    """Pieces of a shard of this size."""
    head = b"HEAD"
    whole, rest = divmod(size - len(head), 1 << 20)
    yield from (bytes(1 << 20) for _ in range(whole))
    yield bytes(rest)
    return head


@pytest.mark.parametrize(
    ("size", "billed"),
    [(1 << 20, 2), (MOST_AT_ONCE_BYTES, 2), (MOST_AT_ONCE_BYTES + 1, 3), (20 << 20, 3)],
)
def test_a_shard_is_stored_with_few_billed_requests(
    gcs: GcsServer, bucket: str, size: int, billed: int
) -> None:
    """As the estimate says: uploaded, composed; the head of a large one beside. Parts are free."""
    storage = open_storage(f"gs://{bucket}")
    storage.write_shard("first.shard", body(5), 4, lambda: None)  # are parts deleted?
    with logged(gcs, "state/run/") as log:
        storage.write_shard("s.shard", body(size), 4, lambda: None, is_new=True)
    small, estimated = (shard_usage("convert", 0, 1, 1, stored).writes for stored in (1, size))
    assert log.of_kind(*CLASS_A) == billed == 2 + estimated - small
    assert len(log.seen) == log.of_kind(*CLASS_A, "upload part")
    assert log.besides_data() == log.of_kind("upload start", "compose")


def test_many_inputs_cost_a_listing(gcs: GcsServer, bucket: str, tmp_path: Path) -> None:
    """The requests of a cascade do not grow with the number of inputs."""
    inputs = [row(f"s0/{number:03x}") for number in range(300)]
    run = made_run(f"gs://{bucket}/runs", [*inputs, row("s1/0", *(one.key for one in inputs))])
    for one in inputs:
        finish(run, one.key)
    prefix = f"runs/{run.run_id}/"
    _ = run.plan
    for seen_before in (run, Run(run.uri)):
        _ = seen_before.plan
        with (
            open_broker(f"sqlite:{tmp_path}/queue.db", run.info.tiers, 60.0) as broker,
            logged(gcs, prefix) as log,
        ):
            cascade(seen_before, broker, inputs[7].key, low_tier)
        assert len(log.seen) <= 9, log.table()
        assert log.of_kind(LISTING) == 1


def test_what_was_requested_meanwhile_is_seen(gcs: GcsServer, bucket: str) -> None:
    """A kept overview hides a redo from no message that is to be acked, only from work."""
    run = made_run(f"gs://{bucket}/runs", [row("s0/0"), row("s0/1")])
    finish(run, "s0/0")
    kept = run.overviews.take()
    Run(run.uri).raise_redo(["s0/0"])
    assert run.redo(run.overviews.take(60)) == {}
    assert kept is run.overviews.take(60)
    status = read_status_for_work(run, "s0/0", {}, 0, is_new=False)
    assert (status.state, status.redo) == (ShardState.READY, 1)
    Run(run.uri).raise_redo(["s0/1"])
    assert read_status_for_work(run, "s0/1", {}, 0, is_new=False).redo == 0  # works, in vain
    assert read_status_for_work(run, "s0/1", {}, 1, is_new=False).redo == 1
    with logged(gcs, f"runs/{run.run_id}/") as log:
        run.redo(run.overviews.take())
    assert log.counts() == {("list", "run"): 1, ("list", "redo/"): 1}  # each is read once


def test_a_cancellation_is_seen_before_the_output_appears(
    run: Run, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever overview the work began by."""
    monkeypatch.setattr(leased_shard, "KEPT_S", 600.0)
    tier = tier_of(TIER)
    config = WorkerConfig(tier, tier.limit_bytes, roots=(run.state_url,), worker="me")
    with open_broker(run.info.queue, run.info.tiers, 60.0) as broker:
        replay.missing(run, broker, tier_chooser(run))
        with closing(Worker(broker, config, ShutdownFlags())) as worker:
            for made in (1, 1, 1):
                delivery = broker.lease(TIER, 0)
                assert delivery is not None
                worker.handle(delivery)
                assert len(run.receipts.list()) == made
                Run(run.uri).cancel("enough")
            assert broker.backlog(TIER).leased == 0
    bucket = run.info.dest.split("/")[2]
    assert not [name for name in gcs.names(bucket) if ".tmp-" in name]
