"""Prior runs of a destination: the one to continue and those that conflict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, list_runs, log_damage
from delivery.ledger.shard_status import OPEN, ShardState, read_status
from delivery.messages import parse_key
from producer.planner import Outputs
from producer.provenance import Provenance
from producer.run_differences import differences, differences_that_matter, makes_same_bytes
from producer.run_request import Request
from runtime.errors import UsageError
from runtime.text import counted, join_first


@dataclass(frozen=True)
class PriorRun:
    """A run enqueued earlier, with what its ledger said when it was read.

    Attributes:
        states: of its shards; none where it cannot make any more.
        ended: whether all its shards are done, failed, given up or blocked.
    """

    run: Run
    cancelled: bool
    states: Mapping[str, ShardState]
    ended: bool

    @classmethod
    def read(cls, run: Run, provenance: Provenance) -> "PriorRun":
        """Read its ledger once and fold it into the provenance of the destination."""
        # Through another Run, which keeps no receipts: there may be many runs of many shards.
        status, cancelled = read_status(Run(run.uri)), run.cancelled() is not None
        provenance.add(run, status, cancelled=cancelled)
        ended = status.ended
        return cls(run, cancelled, {} if cancelled or ended else status.states, ended)

    @property
    def unfinished(self) -> bool:
        """Whether it can still make shards."""
        return not self.cancelled and not self.ended

    @property
    def to_go(self) -> int:
        """Number of shards that can still get done."""
        return sum(state in OPEN for state in self.states.values())

    @property
    def open_keys(self) -> set[str]:
        """Keys of the shards that can still get done."""
        return {key for key, state in self.states.items() if state in OPEN}

    @property
    def overwrites(self) -> bool:
        """Whether it also makes shards that existed."""
        return self.run.info.overwrite

    def makes(self, scale: int) -> bool:
        """Whether it makes this scale, by converting or downsampling."""
        return self.run.info.makes(scale)

    def chooses_as(self, request: Request) -> bool:
        """Whether it makes the same selection of its scales' shards as a request."""
        theirs, ours = self.run.info.selection, request.selection
        if theirs is None or (ours is None and not theirs.left_out):
            return ours is None
        return theirs.chooses_as(ours)

    def covers(self, request: Request) -> bool:
        """Whether it makes all that a request wants."""
        info = self.run.info
        scales = {*request.scales} <= {*info.scales} and {*request.downres} <= {*info.downres}
        if not self.chooses_as(request):
            return False
        return scales and (self.overwrites or not request.overwrite)


class PriorRuns:
    """Prior runs of one destination, newest first, and the provenance of its shards.

    Args:
        state_url: root of the runs.
        dest: absolute URL of the volume.

    Attributes:
        damaged: by run id, what is damaged of runs of the destination that are left out.
    """

    def __init__(self, state_url: str, dest: str) -> None:
        self.provenance = Provenance()
        self.damaged: dict[str, LedgerDamaged] = {}
        self.runs = list(self._read(state_url, dest))[::-1]

    def _read(self, state_url: str, dest: str) -> Iterator[PriorRun]:
        """The runs of the destination, oldest first; damaged ones are noted and left out."""

        def on_damage(run: Run, error: LedgerDamaged) -> None:
            if run.stated_dest() == dest:
                self.damaged[run.run_id] = error
            else:
                log_damage(run, error)

        for run in list_runs(state_url, on_damage):
            if run.info.dest == dest:
                try:
                    yield PriorRun.read(run, self.provenance)
                except LedgerDamaged as error:
                    self.damaged[run.run_id] = error

    def check_sound(self) -> None:
        """Raise LedgerDamaged if a run of the destination is damaged: what it made is unknown."""
        for error in self.damaged.values():
            raise error

    def same(self, request: Request) -> list[PriorRun]:
        """Unfinished runs that make the same bytes."""
        return [one for one in self.runs if one.unfinished and makes_same_bytes(one.run, request)]

    def others(self, request: Request) -> list[PriorRun]:
        """Unfinished runs that make other bytes."""
        return [
            one for one in self.runs if one.unfinished and not makes_same_bytes(one.run, request)
        ]

    def conflicting(self) -> list[PriorRun]:
        """Unfinished runs, which a run that overwrites has to cancel."""
        return [earlier for earlier in self.runs if earlier.unfinished]

    def makers(self, scale: int) -> list[PriorRun]:
        """The runs that made or adopted the shards of a scale, newest first."""
        run_ids = self.provenance.run_ids(scale)
        return [earlier for earlier in self.runs if earlier.run.run_id in run_ids]

    def producers(self, request: Request) -> list[PriorRun]:
        """The newest runs that finished shards of the requested scales, each once."""
        newest = {s: self.makers(s)[:1] for s in request.made}
        return list({one.run.run_id: one for found in newest.values() for one in found}.values())

    def newest_making(self, scale: int) -> PriorRun | None:
        """The newest run that makes a scale: one that finished a shard of it, if there is any."""
        made = [one for one in self.makers(scale) if one.makes(scale)]
        return next((one for one in (*made, *self.runs) if one.makes(scale)), None)

    def newest_of_whole(self, scale: int) -> PriorRun | None:
        """The newest run that planned to make a scale and left out none of its shards."""
        whole = (one for one in self.runs if one.makes(scale))
        return next((one for one in whole if not one.run.info.leaves_out(scale)), None)

    def check(self, request: Request, outputs: Mapping[int, Outputs]) -> None:
        """Raise an error if the volume would mix the bytes of two runs.

        Raises:
            UsageError: an unfinished run or existing shards have another fingerprint.
        """
        for earlier in self.others(request):
            raise _conflict(earlier, request, differences(earlier.run, request), "is not finished")
        for scale in request.made:
            for producer in self.makers(scale) if outputs.get(scale) else ():
                if found := differences_that_matter(producer.run, request, scale):
                    raise _conflict(producer, request, found, f"made shards of scale {scale}")

    def check_inputs(
        self, request: Request, outputs: Mapping[int, Outputs], damaged: Mapping[str, str]
    ) -> None:
        """Check the scales that are not made here but that others are made from.

        Args:
            request: the request.
            outputs: existing shard files, by scale concerned.
            damaged: shards of such scales, with what is wrong with their files.

        Raises:
            UsageError: there is nothing of such a scale, or a run left shards of it undone; a hole
                must not become zeros.
        """
        for scale in sorted(set(request.concerned) - set(request.made)):
            if not outputs[scale] and not any(self.provenance.keys(scale)):
                below = [one for one in range(scale) if any(self.provenance.keys(one))]
                raise _nothing_of(scale, request, below)
            missing = [key for key in damaged if parse_key(key)[0] == scale]
            if missing:
                raise _holes(scale, f"{missing[0]}: {damaged[missing[0]]}")
            whole = self.newest_of_whole(scale)
            if (earlier := self.newest_making(scale)) is not None:
                if whole is None:
                    raise _left_out(earlier, scale, request)
                for one in {earlier.run.run_id: earlier, whole.run.run_id: whole}.values():
                    self._check_complete(one, scale, outputs[scale])

    def _check_complete(self, earlier: PriorRun, scale: int, outputs: Outputs) -> None:
        missing = [
            row.key
            for row in earlier.run.plan.rows(scale)
            if row.shard not in outputs and row.state != "empty" and not self._empty(row.key)
        ]
        if missing:
            raise _holes(
                scale,
                f"run {earlier.run.run_id} planned {join_first(missing, 1)}, but "
                f"{earlier.run.info.dest} does not have it",
            )

    def _empty(self, key: str) -> bool:
        origin = self.provenance.origins.get(key)
        return origin is not None and origin.empty


def _nothing_of(scale: int, request: Request, made: Sequence[int]) -> UsageError:
    """The error for a scale that others are made from and of which nothing exists."""
    base = max((one for one in (*request.scales, *made) if one <= scale), default=0)
    wanted = ",".join(map(str, sorted({*request.downres, *range(base + 1, scale + 1)})))
    hint = f"say --downres {wanted}" if scale else "convert it with --scales 0, or check --dest"
    return UsageError(
        f"scale {scale + 1} is made from scale {scale}, of which nothing exists at {request.dest}",
        hint=hint,
    )


def _holes(scale: int, what: str) -> UsageError:
    return UsageError(
        f"scale {scale} has holes: {what}",
        hint=f"complete scale {scale} first: the command that made it, again",
    )


def _left_out(earlier: PriorRun, scale: int, request: Request) -> UsageError:
    """The error for a scale of which only selections were made."""
    number = counted(earlier.run.info.leaves_out(scale), "shard")
    coarse = ",".join(map(str, request.downres))
    return UsageError(
        f"scale {scale} has holes: run {earlier.run.run_id} made a selection of it, and left out "
        f"{number}",
        hint="the command that made it, without --bbox, --shards, --limit and --sample, and with "
        f"--downres {coarse}, makes all",
    )


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
