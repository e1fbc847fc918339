"""Dialogue of a guided session: each question until its answer is of use, kept at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.guide.questions import Question
from infra.guide.screen import Screen
from runtime import settings
from runtime.env_file import read_env_file
from runtime.env_writer import keep_setting
from runtime.errors import ShardliftError

ENV_FILE: Final = Path(".env")


def unanswered(questions: Sequence[Question], given: Mapping[str, str | None]) -> list[Question]:
    """Questions whose answers are in no setting yet."""
    return [one for one in questions if not given.get(one.setting)]


class Dialogue:
    """Asks what is not known, and keeps it in `.env`.

    Args:
        screen: where people are.
        env_file: `.env` of the working directory.
    """

    def __init__(self, screen: Screen, env_file: Path = ENV_FILE) -> None:
        self._screen = screen
        self._env_file = env_file

    def run(self, questions: Sequence[Question], given: Mapping[str, str | None]) -> dict[str, str]:
        """Answers to all questions, checked and kept.

        Args:
            questions: in order.
            given: answers by options, environment and `.env`; those of no use are asked for again.
        """
        answers: dict[str, str] = {}
        for question in questions:
            known = given.get(question.setting)
            if known and self._accept(question, known, answers, typed=False):
                continue
            self._ask(question, known, answers)
        return answers

    def keep(self, name: str, value: str) -> None:
        """Keep a setting for this process, those that it starts, and the next command."""
        keep_setting(self._env_file, name, value)
        settings.put(name, value)

    def _ask(self, question: Question, known: str | None, answers: dict[str, str]) -> None:
        self._screen.say()
        while True:
            offer = known or question.offer(answers)
            answer = self._screen.ask(question.label, question.text, offer)
            if self._accept(question, answer, answers, typed=True):
                return

    def _accept(
        self, question: Question, text: str, answers: dict[str, str], *, typed: bool
    ) -> bool:
        """Check an answer and keep it; whether it is of use."""
        try:
            with self._screen.status(f"checking {question.label} {text}"):
                seen = question.check(text, answers)
        except ShardliftError as error:
            if not typed:
                self._screen.say()
            self._screen.bad(error)
            return False
        self.keep(question.setting, text)
        answers[question.setting] = text
        if typed:
            self._screen.good("", seen)
        else:
            self._screen.good(question.label, f"{text} ({seen})")
        return True


def kept(env_file: Path = ENV_FILE) -> Mapping[str, str]:
    """Settings that `.env` holds."""
    return read_env_file(env_file)
