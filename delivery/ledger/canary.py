"""Canary: a question to the next worker of a tier, and its answer, beside the runs.

`<state>/.canary-<project>-<prefix>-<tier>.json`, and the same with `-answer`. A worker on Pub/Sub
that finds a question answers it once it has asked its queue for a message: then its image, its
variables, and its rights on queue and state are right. Both files are removed by who asked.
"""

from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from delivery.broker.pubsub_names import PubSubNames
from delivery.ledger.damage import LedgerDamaged, parse
from runtime.errors import ObjectNotFound
from runtime.storage import Storage

MOST_PROBLEMS: Final = 10


class CanaryQuestion(BaseModel):
    """What a worker is asked.

    Attributes:
        token: of this question.
        source: that it shall read; None to look at none.
        dest: that it shall write.
    """

    model_config = ConfigDict(frozen=True)

    token: str
    source: str | None = None
    dest: str | None = None


class CanaryAnswer(BaseModel):
    """What a worker answers.

    Attributes:
        token: of the question.
        worker: its name.
        version: of its package.
        at: when.
        problems: what it cannot read or write, with the reason.
    """

    model_config = ConfigDict(frozen=True)

    token: str
    worker: str
    version: str
    at: AwareDatetime
    problems: Annotated[tuple[str, ...], Field(max_length=MOST_PROBLEMS)] = ()


def ask(state: Storage, queue: str, tier: str, question: CanaryQuestion) -> None:
    """Ask the next worker of a tier."""
    state.write(_path(queue, tier), question.model_dump_json(exclude_none=True).encode())


def question(state: Storage, queue: str, tier: str) -> CanaryQuestion | None:
    """The question to a tier; None where there is none, or a damaged one."""
    path = _path(queue, tier)
    try:
        return parse(CanaryQuestion, state.read(path), path, "")
    except (ObjectNotFound, LedgerDamaged):
        return None


def answer(state: Storage, queue: str, tier: str, found: CanaryAnswer) -> None:
    """Answer a question."""
    state.write(_path(queue, tier, "-answer"), found.model_dump_json().encode())


def answered(state: Storage, queue: str, tier: str, token: str) -> CanaryAnswer | None:
    """The answer to one's own question; None where there is none yet."""
    path = _path(queue, tier, "-answer")
    try:
        found = parse(CanaryAnswer, state.read(path), path, "")
    except (ObjectNotFound, LedgerDamaged):
        return None
    return found if found.token == token else None


def remove(state: Storage, queue: str, tier: str) -> None:
    """Remove question and answer."""
    state.delete(_path(queue, tier))
    state.delete(_path(queue, tier, "-answer"))


def _path(queue: str, tier: str, end: str = "") -> str:
    names = PubSubNames.parse(queue)
    own = f"{names.project}-{names.prefix}-{tier}{end}".replace("/", "-").replace(":", "-")
    return f".canary-{own}.json"
