"""Launches: the order in which the runs of a state root begin, one after the other.

`<state>/.launches/<number>.json` is written only if there is none of that number, and holds all
that its run is made of but the plan, which lies in the run's folder already. So of two launches
that looked at the same state exactly one goes on; the other one looks again, and sees the first
one's run. Whoever looks completes a launch whose program died halfway: nothing waits for it, and no
lock is left.
"""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from delivery.ledger import plan as plans
from delivery.ledger.damage import LedgerDamaged, parse, read_object
from delivery.ledger.overview import RUN
from delivery.ledger.plan import Plan
from delivery.ledger.run import Run, RunInfo, check_run_id
from runtime.errors import ObjectNotFound, ShardliftError, UsageError
from runtime.storage import join, open_storage

FOLDER: Final = ".launches"  # cannot be a run's id
_NUMBER: Final = re.compile(r"([0-9]{8})\.json")
_STAGED: Final = "plan-"  # a plan before its run begins
_PLAN: Final = re.compile(rf"{_STAGED}[0-9a-f]{{32}}\.arrow")
_AGAIN: Final = "run the same command again"


class LaunchedMeanwhile(ShardliftError):  # noqa: N818 - a state of the ledger; look again
    """Another run of the same destination, or of the same id, began since the state was read."""


class Launch(BaseModel):
    """All that a run is made of, but its plan.

    Attributes:
        info: the content of run.json.
        plan: name of the plan in the run's folder until it gets its own.
        cancels: runs that end when this one begins, by id, with the reason.
    """

    model_config = ConfigDict(frozen=True)

    info: dict[str, Any]
    plan: str
    cancels: dict[str, str] = Field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return str(self.info.get("run_id"))


class Launches:
    """The launches of one state root.

    Args:
        state_url: the root.
    """

    def __init__(self, state_url: str) -> None:
        self._state_url = state_url
        self._storage = open_storage(state_url)

    def newest(self) -> int:
        """Number of the newest launch; 0 if there is none."""
        numbers = [0]
        for entry in self._storage.list(f"{FOLDER}/"):
            found = _NUMBER.fullmatch(entry.path.removeprefix(f"{FOLDER}/"))
            numbers += [int(found[1])] if found else []
        return max(numbers)

    def settle(self) -> int:
        """Complete the newest launch if its program did not; its number."""
        number = self.newest()
        if number:
            self._complete(self._read(number))
        return number

    def begin(
        self, info: RunInfo, plan: Plan, after: int, cancels: Mapping[str, str] | None = None
    ) -> Run:
        """Begin a run.

        Args:
            info: its settings.
            plan: its shards.
            after: number of the newest launch when the state was read that the plan follows from.
            cancels: runs that end when this one begins, by id, with the reason.

        Raises:
            LaunchedMeanwhile: a run of the same destination or id began since.
            UsageError: the id cannot name a folder, or is taken.
        """
        check_run_id(info.run_id)
        run = Run(join(self._state_url, info.run_id))
        self._check_free(run, after)
        launch = Launch(
            info=info.model_dump(mode="json"),
            plan=f"{_STAGED}{uuid.uuid4().hex}.arrow",
            cancels=dict(cancels or {}),
        )
        plan.write(run.storage, launch.plan)
        try:
            self._append(launch, after)
        except LaunchedMeanwhile:
            run.storage.delete(launch.plan)
            raise
        self._complete(launch)
        return run

    def _check_free(self, run: Run, after: int) -> None:
        """Refuse the folder of another run, or one that holds what another run left."""
        kept = [
            entry.path
            for entry in run.storage.list()
            if entry.path != plans.PATH and not entry.path.startswith(_STAGED)
        ]
        if not kept:
            return
        if self.newest() > after:
            raise LaunchedMeanwhile(f"run {run.run_id} began meanwhile", hint=_AGAIN)
        if run.planned():
            raise run.taken()
        raise UsageError(
            f"{run.uri} holds what an earlier run of this id left: {kept[0]}",
            hint="remove that folder, or choose another --run-id",
        )

    def _append(self, launch: Launch, after: int) -> None:
        """Write the launch under the next number that is free."""
        data = launch.model_dump_json(indent=1).encode()
        number = after + 1
        while not self._storage.create(_path(number), data):
            other = self._read(number)
            if other is not None:
                self._complete(other)  # before a later one hides it
                _check_unrelated(launch, other)
            number += 1

    def _read(self, number: int) -> Launch | None:
        """A launch; None where it is damaged, and so of no run that could be made."""
        try:
            data = read_object(self._storage, _path(number), _path(number), "")
            launch = parse(Launch, data, _path(number), "")
            for run_id in (launch.run_id, *launch.cancels):
                check_run_id(run_id)
        except (LedgerDamaged, ObjectNotFound, UsageError):
            return None
        return launch if _PLAN.fullmatch(launch.plan) else None

    def _complete(self, launch: Launch | None) -> None:
        """Do what is left of a launch; at the same time in several programs, too."""
        if launch is None:
            return
        run = Run(join(self._state_url, launch.run_id))
        if run.planned():
            return
        try:
            plan = run.storage.read(launch.plan)
        except ObjectNotFound:  # done in this moment; or the run's folder was removed
            return
        for run_id, why in launch.cancels.items():
            other = Run(join(self._state_url, run_id))
            if other.planned():
                other.cancel(why)
        run.storage.write(plans.PATH, plan)
        run.storage.create(RUN, json.dumps(launch.info, indent=1).encode())
        run.storage.delete(launch.plan)


def _path(number: int) -> str:
    return f"{FOLDER}/{number:08}.json"


def _check_unrelated(launch: Launch, other: Launch) -> None:
    same_place = launch.info["dest"] == other.info.get("dest")
    if same_place or launch.run_id == other.run_id:
        raise LaunchedMeanwhile(
            f"run {other.run_id} of {other.info.get('dest')} began meanwhile",
            hint=_AGAIN,
        )
