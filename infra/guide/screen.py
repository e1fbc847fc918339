"""A guided session's side of the terminal: questions, ticks, what will be made; on stderr."""

import select
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text

from infra.changes import FINDINGS, Action, Change
from infra.steps import Step, StepPlan
from runtime.errors import ShardliftError
from runtime.interpreter import as_typed
from runtime.text import counted, printable

WIDTH: Final = 100  # columns that are used at the most
_LABEL: Final = 21  # columns of the first
_POLL_S: Final = 0.2  # between two looks for signals while nothing is typed
_NAMED: Final = 3  # resources of a step
_TO_DO: Final = {Action.CREATE: "to make", Action.UPDATE: "to change"}
_DONE: Final = {Action.CREATE: "made", Action.UPDATE: "changed"}
_UNSEEN: Final = "all"  # resources of a step that could not look yet
_COMMANDS: Final = ("gcloud ", "--member=")  # begins of what people copy
_API: Final = "api"  # these are not made
_SWITCHED: Final = {"to make": "to switch on", "made": "switched on"}
_SAID: Final = frozenset({Action.WARN, Action.CONFLICT, Action.SKIP, Action.NOTE, Action.EXTRA})


class Screen:
    """Writes for people at a terminal, and reads their answers."""

    def __init__(self) -> None:
        # What steps say meanwhile, such as the URL of a log, is not broken for a clipboard.
        self._console = Console(
            stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._console.width = min(self._console.width, WIDTH)
        self._fancy = "utf" in (self._console.encoding or "").lower()
        self._tick, self._cross = ("✓", "✗") if self._fancy else ("+", "x")

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line, wrapped at the terminal's width."""
        for line in Text(printable(text), style=style).wrap(self._console, self._console.width):
            self._console.print(line)

    def good(self, label: str, text: str) -> None:
        """Print a line with a tick."""
        self._marked(self._tick, "green", label, text)

    def bad(self, error: ShardliftError) -> None:
        """Print why something is of no use, and what to do."""
        self._marked(self._cross, "red", "", str(error))
        if error.hint:
            self._console.print(Text(printable(f"  {as_typed(error.hint)}"), style="dim"))

    def row(self, label: str, text: str, style: str = "") -> None:
        """Print a label and a text that is wrapped beside it."""
        lines = Text(printable(text), style=style).wrap(
            self._console, max(self._console.width - _LABEL - 2, 20)
        )
        for number, line in enumerate(lines):
            head = Text(f"  {printable(label) if number == 0 else '':<{_LABEL}}")
            self._console.print(head + line)

    def ask(self, label: str, text: str, offer: str | None) -> str:
        """One answer; Enter takes the offer.

        Raises:
            typer.Abort: there will be no answer: the terminal was closed.
        """
        head = Text.assemble((label, "bold"), ("  ", ""), (printable(text), "dim"))
        while True:
            self._console.print(head)
            shown = f"[{printable(offer)}] " if offer else ""
            self._console.print(Text.assemble(("> ", "cyan"), (shown, "dim")), end="")
            if answer := self._line() or offer:
                return answer

    def confirm(self, text: str) -> bool:
        """Whether Enter or yes is the answer."""
        while True:
            question = Text.assemble((f"{printable(text)} ", "bold"), ("[Y/n] ", "dim"))
            self._console.print(question, end="")
            answer = self._line().lower()
            if answer in {"", "y", "yes"}:
                return True
            if answer in {"n", "no"}:
                return False

    def status(self, text: str) -> Status:
        """What goes on, to be shown while it does; other lines appear above it."""
        spinner = "dots" if self._fancy else "line"
        return self._console.status(Text(printable(text), style="dim"), spinner=spinner)

    def plan(self, plans: Sequence[StepPlan]) -> None:
        """Print what each step would do."""
        for plan in plans:
            self.row(plan.step.title, doing(plan, _TO_DO))

    def remarks(self, changes: Sequence[Change]) -> None:
        """Print what is to be known of resources beside what is made."""
        for one in changes:
            if one.action in _SAID:
                style = "yellow" if one.action in FINDINGS else "dim"
                first, *parts = one.note.split("; ")
                self.row(f"{one.action}: {one.kind}", f"{one.name}: {first}", style)
                for part in parts:
                    self._part(part.strip(), style)

    def _part(self, text: str, style: str) -> None:
        """Print a part of a remark; a command is one line for the clipboard."""
        if text.startswith(_COMMANDS):
            line = Text(f"  {printable(text)}", style=style)
            self._console.print(line)
        else:
            self.row("", text, style)

    def done(self, plan: StepPlan) -> None:
        """Print that a step is done."""
        self.good(plan.step.title, doing(plan, _DONE))

    def _line(self) -> str:
        # `readline` would sleep through a Ctrl-C that comes just before it, until the next key.
        while not select.select([sys.stdin], [], [], _POLL_S)[0]:
            pass
        line = sys.stdin.readline()
        if not line:
            self._console.print()
            raise typer.Abort
        return line.strip()

    def _marked(self, mark: str, style: str, label: str, text: str) -> None:
        wide = max(self._console.width - 2 - (_LABEL if label else 0), 20)
        for number, line in enumerate(Text(printable(text)).wrap(self._console, wide)):
            first = number == 0
            column = f"{printable(label) if first else '':<{_LABEL}}" if label else ""
            self._console.print(Text.assemble((mark if first else " ", style), " ", column, line))


class Ticks:
    """Shows the step that is being made, and those that are done."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._status: Status | None = None

    def begin(self, step: Step) -> None:
        """A step begins."""
        self.end()
        self._status = self._screen.status(f"{step.title} ...")
        self._status.start()

    def done(self, plan: StepPlan) -> None:
        """It is done."""
        self.end()
        self._screen.done(plan)

    def end(self) -> None:
        """Nothing goes on."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def doing(plan: StepPlan, words: dict[Action, str]) -> str:
    """What a step does, in a line: `7 topics, 7 subscriptions to make`, `1 bucket made: b`."""
    if not plan.known and [one.name for one in plan.changes] == [_UNSEEN]:
        return plan.changes[0].note
    parts = [
        _counted([one for one in plan.changes if one.action is action], word)
        for action, word in words.items()
    ]
    there = sum(one.action is Action.OK for one in plan.changes)
    done = [part for part in parts if part]
    if done and there:
        done.append(f"{there} there")
    if not done and there > 1:
        return f"all {there} there"
    return "; ".join(done) or ("there" if there else "nothing to do")


def _counted(changes: Sequence[Change], word: str) -> str:
    """Number of resources by kind, and their names where they are few."""
    if not changes:
        return ""
    kinds = Counter(one.kind for one in changes)
    if kinds.keys() == {_API}:
        return f"{counted(len(changes), 'API')} {_SWITCHED[word]}"
    numbers = ", ".join(counted(number, kind) for kind, number in kinds.items())
    names = list(dict.fromkeys(one.name for one in changes))
    shown = f": {', '.join(names)}" if len(kinds) == 1 and len(names) <= _NAMED else ""
    return f"{numbers} {word}{shown}"
