"""Receipt of a finished shard: what the executor measured, and the history of the message."""

from importlib.metadata import version

from consumer.protocol.events import Done
from consumer.worker.leased_shard import LeasedShard
from delivery.ledger.failures import tiers_tried
from delivery.ledger.receipts import Receipt
from delivery.messages import now


def build_receipt(
    shard: LeasedShard, done: Done, worker: str, estimated_bytes: int | None
) -> Receipt:
    """Build the receipt of a finished shard."""
    outcome, message, delivery = done.outcome, shard.message, shard.delivery
    return Receipt(
        key=shard.key,
        kind=shard.row.kind,
        tier=delivery.tier,
        redo=shard.redo,
        empty=outcome.empty,
        crc32c=outcome.crc32c,
        inputs=outcome.inputs,
        source_digest=outcome.source_digest,
        bad_chunk_count=outcome.bad_chunk_count,
        bad_chunks=outcome.bad_chunks,
        chunks=outcome.chunks,
        bytes_in=outcome.bytes_in,
        bytes_out=outcome.bytes_out,
        labels=outcome.labels,
        seconds=round(done.seconds, 3),
        cpu_s=round(done.cpu_s, 3),
        peak_bytes=done.peak_bytes,
        estimated_bytes=estimated_bytes,
        started=shard.started,
        finished=now(),
        attempt=delivery.attempt,
        tiers_tried=tuple(dict.fromkeys((*tiers_tried(message.history), delivery.tier))),
        history=message.history,
        reads=outcome.reads,
        skipped_outside=outcome.skipped_outside,
        skipped_elsewhere=outcome.skipped_elsewhere,
        absent_inputs=outcome.absent_inputs,
        threads=outcome.threads,
        code_path=outcome.code_path or "",
        phases=outcome.phases,
        worker=worker,
        version=version("shardlift"),
        run_token=shard.run.info.token,
    )
