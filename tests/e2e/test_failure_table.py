"""The failure table of `docs/delivery.md` with real processes, on both brokers."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from delivery.broker.base import DEAD
from delivery.dead_letters import drain
from delivery.ledger.receipts import Receipt
from delivery.messages import decode
from runtime.storage import open_storage
from tests.support.gcs_server import GcsServer
from tests.support.run_harness import (
    RunHarness,
    executor_process,
    is_gone,
    make_export,
    make_run_harness,
    process_of,
)
from tests.support.waiting import wait_for

SIZE = (150, 130, 70)  # 3 x 3 x 2 chunks, clipped on every axis
LONG_S = "600"
MIB = 1 << 20
# More than an executor needs by itself, so that the first tier is too small for it.
BALLAST = str(400 * MIB)

Harnesses = Callable[..., RunHarness]


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The export that all tests of this file convert."""
    return make_export(tmp_path_factory.mktemp("export"), SIZE)


# `make test` has five minutes for everything; the emulator's turn comes with `make slow`, and that
# of workers with several slots, too.
@pytest.fixture(
    params=[
        ("sqlite", "default"),
        pytest.param(("sqlite", "3"), marks=pytest.mark.slow),
        pytest.param(("pubsub", "default"), marks=pytest.mark.slow),
        pytest.param(("pubsub", "3"), marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def harnesses(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    export: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Harnesses]:
    """Makes planned runs on one of the brokers, for workers with so many slots."""
    broker, slots = request.param
    if slots == "default":
        monkeypatch.delenv("WORKER_SLOTS", raising=False)
    else:
        monkeypatch.setenv("WORKER_SLOTS", slots)
    if broker == "pubsub":
        request.getfixturevalue("pubsub_emulator")
    made: list[RunHarness] = []

    def make(files: list[Path] = export, **options: object) -> RunHarness:
        folder = tmp_path / f"harness{len(made)}"
        folder.mkdir()
        made.append(make_run_harness(folder, broker, files, SIZE, **options))  # type: ignore[arg-type]  # passed on
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def harness(harnesses: Harnesses) -> RunHarness:
    """A run of scale 0 on two tiers."""
    return harnesses()


def one(harness: RunHarness) -> str:
    """Publish one shard; its key."""
    return harness.publish(harness.converted[4:5])[0]


def exit_code(process: subprocess.Popen[bytes], within_s: float = 120.0) -> int:
    """Wait for a process to end."""
    return process.wait(within_s)


def test_done_means_output_receipt_and_an_empty_queue(harnesses: Harnesses) -> None:
    """Two workers share a pyramid; every shard has its file, one receipt, and no message stays."""
    harness = harnesses(scales=2)
    harness.publish()
    workers = [harness.work(), harness.work()]
    assert [exit_code(worker) for worker in workers] == [0, 0]
    receipts = harness.run.receipts.list()
    assert receipts.keys() == {row.key for row in harness.run.plan.rows()}
    files = {path for path in harness.volume() if path.endswith(".shard")}
    assert len(files) == sum(not receipt.empty for receipt in receipts.values())
    assert not [path for path in harness.volume() if ".tmp-" in path]
    assert sum(harness.leftovers().values()) == 0


def test_delivered_again_after_it_is_done_changes_nothing(harness: RunHarness) -> None:
    """A duplicate is acked; file and receipt stay as they were."""
    key = one(harness)
    worker = harness.start("work", "--tier", "512mi", "--run", harness.run.uri)
    before, volume = harness.receipt(key), harness.volume()
    harness.publish([key])
    wait_for(lambda: harness.events(worker, "shard_already_done"), "the duplicate")
    assert harness.run.receipts.get(key) == before
    assert harness.volume() == volume
    assert sum(harness.leftovers().values()) == 0


def test_a_killed_workers_shard_is_done_by_another(harness: RunHarness) -> None:
    """The lease ends and the message is delivered again; the executor ends with its worker."""
    key = one(harness)
    first = harness.start("work", "--tier", "512mi", WORK_PAUSE_S=LONG_S)
    assert harness.heartbeat(first).key == key
    child = executor_process(first.pid)
    first.kill()
    wait_for(lambda: is_gone(child), "the end of the executor")
    assert not harness.run.receipts.list()
    assert not [path for path in harness.volume() if ".tmp-" in path]
    second = harness.start("work", "--tier", "512mi")
    receipt = harness.receipt(key)
    assert f"-{second.pid}-" in receipt.worker
    assert receipt.attempt == 2
    assert receipt.tiers_tried == ("512mi",)


def test_a_killed_executor_sends_its_shard_to_the_next_tier(harness: RunHarness) -> None:
    """Its worker survives, reports what happened, and takes the next shard with a new executor."""
    key = one(harness)
    worker = harness.start("work", "--tier", "512mi", WORK_PAUSE_S=LONG_S)
    harness.heartbeat(worker)
    executor_process(worker.pid).kill()
    harness.start("work", "--tier", "1gi")
    receipt = harness.receipt(key)
    assert receipt.tiers_tried == ("512mi", "1gi")
    assert "SIGKILL" in receipt.history[0].reason
    assert worker.poll() is None


def test_a_fork_server_that_dies_harms_no_shard(harness: RunHarness) -> None:
    """What is in work goes on, and the shard after it gets its executor from another server."""
    keys = harness.publish(harness.converted[4:6])
    slots = {"WORKER_SLOTS": "4", "WORK_PAUSE_S": "3"}
    worker = harness.start("work", "--tier", "512mi", **slots)
    harness.heartbeat(worker)
    process_of(worker.pid, "consumer.fork_server").kill()
    assert [harness.receipt(key).attempt for key in keys] == [1, 1]
    idle = process_of(worker.pid, "consumer.executor")
    idle.kill()
    wait_for(lambda: is_gone(idle), "the executor's end")  # else it may be given the next shard
    (later,) = harness.publish(harness.converted[6:7])
    receipt = harness.receipt(later)
    assert (receipt.attempt, receipt.history) == (1, ())
    assert worker.poll() is None


def test_work_near_its_tiers_memory_finishes_on_a_larger_one(harness: RunHarness) -> None:
    """The watchdog stops it at 90 % of the tier; both numbers are in the history."""
    key = one(harness)
    long_enough = {"WORK_PAUSE_S": "2"}  # for a sample, also on a busy machine
    for tier in harness.tiers:
        harness.start("work", "--tier", tier, WORK_BALLAST_BYTES=BALLAST, **long_enough)
    receipt = harness.receipt(key)
    assert receipt.tiers_tried == ("512mi", "1gi")
    assert "90%" in receipt.history[0].reason
    assert "of 512 MiB" in receipt.history[0].reason
    assert receipt.peak_bytes is not None
    assert 461 * MIB < receipt.peak_bytes < 1024 * MIB


def test_a_memory_error_goes_to_the_next_tier(harness: RunHarness) -> None:
    """A MemoryError escalates the shard like the watchdog does."""
    key = one(harness)
    harness.start("work", "--tier", "512mi", WORK_BALLAST_BYTES=str(1 << 40))
    harness.start("work", "--tier", "1gi")
    receipt = harness.receipt(key)
    assert receipt.tiers_tried == ("512mi", "1gi")
    assert "MemoryError" in receipt.history[0].reason


def test_past_the_last_tier_a_shard_is_dead_with_both_numbers(harness: RunHarness) -> None:
    """The run ends without it, exit code 1, and the ledger knows why."""
    key = one(harness)
    ballast = str(1200 * MIB)
    harness.start("work", "--tier", "512mi", WORK_BALLAST_BYTES=ballast)
    harness.start("work", "--tier", "1gi", WORK_BALLAST_BYTES=ballast)
    letter = wait_for(lambda: harness.broker.lease(DEAD, wait_s=1.0), "the dead letter")
    message = decode(letter.data)
    assert message.key == key
    assert [hop.tier for hop in message.history] == ["512mi", "1gi"]
    assert message.reason is not None
    assert "of 1024 MiB" in message.reason
    assert "1gi (1.00 GiB) is the largest tier" in message.reason
    harness.broker.nack(letter)
    drain(harness.broker, open_storage(harness.run.state_url), wait_s=2.0)
    record = harness.run.failures.get(key)
    assert record is not None
    assert record.tiers_tried == ("512mi", "1gi")


def test_two_silent_deaths_and_the_third_delivery_goes_to_the_next_tier(
    harness: RunHarness,
) -> None:
    """The third is escalated untried: the shard may be what kills workers."""
    key = one(harness)
    for _ in range(2):
        worker = harness.start("work", "--tier", "512mi", WORK_PAUSE_S=LONG_S)
        harness.heartbeat(worker)
        worker.kill()
    third = harness.start("work", "--tier", "512mi")
    wait_for(lambda: harness.events(third, "shard_escalated"), "the third delivery")
    assert not harness.run.receipts.list()
    harness.start("work", "--tier", "1gi")
    receipt = harness.receipt(key)
    assert receipt.tiers_tried == ("512mi", "1gi")
    assert "without a report" in receipt.history[0].reason
    assert receipt.history[0].attempt == 3


def test_corrupt_input_is_dead_at_once_and_delays_no_other_shard(
    harnesses: Harnesses, export: list[Path], tmp_path: Path
) -> None:
    """One truncated file: its shard is dead with file and reason, all others finish."""
    folder = tmp_path / "broken" / "s0"
    shutil.copytree(export[0].parent, folder)
    files = sorted(folder.glob("*.arrow"))
    broken = files[3]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    harness = harnesses(files)
    keys = harness.publish()
    worker = harness.work()
    assert exit_code(worker) == 1
    assert len(harness.run.receipts.list()) == len(keys) - 1
    ((key, record),) = harness.run.failures.list().items()
    assert broken.name in record.reason
    assert record.attempts == 1
    said = harness.logs[worker.pid].read_text()
    assert f"ended without 1 of its shards: {key}" in said
    assert "Traceback" not in said


def test_an_input_that_never_fits_its_receipt_is_tried_twice(harnesses: Harnesses) -> None:
    """Its dependent gets one second chance, then it is dead with both checksums; nothing loops."""
    harness = harnesses(scales=2)
    harness.publish()
    assert exit_code(harness.work()) == 0
    row = max(harness.run.plan.rows(1), key=lambda row: len(row.inputs))
    folder = Path(harness.run.info.dest) / harness.spec.scales[0].key
    changed = folder / f"{row.inputs[0].partition('/')[2]}.shard"
    data = bytearray(changed.read_bytes())
    assert data[16:18] == b"\x1f\x8b"  # behind the index, the only chunk
    data[25] ^= 1  # on which system it was compressed: a sound file, but another
    changed.write_bytes(data)
    harness.run.raise_redo([row.key])
    harness.publish([row.key])
    worker = harness.work()
    assert exit_code(worker) == 1
    (key,) = harness.run.failures.list()
    assert key == row.key
    record = harness.run.failures.get(key)
    receipt = harness.run.receipts.get(row.inputs[0])
    assert record is not None
    assert receipt is not None
    assert f"expected crc32c {receipt.crc32c}, found" in record.reason
    assert [hop.tier for hop in record.history] == ["512mi", "512mi"]
    assert len(harness.events(worker, "shard_leased")) == 2
    assert sum(harness.leftovers().values()) == 0


def test_passing_storage_errors_are_retried_in_place(
    harnesses: Harnesses, gcs: GcsServer, bucket: str
) -> None:
    """Some answers of 503 cost time, not a delivery."""
    harness = harnesses(info={"dest": f"gs://{bucket}/volume"})
    gcs.fail("/upload/", times=3)
    key = one(harness)
    worker = harness.start("work", "--tier", "512mi")
    receipt = harness.receipt(key)
    assert receipt.attempt == 1
    assert len(harness.events(worker, "shard_leased")) == 1
    assert gcs.names(bucket) == ["volume/8x8x8/04.shard"]


def test_lasting_storage_trouble_releases_the_message(
    harnesses: Harnesses, gcs: GcsServer, bucket: str
) -> None:
    """The worker waits longer each time; when the storage is back, the shard gets done."""
    harness = harnesses(info={"dest": f"gs://{bucket}/volume"})
    gcs.fail("/upload/", times=1_000_000)
    key = one(harness)
    worker = harness.start("work", "--tier", "512mi", STORAGE_RETRY_S="1")
    wait_for(lambda: len(harness.events(worker, "worker_backoff")) == 2, "trouble")
    first, second = harness.events(worker, "worker_backoff")
    assert second["seconds"] == 2 * first["seconds"]
    gcs.heal()
    receipt = harness.receipt(key)
    assert (receipt.attempt, receipt.history) == (1, ())


def test_sigterm_releases_the_message_at_once(harness: RunHarness) -> None:
    """The message waits for the next worker as if nothing had happened; nothing half-written."""
    key = one(harness)
    first = harness.start("work", "--tier", "512mi", WORK_PAUSE_S=LONG_S)
    harness.heartbeat(first)
    child = executor_process(first.pid)
    first.send_signal(signal.SIGTERM)
    assert exit_code(first) == 130
    assert is_gone(child)
    assert not [path for path in harness.volume() if ".tmp-" in path]
    harness.start("work", "--tier", "512mi")
    receipt = harness.receipt(key)
    assert receipt.attempt == 1
    assert receipt.history == ()


def test_a_shard_that_waits_for_an_executor_is_released_too(harness: RunHarness) -> None:
    """Both messages wait for the next worker, which takes them at their first attempt."""
    keys = harness.publish(harness.converted[4:6])
    slots = {"WORKER_SLOTS": "2", "WORK_PAUSE_S": LONG_S}
    first = harness.start("work", "--tier", "512mi", **slots)
    wait_for(lambda: len(harness.heartbeat(first).all_shards) == 2, "a heartbeat of both")
    first.send_signal(signal.SIGTERM)
    assert exit_code(first) == 130
    harness.start("work", "--tier", "512mi")
    for key in keys:
        receipt = harness.receipt(key)
        assert (receipt.attempt, receipt.history) == (1, ())


def test_a_killed_workers_waiting_shard_is_done_by_another(harness: RunHarness) -> None:
    """As the one in work; both leases end."""
    keys = harness.publish(harness.converted[4:6])
    slots = {"WORKER_SLOTS": "2", "WORK_PAUSE_S": LONG_S}
    first = harness.start("work", "--tier", "512mi", **slots)
    wait_for(lambda: len(harness.heartbeat(first).all_shards) == 2, "a heartbeat of both")
    first.kill()
    second = harness.start("work", "--tier", "512mi")
    for key in keys:
        receipt = harness.receipt(key)
        assert receipt.attempt == 2
        assert f"-{second.pid}-" in receipt.worker


def test_a_release_counts_no_attempt(harness: RunHarness) -> None:
    """However often a message is released, it never counts as a silent death."""
    key = one(harness)
    for _ in range(4):
        worker = harness.start("work", "--tier", "512mi", WORK_PAUSE_S=LONG_S)
        harness.heartbeat(worker)
        worker.send_signal(signal.SIGINT)
        assert exit_code(worker) == 130
    harness.start("work", "--tier", "512mi")
    receipt = harness.receipt(key)
    assert (receipt.attempt, receipt.history) == (1, ())


def test_a_lost_lease_publishes_nothing(harness: RunHarness) -> None:
    """A worker that was frozen beyond its lease notices by its own clock when it wakes."""
    key = one(harness)
    first = harness.start("work", "--tier", "512mi", WORK_PAUSE_S="5")
    harness.heartbeat(first)
    child = executor_process(first.pid)
    first.send_signal(signal.SIGSTOP)
    child.send_signal(signal.SIGSTOP)
    harness.start("work", "--tier", "512mi")
    receipt = harness.receipt(key)
    volume = harness.shards()
    child.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGCONT)
    wait_for(lambda: harness.events(first, "lease_lost"), "the frozen worker's insight")
    assert harness.run.receipts.get(key) == receipt
    assert harness.shards() == volume
    assert not harness.events(first, "shard_done")
    assert first.poll() is None


def test_a_long_shard_is_worked_on_once(harness: RunHarness) -> None:
    """It takes three leases and is not delivered again."""
    key = one(harness)
    pause = str(3 * harness.lease_s)
    workers = [harness.start("work", "--tier", "512mi", WORK_PAUSE_S=pause) for _ in range(2)]
    polled = [time.monotonic()]

    def poll() -> Receipt | None:
        polled.append(time.monotonic())
        return harness.run.receipts.get(key)

    receipt = wait_for(poll, f"a receipt of {key}", 120.0)
    if receipt.attempt > 1 and max(b - a for a, b in itertools.pairwise(polled)) > 1:
        pytest.skip("the machine stood still, so that the lease could not be extended")
    assert receipt.attempt == 1
    assert sum(len(harness.events(worker, "shard_leased")) for worker in workers) == 1


def test_a_cancelled_runs_messages_are_acked(harness: RunHarness) -> None:
    """Its workers find nothing to do; a shard in work publishes no output."""
    one(harness)
    worker = harness.start("work", "--tier", "512mi", WORK_PAUSE_S="4")
    harness.heartbeat(worker)
    harness.run.cancel("enough")
    harness.publish_anyway(harness.converted[5])
    wait_for(lambda: len(harness.events(worker, "shard_cancelled")) == 2, "both messages' end")
    assert not harness.run.receipts.list()
    assert not [path for path in harness.volume() if path.endswith(".shard")]


def test_a_fleet_does_the_whole_job(harnesses: Harnesses) -> None:
    """One command, every scale; a worker that is killed on the way is replaced."""
    harness = harnesses(scales=3)
    harness.publish()
    options = ["--run", harness.run.uri, "--memory", "4GiB", "--cpus", "2", "--until-drained"]
    fleet = harness.start("fleet", *options, WORK_PAUSE_S="0.3")
    wait_for(harness.run.receipts.list, "a first receipt")
    children = psutil.Process(fleet.pid).children()
    children[0].kill()
    assert exit_code(fleet, 120) == 0
    assert harness.run.receipts.list().keys() == {row.key for row in harness.run.plan.rows()}
    assert harness.events(fleet, "worker_died")
    assert all(is_gone(child) for child in children)


def test_a_fleet_stops_promptly_and_releases_everything(harness: RunHarness) -> None:
    """Ctrl-C: no process stays, no attempt is counted."""
    harness.publish()
    options = ["--run", harness.run.uri, "--memory", "4GiB", "--cpus", "2"]
    fleet = harness.start("fleet", *options, WORK_PAUSE_S=LONG_S)
    wait_for(lambda: len([b for b in harness.run.heartbeats() if b.key]) == 2, "two busy workers")
    processes = psutil.Process(fleet.pid).children(recursive=True)
    assert len(processes) >= 4  # each has an executor, or two
    fleet.send_signal(signal.SIGINT)
    assert exit_code(fleet) == 130
    assert all(is_gone(process) for process in processes)
    delivery = harness.broker.lease("512mi", wait_s=2.0)
    assert delivery is not None
    assert delivery.attempt == 1
    assert harness.run.heartbeats() == []


def test_a_killed_fleet_leaves_no_worker(harness: RunHarness) -> None:
    """Workers end with their fleet and release their messages."""
    harness.publish()
    options = ["--run", harness.run.uri, "--memory", "4GiB", "--cpus", "2"]
    fleet = harness.start("fleet", *options, WORK_PAUSE_S=LONG_S)
    wait_for(lambda: len([b for b in harness.run.heartbeats() if b.key]) == 2, "two busy workers")
    processes = psutil.Process(fleet.pid).children(recursive=True)
    os.kill(fleet.pid, signal.SIGKILL)
    wait_for(lambda: all(map(is_gone, processes)), "the workers' end")
    assert harness.run.heartbeats() == []
