"""Guided session of `infra up`: ask what is not known, show one screen, make it with ticks."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import typer

from infra.caller_rights import as_changes, needs_of, refuse_lacking
from infra.changes import Action, Change
from infra.defaults import PARTS
from infra.guide.dialogue import Dialogue, unanswered
from infra.guide.questions import QUESTIONS
from infra.guide.screen import Screen, Ticks
from infra.request import InfraRequest
from infra.steps import StepPlan, all_changes, refuse_conflicts
from memmodel import prices
from memmodel.cost import HOUR_S, dollars_per_second
from memmodel.tiers import Tier, parse_tiers
from runtime import settings
from runtime.interpreter import as_typed
from runtime.text import counted

_MADE: Final = frozenset({Action.CREATE, Action.UPDATE})
_STOPPED: Final = "stopped: answers are kept in .env, and the same command goes on from here"


def session_of(parts: Collection[str], *, plain: bool) -> "Session | None":
    """A session where people can be asked, and all parts are to be made; else None.

    Args:
        parts: that were requested.
        plain: an option wants no questions.
    """
    asks = bool(sys.stdin and sys.stdin.isatty() and sys.stderr.isatty())
    return Session() if asks and not plain and set(parts) == set(PARTS) else None


class Session:
    """One guided session.

    Args:
        screen: where people are.
    """

    def __init__(self, screen: Screen | None = None) -> None:
        self._screen = screen or Screen()
        self._dialogue = Dialogue(self._screen)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Say at Ctrl-C how to go on."""
        try:
            yield
        except (KeyboardInterrupt, typer.Abort):
            self._screen.say()
            self._screen.say(_STOPPED, "yellow")
            raise

    def settle(self, given: Mapping[str, str | None], base_name: str) -> dict[str, str]:
        """Ask what is not known; all answers, with the queue's URL.

        Args:
            given: settings that options, environment and `.env` have.
            base_name: of a queue that has no URL yet.
        """
        if missing := unanswered(QUESTIONS, given):
            self._screen.say(
                f"{counted(len(missing), 'question')}, then one screen of what will be made. "
                "Answers are kept in .env as they are given. Ctrl-C stops at any time, and the "
                "same command goes on."
            )
        answers = self._dialogue.run(QUESTIONS, given)
        project = answers[settings.PROJECT_ID]
        queue = given.get(settings.QUEUE_URL) or f"pubsub://{project}/{base_name}"
        self._dialogue.keep(settings.QUEUE_URL, queue)
        return {**answers, settings.QUEUE_URL: queue}

    def make(self, request: InfraRequest) -> tuple[list[Change], list[str]]:
        """Show what would be made, ask once, and make it; the changes, and notes.

        Raises:
            UsageError: a right is lacking, or a resource cannot be made; nothing was done.
            typer.Abort: the answer is no.
        """
        steps = request.steps()
        with self._screen.status("looking at the project ..."):
            plans = steps.compare()
            lacking = as_changes(missing := request.caller().lacking(needs_of(plans)))
        self._show(request, plans, lacking)
        refuse_lacking(missing)
        refuse_conflicts(all_changes(plans))
        if any(one.action in _MADE for one in all_changes(plans)):
            self._costs(parse_tiers(request.tiers))
            if not self._screen.confirm("Make this?"):
                raise typer.Abort
            self._screen.say()
            ticks = Ticks(self._screen)
            try:
                plans = steps.apply(plans, on_begin=ticks.begin, on_done=ticks.done)
            finally:
                ticks.end()
            self._screen.say()
        return all_changes(plans), steps.notes()

    def _show(
        self, request: InfraRequest, plans: Sequence[StepPlan], lacking: Sequence[Change]
    ) -> None:
        """Show what each step would do, what is to be known, and which roles are lacking."""
        self._screen.say()
        place = f" in {request.region}" if request.region else ""
        self._screen.say(f"{request.names.url}{place}", "bold")
        self._screen.plan(plans)
        self._screen.remarks([one for plan in plans for one in plan.changes])
        self._screen.remarks(lacking)
        self._screen.say()

    def _costs(self, tiers: Sequence[Tier]) -> None:
        """Show what these resources cost, now and while they work."""
        hour = {tier.name: dollars_per_second(tier) * HOUR_S for tier in tiers}
        shown = ", ".join(f"{name} ${dollars:.2f}" for name, dollars in hour.items())
        self._screen.row("cost now", "pools at 0 cost nothing; nor do APIs, topics and accounts")
        self._screen.row("an instance, by hour", f"{shown}; while there are shards")
        self._screen.row("storage, by month", f"${prices.STORED.dollars:.2f} per GiB")
        self._screen.row("a run", as_typed("`python -m producer enqueue --dry-run` works it out"))
        self._screen.say()
