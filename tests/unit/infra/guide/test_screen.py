"""What a guided session shows: steps in words, widths, commands for the clipboard."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.changes import Action, Change
from infra.guide.screen import Screen, doing
from infra.steps import Step, StepPlan
from runtime.errors import UsageError
from tests.support.terminal import ROOT, Terminal

TO_DO = {Action.CREATE: "to make", Action.UPDATE: "to change"}
COMMAND = "gcloud storage buckets update gs://a-bucket-of-a-lab-with-a-long-name --cors-file=c.json"
# A signal that another thread takes wakes no call of this one: as if it came just before the call.
INTERRUPTED = """
import signal, threading, time
from infra.guide.screen import Screen
def interrupt():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    Screen().ask("project", "its id", None)
except KeyboardInterrupt:
    print("interrupted")
"""


class Topics(Step):
    """A step that does nothing."""

    part = "topics"
    title = "topics"

    def compare(self) -> list[Change]:
        """Nothing."""
        return []

    def apply(self, changes: Sequence[Change]) -> None:
        """Nothing."""


def plan(*changes: tuple[Action, str, str], known: bool = True) -> StepPlan:
    """A plan of changes: action, kind, name."""
    return StepPlan(Topics(), [Change(*change) for change in changes], known)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (plan(), "nothing to do"),
        (plan((Action.OK, "topic", "a")), "there"),
        (plan((Action.OK, "topic", "a"), (Action.OK, "topic", "b")), "all 2 there"),
        (plan((Action.CREATE, "bucket", "a")), "1 bucket to make: a"),
        (plan((Action.CREATE, "api", "a"), (Action.CREATE, "api", "b")), "2 APIs to switch on"),
        (
            plan(*((Action.CREATE, "pool", str(n)) for n in range(4)), (Action.OK, "pool", "x")),
            "4 pools to make; 1 there",
        ),
        (
            plan((Action.CREATE, "topic", "a"), (Action.CREATE, "subscription", "a")),
            "1 topic, 1 subscription to make",
        ),
        (
            plan((Action.UPDATE, "pool", "a"), (Action.CREATE, "pool", "b")),
            "1 pool to make: b; 1 pool to change: a",
        ),
        (
            StepPlan(Topics(), [Change(Action.CREATE, "topics", "all", "to be seen")], known=False),
            "to be seen",
        ),
    ],
)
def test_a_step_in_words(found: StepPlan, text: str) -> None:
    """Numbers by kind, names where they are few; what could not be seen yet says so."""
    assert doing(found, TO_DO) == text


@pytest.mark.parametrize("columns", [80, 100])
def test_lines_fit_and_commands_stay_whole(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Texts are wrapped beside their labels; a command is one line, to be copied."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    screen = Screen()
    note = f"destination: no CORS rule, so that browsers read nothing of the volume; {COMMAND}"
    screen.remarks([Change(Action.NOTE, "bucket", "a-bucket", note)])
    screen.bad(UsageError("why not " * 20, hint="python -m producer spec"))
    screen.good("source", "gs://bucket/export " * 8)
    lines = shown.getvalue().splitlines()
    assert f"  {COMMAND}" in lines
    assert all(len(line) <= columns for line in lines if COMMAND not in line)
    assert any(line.strip().endswith("-m producer spec") for line in lines)


def test_what_is_not_printable_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of others must not move the cursor."""
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    screen = Screen()
    screen.remarks([Change(Action.EXTRA, "pool", "a\x1b[2Jb", "[bold]not markup[/bold]")])
    assert "\x1b" not in shown.getvalue()
    assert "[bold]not markup[/bold]" in shown.getvalue()


def test_ctrl_c_just_before_an_answer_is_read(tmp_path: Path) -> None:
    """It ends the question, without another key."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-c", INTERRUPTED)
    with Terminal(*command, folder=tmp_path, environment=environment) as terminal:
        terminal.expect("> ")
        terminal.expect("interrupted")
        assert terminal.end() == 0
