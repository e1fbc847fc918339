"""Provenance: what stays, what is made again and why, after source, files and runs change."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from braid.precomputed import sharding
from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.receipts import Receipt
from delivery.ledger.run import Run
from memmodel.tiers import parse_tiers
from producer.continuation import obstacle
from producer.export_listing import ExportFile, ScaleListing
from producer.planner import PlanInputs, PlanResult, make_plan
from producer.prior_runs import PriorRuns
from producer.provenance import changed_sources
from producer.run_request import Request
from producer.synthetic_export import sample_spec
from runtime.storage import ObjectInfo
from tests.support.export_listings import export_file
from tests.support.ledgers import BEGIN, at, info

VOLUME = VolumeSpec.parse(sample_spec((512, 512, 256), 3))  # 2 x 2 x 1 shards, one, one
DEST = "gs://bucket/volume"
REQUEST = Request(VOLUME, "gs://bucket/export", DEST, (0,), (1, 2))
TIERS = parse_tiers("0.5,2")
A, B = "s0/0_0_0.arrow", "s0/256_0_0.arrow"


@dataclass
class World:
    """An export, a destination and its runs, without a byte of either."""

    state: Path
    files: dict[str, ExportFile] = field(default_factory=dict)
    outputs: dict[str, ObjectInfo] = field(default_factory=dict)  # by key
    clock: float = 0.0
    request: Request = REQUEST

    def put(self, *origins: tuple[int, int, int], size: int = 1000) -> None:
        """Write source files; another size is another stamp."""
        for x, y, z in origins:
            path = f"s0/{x}_{y}_{z}.arrow"
            self.files[path] = export_file(path, (x, y, z), size)

    def plan(self, **changes: object) -> PlanResult:
        """A fresh plan."""
        listing = ScaleListing(0, tuple(self.files[path] for path in sorted(self.files)))
        outputs: dict[int, dict[int, ObjectInfo]] = {0: {}, 1: {}, 2: {}}
        for key, file in self.outputs.items():
            scale = VOLUME.scales[int(key[1])]
            shard = sharding.parse_shard_path(scale, file.path)
            assert shard is not None
            outputs[scale.index][shard] = file
        inputs = PlanInputs({0: listing}, outputs, self.runs.provenance)
        return make_plan(replace(self.request, **changes), inputs, TIERS)  # type: ignore[arg-type]

    @property
    def runs(self) -> PriorRuns:
        """The ledger, read anew."""
        return PriorRuns(str(self.state), DEST)

    def start(self, **fields: object) -> Run:
        """Enqueue a run."""
        self.clock += 100
        about = info(
            dest=DEST,
            source=self.request.source,
            created=at(self.clock),
            fingerprint=self.request.fingerprint,
            volume=VOLUME.to_info(),
            run_id=f"run-{self.clock:06.0f}",
            **fields,
        )
        return Run.create(str(self.state), about, self.plan().plan)

    def work(self, run: Run, keys: Iterable[str] | None = None, version: str = "now") -> None:
        """Make shards; their bytes follow from what they are made from."""
        for row in run.plan.rows():
            if row.state != "make" or (keys is not None and row.key not in keys):
                continue
            self.clock += 1
            inputs = {key: self._content(key) for key in row.inputs}
            seed = (row.source_digest, tuple(inputs.values()))
            content = None if not (row.sources or row.inputs) else f"crc{hash(seed) & 0xFFFFFF}="
            digest = row.source_digest if row.kind == "convert" and version == "now" else None
            run.receipts.put(
                Receipt(
                    key=row.key,
                    kind=row.kind,
                    tier="2gi",
                    redo=run.redo().get(row.key, 0),
                    empty=content is None,
                    crc32c=content,
                    inputs=inputs,
                    source_digest=digest,
                    chunks=1,
                    bytes_out=5000 if content else 0,
                    started=at(self.clock),
                    finished=at(self.clock),
                    worker="w",
                    version="0",
                )
            )
            if content is None:
                self.outputs.pop(row.key, None)
            else:
                path = sharding.shard_path(VOLUME.scales[row.scale], row.shard)
                self.outputs[row.key] = ObjectInfo(path, 5000, content, at(self.clock), None)

    def convert(self) -> Run:
        """A whole run, from plan to end."""
        run = self.start()
        self.work(run)
        return run

    def _content(self, key: str) -> str:
        found = self.outputs.get(key)
        return found.crc32c or "" if found else "empty"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two source files, converted with all scales."""
    found = World(tmp_path)
    found.put((0, 0, 0), (256, 0, 0))
    found.convert()
    return found


def test_what_is_made_stays(world: World) -> None:
    """Nothing is to be made, and every maker is known."""
    planned = world.plan()
    assert (dict(planned.reasons), list(planned.unknown)) == ({}, [])
    assert {row.state for row in planned.plan.rows()} == {"present"}
    assert all(row.crc32c for row in planned.plan.rows())


def test_a_file_that_comes(world: World) -> None:
    """Its shard is made, and all that is made from it; nothing else."""
    world.put((0, 256, 0))
    reasons = dict(world.plan().reasons)
    assert reasons == {
        "s0/2": "not made yet",
        "s1/0": "made again because its input s0/2 is",
        "s2/0": "made again because its input s1/0 is",
    }
    world.convert()
    assert not world.plan().reasons


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda world: world.put((0, 0, 0), size=1001), f"source files changed: {A}"),
        (lambda world: world.files.pop(A), f"source files went: {A}"),
        (lambda world: world.outputs.pop("s0/0"), "its file is gone"),
    ],
    ids=["changed", "went", "file-gone"],
)
def test_a_shard_that_is_old(world: World, change: Callable[[World], object], reason: str) -> None:
    """It is made again for this reason, and then stays."""
    change(world)
    reasons = dict(world.plan().reasons)
    assert reasons["s0/0"] == reason
    assert sorted(reasons) == ["s0/0", "s1/0", "s2/0"]
    world.convert()
    assert not world.plan().reasons


def test_all_files_of_a_shard_go(world: World) -> None:
    """It is made from nothing, which leaves no file; then nothing is to be done."""
    del world.files[A]
    world.convert()
    assert "s0/0" not in world.outputs
    assert not world.plan().reasons


@pytest.mark.parametrize("key", ["s0/0", "s1/0"])
def test_a_file_that_is_not_its_receipts(world: World, key: str) -> None:
    """A copy that was cut has another size; where the listing has a checksum, that counts too."""
    whole = world.outputs[key]
    world.outputs[key] = whole._replace(size=100)
    assert world.plan().reasons[key] == "its file is 100 bytes, its receipt says 5,000"
    world.outputs[key] = whole._replace(crc32c="AAAAAA==")
    assert "crc32c is AAAAAA==, its receipt says" in world.plan().reasons[key]
    world.outputs[key] = whole._replace(crc32c=None)
    assert not world.plan().reasons


def test_an_input_that_another_run_made_again(world: World) -> None:
    """A coarse shard is old when its input was replaced by a run that left coarse scales alone."""
    world.put((0, 0, 0), size=1001)
    run = world.start()
    world.work(run, ["s0/0"])
    run.cancel("by hand")
    assert dict(world.plan().reasons) == {
        "s1/0": "its input s0/0 was made again since",
        "s2/0": "made again because its input s1/0 is",
    }


def test_receipts_of_version_0_1_0_have_no_digest(tmp_path: Path) -> None:
    """Their run's plan tells the source files and their bytes."""
    world = World(tmp_path)
    world.put((0, 0, 0), (256, 0, 0))
    plan = world.plan().plan
    rows = [replace(row, source_digest=None) for row in plan.rows()]
    about = info(dest=DEST, source=world.request.source, volume=VOLUME.to_info(), run_id="old")
    run = Run.create(str(tmp_path), about, plan.of(rows, plan.scales))
    world.work(run, version="0.1.0")
    assert not world.plan().reasons
    world.put((0, 0, 0), size=1001)
    assert world.plan().reasons["s0/0"] == f"source files changed: {A}"


def test_a_shard_of_unknown_make(world: World) -> None:
    """It is named, not counted as done; after a run adopted it, it is held to its sources."""
    world.put((0, 256, 0))
    path = sharding.shard_path(VOLUME.scales[0], 2)
    world.outputs["s0/2"] = ObjectInfo(path, 77, None, BEGIN, None)
    assert list(world.plan().unknown) == ["s0/2"]
    world.work(world.start(adopted=True))
    assert not world.plan().unknown
    assert not world.plan().reasons
    world.put((0, 256, 0), size=1001)
    assert world.plan().reasons["s0/2"] == "source files changed: s0/0_256_0.arrow"


def test_an_output_without_receipt(world: World) -> None:
    """A worker that died between output and receipt leaves a file of known make: made again."""
    world.put((0, 256, 0))
    run = world.start()
    world.work(run, ["s0/2"])
    run.storage.delete("receipts/s0/2.json")
    planned = world.plan()
    assert planned.reasons["s0/2"] == "the run that was making it left no receipt"
    assert not planned.unknown


def test_zeros_are_known(world: World) -> None:
    """A shard that was found empty has no file, is no input, and is made only if sources change."""
    run = world.runs.runs[0].run
    receipt = run.receipts.get("s0/1")
    assert receipt is not None
    later = receipt.finished + timedelta(seconds=1)
    empty = receipt.model_copy(update={"empty": True, "crc32c": None, "finished": later, "redo": 1})
    run.receipts.put(empty)
    del world.outputs["s0/1"]
    planned = world.plan()
    assert planned.plan.row("s0/1").state == "empty"
    assert "s0/1" not in planned.plan.row("s1/0").inputs
    assert planned.reasons["s1/0"] == "its input s0/1 was made again since"
    world.put((256, 0, 0), size=1001)
    assert world.plan().reasons["s0/1"] == f"source files changed: {B}"


def test_overwrite_makes_all(world: World) -> None:
    """Whatever exists."""
    assert set(world.plan(overwrite=True).reasons.values()) == {"--overwrite"}


def test_a_redo_that_was_not_done(world: World) -> None:
    """Another run takes it up."""
    run = world.runs.runs[0].run
    run.raise_redo(["s0/0"])
    run.cancel("by hand")
    assert world.plan().reasons["s0/0"] == "another making of it was requested"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (World.plan, ""),
        (lambda world: world.put((0, 0, 0), size=1001), f"s0/0: source files changed: {A}"),
        (lambda world: world.put((256, 0, 0), size=1001), f"s0/1: source files changed: {B}"),
        (lambda world: world.put((0, 256, 0)), "s0/2: source files came: s0/0_256_0.arrow"),
        (lambda world: world.files.pop(B), f"s0/1: source files went: {B}"),
        (lambda world: world.outputs.pop("s0/0"), "s0/0: its file is gone"),
    ],
    ids=["nothing", "done-changed", "open-changed", "came", "open-went", "done-gone"],
)
def test_an_unfinished_run_is_continued_only_as_planned(
    tmp_path: Path, change: Callable[[World], object], reason: str
) -> None:
    """Its plan must be what a fresh one would be, and nothing that it did may be old."""
    world = World(tmp_path)
    world.put((0, 0, 0), (256, 0, 0))
    world.work(world.start(), ["s0/0"])
    change(world)
    (earlier,) = world.runs.same(world.request)
    assert obstacle(earlier, world.request, world.plan()) == reason


def test_a_redo_is_no_obstacle(world: World) -> None:
    """The run itself makes the shard, and what is made from it if its bytes change."""
    world.runs.runs[0].run.raise_redo(["s0/0"])
    (earlier,) = world.runs.same(world.request)
    assert obstacle(earlier, world.request, world.plan()) == ""


def test_a_coarse_shard_that_a_run_leaves_alone_is_an_obstacle(world: World) -> None:
    """As version 0.1.0 planned it: inputs are made, and what is made from them stays."""
    world.put((0, 256, 0))
    plan = world.plan().plan
    rows = [replace(row, state="present" if row.scale else row.state) for row in plan.rows()]
    about = info(
        dest=DEST,
        source=world.request.source,
        created=at(500),
        fingerprint=world.request.fingerprint,
        volume=VOLUME.to_info(),
        run_id="run-of-0.1.0",
    )
    Run.create(str(world.state), about, plan.of(rows, plan.scales))
    (earlier,) = world.runs.same(world.request)
    found = obstacle(earlier, world.request, world.plan())
    assert found == "s1/0: made again because its input s0/2 is"


def test_words() -> None:
    """Several files are named up to three."""
    assert changed_sources("ab", "bc") == "source files came: c; source files went: a"
    assert changed_sources("", "abcde") == "source files came: a, b, c and 2 more"


def test_a_late_receipt_of_a_cancelled_run_decides_nothing(world: World) -> None:
    """Its worker learned too late, or its clock is ahead: the later run's receipt holds."""
    old = world.start()
    world.outputs.clear()
    new = world.start()
    old.cancel("overwritten")
    world.work(new)
    key, mine = next(iter(new.receipts.list().items()))
    full = new.receipts.get(key)
    assert full is not None
    late = {"crc32c": "zzzzzz==", "finished": mine.finished + timedelta(days=1)}
    old.receipts.put(full.model_copy(update=late))
    assert world.runs.provenance.origins[key].content == mine.content
