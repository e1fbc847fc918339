"""DVID's export.log: parsed as it is written, compared with what is there."""

from pathlib import Path

import pytest

from producer.export_listing import ProblemKind, ScaleListing
from producer.export_log import (
    LogCounts,
    compare_chunks,
    log_problems,
    parse_log,
    read_log,
)
from runtime.storage import open_storage
from tests.support.export_listings import export_file, export_log_text


def scale_of(files: int, scale: int = 0) -> ScaleListing:
    """A scale with that many Arrow files."""
    found = [export_file(f"s{scale}/{64 * n}_0_0.arrow", (64 * n, 0, 0)) for n in range(files)]
    return ScaleListing(scale, tuple(found))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ""])
def test_counts_are_read_whatever_else_the_log_tells(line_end: str, separator: str) -> None:
    """Sizes, histograms and unknown lines are skipped; the totals are told from the scales."""
    text = export_log_text({0: (1234567, 1005), 2: (64, 1)})
    log = parse_log(text.replace(",", separator).replace("\n", line_end))
    assert log is not None
    assert log.scales == {0: LogCounts(1234567, 1005), 2: LogCounts(64, 1)}
    assert log.totals == LogCounts(1234631, 1006)
    assert (log.header["Data"], log.header["UUID"]) == (
        "segmentation",
        "28841c8277e044a7b187dda03e18da13",
    )
    assert log.header["Start"] == "2026-04-03 10:00:00"


def test_files_that_are_missing_or_too_many_are_told_with_both_numbers() -> None:
    """Of each scale listed; a scale that the log does not name has no files by it."""
    log = parse_log(export_log_text({0: (100, 5), 1: (10, 1)}))
    assert log_problems(log, [scale_of(5), scale_of(1, 1)]) == ()
    fewer, more, unknown = log_problems(log, [scale_of(4), scale_of(2, 1), scale_of(3, 2)])
    assert {fewer.kind, more.kind, unknown.kind} == {ProblemKind.LOG_FILES_DIFFER}
    assert "counts 5 shard files of scale 0, and 4 Arrow files are here: copy" in fewer.text
    assert "counts 1 shard files of scale 1, and 2 Arrow files" in more.text
    assert "counts 0 shard files of scale 2, and 3 Arrow files" in unknown.text


def test_a_log_without_totals_is_of_an_export_that_was_cut() -> None:
    """At whatever byte it ends before them; also one of no bytes."""
    whole = export_log_text({0: (100, 5)})
    for cut in (whole[: whole.index("--- Totals")], whole[: whole.index("  Chunks exp")], ""):
        (problem,) = log_problems(parse_log(cut), [scale_of(5)])
        assert problem.kind == ProblemKind.LOG_UNFINISHED
        assert compare_chunks(parse_log(cut), 0, 1) is None


def test_chunks_are_compared_with_rows() -> None:
    """Only where the log counts them."""
    log = parse_log(export_log_text({0: (1234, 5)}))
    assert compare_chunks(log, 0, 1234) is None
    assert compare_chunks(log, 1, 7) is None
    assert compare_chunks(None, 0, 7) is None
    problem = compare_chunks(log, 0, 1233)
    assert problem is not None
    assert "counts 1234 chunks of scale 0, and 1233 rows are here" in problem.text


def test_no_log_or_another_program_s_says_nothing(tmp_path: Path) -> None:
    """An export without a log is whole as far as anybody knows."""
    assert read_log(open_storage(str(tmp_path))) is None
    assert log_problems(None, [scale_of(3)]) == ()
    (tmp_path / "export.log").write_bytes(b"\xff copied 8 files\n")
    assert read_log(open_storage(str(tmp_path))) is None
    (tmp_path / "export.log").write_text(export_log_text({0: (100, 5)}))
    log = read_log(open_storage(str(tmp_path)))
    assert log is not None
    assert log.totals == LogCounts(100, 5)
