"""Earlier runs of a destination: which one to continue, which ones stand in the way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import RunStatus, State, read_status
from producer.planner import Outputs
from producer.run_request import Request, facts_that_matter
from runtime.errors import UsageError


@dataclass(frozen=True)
class PriorRun:
    """A run that was enqueued before."""

    run: Run
    cancelled: bool

    @cached_property
    def status(self) -> RunStatus:
        """Where it stands; read once."""
        return read_status(self.run)

    @property
    def unfinished(self) -> bool:
        """Whether it may still make something."""
        return not self.cancelled and not self.status.ended

    @property
    def to_go(self) -> int:
        """Shards that may still get done."""
        states = self.status.states.values()
        return sum(shard.state in {State.READY, State.WAITING} for shard in states)

    @property
    def overwrites(self) -> bool:
        """Whether it was asked to make shards that existed."""
        return bool((self.run.info.model_extra or {}).get("overwrite", False))

    def makes(self, scale: int) -> bool:
        """Whether it makes this scale, by converting or downsampling."""
        return scale in (*self.run.info.scales, *self.run.info.downres)

    def made(self, scale: int) -> bool:
        """Whether it finished a shard of this scale."""
        return self.makes(scale) and any(
            key.startswith(f"s{scale}/") for key in self.status.receipts
        )


class PriorRuns:
    """The runs of one destination, newest first.

    Args:
        state_url: root of the runs.
        dest: absolute URL of the volume.
    """

    def __init__(self, state_url: str, dest: str) -> None:
        runs = [run for run in reversed(list_runs(state_url)) if run.info.dest == dest]
        self.runs = [PriorRun(run, run.cancelled() is not None) for run in runs]

    def unfinished(self, request: Request) -> PriorRun | None:
        """The unfinished run that already does what is asked for, or None."""
        for earlier in self.runs:
            info = earlier.run.info
            covers = {*request.scales} <= {*info.scales} and {*request.downres} <= {*info.downres}
            overwrites = earlier.overwrites or not request.overwrite
            same = info.fingerprint == request.fingerprint
            if same and covers and overwrites and earlier.unfinished:
                return earlier
        return None

    def others(self, request: Request) -> list[PriorRun]:
        """Unfinished runs that make other bytes."""
        return [
            earlier
            for earlier in self.runs
            if earlier.run.info.fingerprint != request.fingerprint and earlier.unfinished
        ]

    def conflicting(self) -> list[PriorRun]:
        """Unfinished runs, which a new run that overwrites has to take the place of."""
        return [earlier for earlier in self.runs if earlier.unfinished]

    def maker(self, scale: int) -> PriorRun | None:
        """The run that last finished a shard of this scale."""
        return next((earlier for earlier in self.runs if earlier.made(scale)), None)

    def makers(self, request: Request) -> list[PriorRun]:
        """The runs that last finished shards of the scales asked for, each once."""
        found = {e.run.run_id: e for s in request.made if (e := self.maker(s)) is not None}
        return list(found.values())

    def check(self, request: Request, outputs: Mapping[int, Outputs]) -> None:
        """Refuse to mix the bytes of two runs in one volume.

        Raises:
            UsageError: an unfinished run, or shards that exist, were made by other rules.
        """
        for earlier in self.others(request):
            raise _conflict(earlier, request, _differences(earlier, request), "is not finished")
        for scale in request.made:
            earlier_maker = self.maker(scale)
            if earlier_maker is None or not outputs.get(scale):
                continue
            matter = {"spec", *facts_that_matter(scale, downsampled=scale in request.downres)}
            found = {
                name: values
                for name, values in _differences(earlier_maker, request).items()
                if name in matter
            }
            if found:
                raise _conflict(earlier_maker, request, found, f"made shards of scale {scale}")

    def empty(self, request: Request) -> Iterator[str]:
        """Keys of shards that are known to be all zeros.

        Of scales that are made by a run of this fingerprint; of others by whoever made them.
        """
        for scale in request.concerned:
            earlier = self.maker(scale)
            if earlier is None:
                continue
            same = earlier.run.info.fingerprint == request.fingerprint
            if same or scale not in request.made:
                yield from _empty(earlier.status, scale)

    def check_inputs(self, request: Request, outputs: Mapping[int, Outputs]) -> dict[int, int]:
        """Look for holes in scales that are not made here but that others are made from.

        Returns:
            Scales that no run is known to have made, with how many shards exist: there, absent
            can only mean empty.

        Raises:
            UsageError: a run left shards of such a scale undone: a hole must not become zeros.
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
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            f"scale {scale} has holes: run {earlier.run.run_id} planned {missing[0]}{more}, "
            f"but {earlier.run.info.dest} does not have it",
            hint=f"complete scale {scale} first: the command that made it, again",
        )


def _is_empty(status: RunStatus, key: str) -> bool:
    receipt = status.receipts.get(key)
    if receipt is None:
        return status.plan.row(key).state == "empty"
    return receipt.empty


def _differences(earlier: PriorRun, request: Request) -> dict[str, tuple[object, object]]:
    """What two runs disagree on, by name: theirs and ours."""
    theirs, ours = _facts(earlier), request.facts()
    return {name: (theirs[name], ours[name]) for name in ours if theirs[name] != ours[name]}


def _facts(earlier: PriorRun) -> dict[str, object]:
    """The facts of an earlier run, from what it says of itself."""
    info = earlier.run.info
    try:
        volume = VolumeSpec.parse(info.volume, earlier.run.uri)
    except SpecError:  # another version accepted what we refuse
        volume = VolumeSpec(data_type="uint64", scales=())
    request = Request(
        volume,
        info.source,
        info.dest,
        info.scales,
        info.downres,
        rule=info.rule,
        label_type=info.label_type,
        z_compress=info.z_compress,
        gzip_level=info.gzip_level,
    )
    return {**request.facts(), "version": info.version}


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
