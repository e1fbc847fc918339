"""A worker on a real queue and ledger, with an executor that follows a script of the test."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from consumer.signals import ShutdownFlags
from consumer.worker.config import WorkerConfig
from consumer.worker.executor_client import ExecutorClient
from consumer.worker.worker import Worker
from delivery.broker import open_broker
from delivery.broker.base import Broker, Delivery
from delivery.ledger.run import Run
from delivery.messages import ShardMessage, decode
from memmodel.run_context import RunContext
from memmodel.tiers import MIB, tier_of
from tests.support.three_shard_run import SMALL, three_shard_run

LEASE_S = 30.0

# Answers a task by the script of its shard in script.json, in the folder of the program. Among the
# steps: `until:NAME` waits for a file of that folder, `with:KEY` for the task of another shard to
# have begun, and `hold:MIB` takes memory until the task ends, or `drop`. `end` says that most is
# done. With `unbegun` among them it does not say that it has the task.
PROGRAM = """
import json, os, sys, time
def send(event): print(json.dumps(event), flush=True)
script = os.path.join(os.path.dirname(__file__), "script.json")
def begun(key):
    with open(os.path.join(os.path.dirname(__file__), "tasks")) as file:
        return any(json.loads(line)["key"] == key for line in file)
def wait(poll):
    while not poll(): time.sleep(0.01)
send({"event": "started"})
for line in sys.stdin:
    task = json.loads(line)["task"]
    with open(os.path.join(os.path.dirname(__file__), "tasks"), "a") as file:
        file.write(json.dumps(task) + "\\n")
    steps = json.load(open(script))
    if "unbegun" not in steps.get(task["key"], ()): send({"event": "begun"})
    for step in steps[task["key"]]:
        if step == "unbegun":
            pass
        elif step == "wait":
            send({"event": "ready"})
            command = json.loads(sys.stdin.readline())
            if command["command"] == "stop":
                send({"event": "failed", "kind": command["kind"], "reason": command["reason"]})
                break
        elif str(step).startswith("until:"):
            wait(lambda: os.path.exists(os.path.join(os.path.dirname(__file__), step[6:])))
        elif str(step).startswith("with:"):
            wait(lambda: begun(step[5:]))
        elif str(step).startswith("hold:"):
            held = bytearray(int(step[5:]) << 20)
            held[::4096] = bytes([1]) * len(held[::4096])
        elif step == "drop":
            held = None
        elif str(step).startswith("sleep:"):
            time.sleep(float(step[6:]))
        elif step == "end":
            send({"event": "ending"})
        elif step == "die":
            os.kill(os.getpid(), 9)
        elif step == "hang":
            send({"event": "progress", "chunks": 1})
            time.sleep(600)
        else:
            held = None
            send(step)
"""


def done(**outcome: object) -> dict[str, object]:
    """The event of a shard that was made."""
    made = {"chunks": 3, "crc32c": "AAAAAA==", "bytes_out": 100} | outcome
    return {"event": "done", "outcome": made, "peak_bytes": 5, "seconds": 1.0, "cpu_s": 1.0}


def failed(kind: str, reason: str = "so it went") -> dict[str, object]:
    """The event of a shard that was not made."""
    return {"event": "failed", "kind": kind, "reason": reason, "peak_bytes": 300 * MIB}


class _Newer(ShardMessage):
    """A message of a later schema."""

    def encode(self) -> bytes:
        """With the next schema."""
        return super().encode().replace(b'"schema":1', b'"schema":2')


@dataclass
class WorkerHarness:
    """A worker with everything around it.

    Attributes:
        roots: that the worker is given.
    """

    folder: Path
    broker: Broker
    run: Run
    roots: tuple[str, ...]
    flags: ShutdownFlags = field(default_factory=ShutdownFlags)
    machine_bytes: int | None = None
    limit_bytes: int | None = 512 * MIB
    tier: str = SMALL
    slots: int = 1
    _worker: Worker | None = None

    def script(self, **steps: list[object]) -> None:
        """Set what the executor does, by shard: `s0_1` for `s0/1`."""
        by_key = {name.replace("_", "/"): script for name, script in steps.items()}
        (self.folder / "script.json").write_text(json.dumps(by_key))

    @property
    def worker(self) -> Worker:
        """The worker, made when first needed."""
        if self._worker is None:
            command = (sys.executable, str(self.folder / "executor.py"))
            executor = partial(ExecutorClient, command=command)
            config = WorkerConfig(
                tier_of(self.tier),
                self.limit_bytes,
                machine_bytes=self.machine_bytes,
                roots=self.roots,
                slots=self.slots,
                worker="me",
            )
            self._worker = Worker(self.broker, config, self.flags, executor=executor)
        return self._worker

    def let(self, name: str) -> None:
        """Make the file that a step `until:NAME` waits for."""
        (self.folder / name).touch()

    def replace_run(self, run: Run) -> None:
        """Have the worker use this object for its run."""
        self.worker._runs._planned[run.uri] = RunContext(run)

    def publish(self, key: str = "s0/0", **fields: object) -> None:
        """Put a message in the queue."""
        self._publish(ShardMessage, key, fields)

    def publish_newer(self, key: str) -> None:
        """Put a message of a later schema in the queue."""
        self._publish(_Newer, key, {})

    def _publish(self, of: type[ShardMessage], key: str, fields: dict[str, object]) -> None:
        kind = "convert" if key.startswith("s0") else "downsample"
        message = of.model_validate({"run": self.run.uri, "key": key, "kind": kind} | fields)
        self.broker.publish(self.tier, [message])

    def deliver(self) -> Delivery:
        """Have the worker handle the next message."""
        delivery = self.broker.lease(self.tier)
        assert delivery is not None
        self.worker.handle(delivery)
        return delivery

    def waiting(self, tier: str) -> list[ShardMessage]:
        """Take and ack all messages of a queue."""
        found = []
        while (delivery := self.broker.lease(tier)) is not None:
            found.append(decode(delivery.data))
            self.broker.ack(delivery)
        return found

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks that the executor received."""
        path = self.folder / "tasks"
        return [json.loads(line) for line in path.open()] if path.exists() else []


@contextmanager
def worker_harness(folder: Path) -> Iterator[WorkerHarness]:
    """A run of two shards and their dependent, nothing published."""
    (folder / "executor.py").write_text(PROGRAM)
    run = three_shard_run(folder)
    with open_broker(run.info.queue, run.info.tiers, LEASE_S) as broker:
        harness = WorkerHarness(folder, broker, run, (run.state_url,))
        yield harness
        harness.worker.close()
