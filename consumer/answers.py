"""Former name of the module of worker ids, which programs outside this repository import."""

from consumer.worker.config import worker_id

__all__ = ["worker_id"]
