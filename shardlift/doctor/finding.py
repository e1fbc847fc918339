"""What a check found, for people and as a document."""

from typing import Literal

from runtime.document import Document, DocumentPart

State = Literal["ok", "warning", "problem"]


class Finding(DocumentPart):
    """What one check found.

    Attributes:
        check: what was looked at.
        state: `warning` costs time or comfort, with a `problem` a job would fail.
        text: what is there.
        fix: what to do about it.
    """

    check: str
    state: State
    text: str
    fix: str | None = None


class DoctorDocument(Document):
    """What `doctor` found.

    Attributes:
        state: the worst of all findings.
    """

    state: State
    findings: tuple[Finding, ...]


def worst(findings: tuple[Finding, ...]) -> State:
    """The worst state of these findings."""
    states = {finding.state for finding in findings}
    order: tuple[State, ...] = ("problem", "warning")
    return next((state for state in order if state in states), "ok")


def ok(check: str, text: str) -> Finding:
    """Finding of a check that is well."""
    return Finding(check=check, state="ok", text=text)


def warning(check: str, text: str, fix: str) -> Finding:
    """Finding that costs time or comfort."""
    return Finding(check=check, state="warning", text=text, fix=fix)


def problem(check: str, text: str, fix: str | None) -> Finding:
    """Finding with which a job would fail."""
    return Finding(check=check, state="problem", text=text, fix=fix)
