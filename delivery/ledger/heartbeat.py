"""Heartbeats: what each worker reports of itself at a lease and each minute."""

from pydantic import AwareDatetime, BaseModel, ConfigDict

from delivery.ledger.fields import Count


class HeartbeatShard(BaseModel):
    """One of several shards that a worker has.

    Attributes:
        chunks: done so far.
        since: when it was leased.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    chunks: Count = 0
    since: AwareDatetime | None = None


class Heartbeat(BaseModel):
    """Report of a worker: the shard in work, its progress and memory.

    Attributes:
        worker: its id.
        key: the shard in work; None between two shards.
        chunks: of that shard, done so far.
        rss_bytes: memory of the executors.
        at: when it was written, by the worker's clock.
        since: when the shard was leased.
        shards: all shards in work or waiting for an executor, if there are several.
    """

    model_config = ConfigDict(frozen=True)

    worker: str
    tier: str
    key: str | None = None
    chunks: Count = 0
    rss_bytes: Count = 0
    limit_bytes: Count | None = None
    at: AwareDatetime
    since: AwareDatetime | None = None
    shards: tuple[HeartbeatShard, ...] | None = None

    @property
    def all_shards(self) -> tuple[HeartbeatShard, ...]:
        """Every shard that the worker has."""
        if self.shards is not None or self.key is None:
            return self.shards or ()
        return (HeartbeatShard(key=self.key, chunks=self.chunks, since=self.since),)
