"""Prior runs of a destination: the one to continue and those that conflict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from braid.downsample.downsampler import Rule
from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import OPEN, RunStatus, read_status
from producer.planner import Outputs
from producer.run_request import Request, facts_that_matter, output_revision
from runtime.errors import UsageError
from runtime.text import join_first


@dataclass(frozen=True)
class PriorRun:
    """A run enqueued earlier, with its status."""

    run: Run
    cancelled: bool

    @cached_property
    def status(self) -> RunStatus:
        """Status of its shards; read once."""
        return read_status(self.run)

    @property
    def unfinished(self) -> bool:
        """Whether it can still make shards."""
        return not self.cancelled and not self.status.ended

    @property
    def to_go(self) -> int:
        """Number of shards that can still get done."""
        return sum(state in OPEN for state in self.status.states.values())

    @property
    def overwrites(self) -> bool:
        """Whether it also makes shards that existed."""
        return bool((self.run.info.model_extra or {}).get("overwrite", False))

    def makes(self, scale: int) -> bool:
        """Whether it makes this scale, by converting or downsampling."""
        return scale in (*self.run.info.scales, *self.run.info.downres)

    def made(self, scale: int) -> bool:
        """Whether it has finished a shard of this scale."""
        return self.makes(scale) and any(
            key.startswith(f"s{scale}/") for key in self.status.receipts
        )


class PriorRuns:
    """Prior runs of one destination, newest first.

    Args:
        state_url: root of the runs.
        dest: absolute URL of the volume.
    """

    def __init__(self, state_url: str, dest: str) -> None:
        runs = [run for run in reversed(list_runs(state_url)) if run.info.dest == dest]
        self.runs = [PriorRun(run, run.cancelled() is not None) for run in runs]

    def unfinished(self, request: Request) -> PriorRun | None:
        """The unfinished run that serves the request, or None."""
        for earlier in self.runs:
            info = earlier.run.info
            covers = {*request.scales} <= {*info.scales} and {*request.downres} <= {*info.downres}
            overwrites = earlier.overwrites or not request.overwrite
            same = request.makes_same_bytes(info.fingerprint)
            if same and covers and overwrites and earlier.unfinished:
                return earlier
        return None

    def others(self, request: Request) -> list[PriorRun]:
        """Unfinished runs that make other bytes."""
        return [
            earlier
            for earlier in self.runs
            if not request.makes_same_bytes(earlier.run.info.fingerprint) and earlier.unfinished
        ]

    def conflicting(self) -> list[PriorRun]:
        """Unfinished runs, which a run that overwrites has to cancel."""
        return [earlier for earlier in self.runs if earlier.unfinished]

    def producer_of(self, scale: int) -> PriorRun | None:
        """The newest run that finished a shard of this scale."""
        return next((earlier for earlier in self.runs if earlier.made(scale)), None)

    def producers(self, request: Request) -> list[PriorRun]:
        """The newest runs that finished shards of the requested scales, each once."""
        found = {e.run.run_id: e for s in request.made if (e := self.producer_of(s)) is not None}
        return list(found.values())

    def check(self, request: Request, outputs: Mapping[int, Outputs]) -> None:
        """Raise an error if the volume would mix the bytes of two runs.

        Raises:
            UsageError: an unfinished run or existing shards have another fingerprint.
        """
        for earlier in self.others(request):
            raise _conflict(earlier, request, _differences(earlier, request), "is not finished")
        for scale in request.made:
            producer = self.producer_of(scale)
            if producer is None or not outputs.get(scale):
                continue
            matter = {"spec", *facts_that_matter(scale, downsampled=scale in request.downres)}
            found = {
                name: values
                for name, values in _differences(producer, request).items()
                if name in matter
            }
            if found:
                raise _conflict(producer, request, found, f"made shards of scale {scale}")

    def empty(self, request: Request) -> Iterator[str]:
        """Keys of shards that are known to be all zeros.

        For scales to be made, only runs with an equal fingerprint count; for others, any run.
        """
        for scale in request.concerned:
            earlier = self.producer_of(scale)
            if earlier is None:
                continue
            same = request.makes_same_bytes(earlier.run.info.fingerprint)
            if same or scale not in request.made:
                yield from _empty(earlier.status, scale)

    def check_inputs(self, request: Request, outputs: Mapping[int, Outputs]) -> dict[int, int]:
        """Check the scales that are not made here but that others are made from.

        Returns:
            Scales that no known run has made, with the number of their existing shards; there,
            an absent shard is taken as empty.

        Raises:
            UsageError: a run left shards of such a scale undone; a hole must not become zeros.
        """
        unknown = {}
        for scale in set(request.concerned) - set(request.made):
            earlier = next((one for one in self.runs if one.makes(scale)), None)
            if earlier is None:
                unknown[scale] = len(outputs[scale])
            else:
                _check_complete(earlier, scale, outputs[scale])
        return unknown


def _empty(status: RunStatus, scale: int) -> Iterator[str]:
    prefix = f"s{scale}/"
    for key, receipt in status.receipts.items():
        if receipt.empty and key.startswith(prefix):
            yield key


def _check_complete(earlier: PriorRun, scale: int, outputs: Outputs) -> None:
    missing = [
        row.key
        for row in earlier.run.plan.rows(scale)
        if row.shard not in outputs and not _is_empty(earlier.status, row.key)
    ]
    if missing:
        raise UsageError(
            f"scale {scale} has holes: run {earlier.run.run_id} planned {join_first(missing, 1)}, "
            f"but {earlier.run.info.dest} does not have it",
            hint=f"complete scale {scale} first: the command that made it, again",
        )


def _is_empty(status: RunStatus, key: str) -> bool:
    receipt = status.receipts.get(key)
    if receipt is None:
        return status.plan.row(key).state == "empty"
    return receipt.empty


def _differences(earlier: PriorRun, request: Request) -> dict[str, tuple[object, object]]:
    """Facts in which a run and a request differ, by name: the run's and the request's."""
    theirs, ours = _facts(earlier), request.facts()
    return {name: (theirs[name], ours[name]) for name in ours if theirs[name] != ours[name]}


def _facts(earlier: PriorRun) -> dict[str, object]:
    """The facts of an earlier run, from its run.json."""
    info = earlier.run.info
    try:
        volume = VolumeSpec.parse(info.volume, earlier.run.uri)
    except SpecError:  # another version accepted a spec that this one refuses
        volume = VolumeSpec(data_type="uint64", scales=())
    request = Request(
        volume,
        info.source,
        info.dest,
        info.scales,
        info.downres,
        rule=Rule(info.rule),
        label_type=LabelType(info.label_type),
        z_compress=info.z_compress,
        gzip_level=info.gzip_level,
    )
    return {**request.facts(), "output_revision": output_revision(info)}


def _conflict(
    earlier: PriorRun, request: Request, found: Mapping[str, tuple[object, object]], what: str
) -> UsageError:
    named = [
        f"{name} {theirs} there, {ours} here" if name != "spec" else "another spec"
        for name, (theirs, ours) in found.items()
    ]
    info = earlier.run.info
    return UsageError(
        f"run {info.run_id} (fingerprint {info.fingerprint}) {what} with other settings than this "
        f"command (fingerprint {request.fingerprint}): {'; '.join(named) or 'another version'}",
        hint="use another --dest, the same settings, or --overwrite, which replaces what is there",
    )
