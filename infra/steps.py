"""Steps of `infra up`: what each would make, as data, and how it is made.

Resources come in parts (APIs, buckets, topics, accounts, image, pools), and each part has a step,
or two where something else has to be there in between. A step is compared first: its changes have a
line for people and a price, and nothing is written. Then the changes of all steps are shown,
refused or made, in the order of the steps:

    steps = request.steps()
    plans = steps.compare()              # nothing is written
    for plan in plans:
        print(plan.step.title, table(plan.changes, done=False))
    steps.apply(plans, on_done=tick)     # a step at a time

Each write of a step can be repeated, so that after a step was stopped between any two of them the
same command completes it; and where there is nothing to change, a step writes nothing.
What a step compares may be unknown while an API is off that an earlier step switches on: its plan
is then not `known`, and it is compared again right before it is made, as soon as the API is on,
which takes Google some seconds.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from infra.changes import Action, Change
from infra.defaults import ALL_PARTS, APIS, PARTS
from infra.rights import Need
from runtime.errors import UsageError
from runtime.text import join_first

UNSEEN: Final = "cannot be checked"
"""What the note of a change says where Google denies the look."""

_STILL_OFF: Final = re.compile(r"(?i)has not been used|is disabled|accessNotConfigured")
_PAUSES_S: Final = (0.5, 1, 2, 4, 8, 15, 30, 30, 30)


class Step(ABC):
    """One step of `infra up`.

    Attributes:
        part: to which `--only` counts it.
        title: for people: a noun.
        apis: of Google, which it calls.
    """

    part: ClassVar[str]
    title: ClassVar[str]
    apis: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def compare(self) -> list[Change]:
        """Changes that its resources need, in order of execution; writes nothing."""

    @abstractmethod
    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found."""

    def needs(self, changes: Sequence[Change]) -> list[Need]:  # noqa: ARG002 - of some steps
        """Rights that the caller needs for these changes."""
        return []

    def notes(self) -> list[str]:
        """What is to be known beside the changes."""
        return []


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step would do.

    Attributes:
        step: the step.
        changes: that it found.
        known: whether it could compare; if not, it is compared again before it is made.
    """

    step: Step
    changes: Sequence[Change]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one request, in the order in which they are made.

    Attributes:
        steps: those that were requested.
        left_out: notes on parts that were requested and are left out.
    """

    steps: Sequence[Step]
    left_out: Sequence[str] = ()

    def compare(self) -> list[StepPlan]:
        """What each step would do; writes nothing."""
        plans: list[StepPlan] = []
        off: set[str] = set()
        for step in self.steps:
            plans.append(_plan(step, off))
            if step.part == APIS:
                off = {one.name for one in plans[-1].changes if one.action is not Action.OK}
        return plans

    def apply(
        self,
        plans: Sequence[StepPlan],
        on_begin: Callable[[Step], None] = lambda _step: None,
        on_done: Callable[[StepPlan], None] = lambda _plan: None,
    ) -> list[StepPlan]:
        """Make the changes that `compare` found, step by step; the changes that were made.

        Args:
            plans: of all steps.
            on_begin: called before each step.
            on_done: called after each step.

        Raises:
            UsageError: a change cannot be made; where it was known before, nothing was done.
        """
        done = []
        for plan in plans:
            refuse_conflicts(plan.changes)
        for plan in plans:
            on_begin(plan.step)
            changes = plan.changes if plan.known else _compare_once_on(plan.step)
            refuse_conflicts(changes)
            plan.step.apply(changes)
            done.append(StepPlan(plan.step, changes))
            on_done(done[-1])
        return done

    def notes(self) -> list[str]:
        """What is left out, and what else is to be known."""
        return [*self.left_out, *(note for step in self.steps for note in step.notes())]


def all_changes(plans: Iterable[StepPlan]) -> list[Change]:
    """Changes of all steps."""
    return [change for plan in plans for change in plan.changes]


def refuse_conflicts(changes: Iterable[Change]) -> None:
    """Refuse to make changes of which one cannot be made; nothing was done.

    Raises:
        UsageError: a resource differs in what cannot be changed.
    """
    for change in changes:
        if change.action is Action.CONFLICT:
            raise UsageError(f"{change.kind} {change.name} {change.note}")


def parse_parts(text: str) -> frozenset[str]:
    """Parts that `--only` names.

    Raises:
        UsageError: there is no such part.
    """
    parts = [part.strip() for part in text.split(",")]
    if unknown := [part for part in parts if part not in PARTS]:
        raise UsageError(
            f"--only: there is no part {join_first(unknown, 1)!r}; the parts are {ALL_PARTS}"
        )
    return frozenset(parts)


def _plan(step: Step, off: set[str]) -> StepPlan:
    """What a step would do; unknown where an API is off, as far as that keeps it from looking."""
    missing = sorted(step.apis & off)
    unseen = False
    changes: list[Change] = []
    try:
        changes = step.compare()
        unseen = any(UNSEEN in one.note for one in changes)
    except UsageError:
        if not missing:
            raise
        unseen = True
    if missing and unseen:
        note = f"to be seen once these APIs are on: {', '.join(missing)}"
        changes = [Change(Action.CREATE, step.part, "all", note)]
    return StepPlan(step, changes, known=not missing)


def _compare_once_on(step: Step) -> list[Change]:
    """Changes of a step whose API was switched on just now, as soon as Google lets it look."""
    for pause_s in _PAUSES_S:
        try:
            changes = step.compare()
            unseen = [one.note for one in changes if UNSEEN in one.note]
        except UsageError as error:
            unseen = [str(error)]
        if not any(_STILL_OFF.search(text) for text in unseen):
            break
        time.sleep(pause_s)
    return step.compare()
