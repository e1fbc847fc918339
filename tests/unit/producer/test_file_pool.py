"""Files read side by side."""

import threading
from contextlib import closing

import pytest

from producer import file_pool
from producer.file_pool import read_files


def test_results_come_in_order_and_files_are_read_together() -> None:
    """As many files as there are workers are in work at once."""
    together = threading.Barrier(4, timeout=20)

    def read(number: int) -> int:
        together.wait()
        return -number

    assert list(read_files(read, range(40), 4, "reading")) == [-n for n in range(40)]


def test_few_files_are_taken_ahead() -> None:
    """Results of files are not collected, however slowly they are taken."""
    begun: list[int] = []
    with closing(read_files(begun.append, range(1000), 2, "reading")) as results:
        next(results)
    assert len(begun) <= 10


def test_lines_of_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, a line now and then tells how many are left and how long it takes."""
    monkeypatch.setattr(file_pool, "_LINE_S", 0)
    assert list(read_files(abs, range(3), 1, "reading")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("reading: 1 of 3 files, about ")
    assert lines[0].endswith(" left")
