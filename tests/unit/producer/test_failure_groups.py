"""Failure groups: one class for failures that differ in names, places and numbers alone."""

import pytest

from delivery.ledger.failures import SUMMARY_CHARS, Failure, FailureSummary
from producer.failure_groups import failure_class, group_failures, split_advice
from tests.support.ledgers import at


def failure(key: str, reason: str, **fields: object) -> Failure:
    """A failure record."""
    given = {"key": key, "kind": "convert", "at": at(0), "reason": reason}
    return Failure.model_validate(given | fields)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (
            "/e/s0/0_0_0.arrow: cut short: batches reach to byte 5120, the file has 3120",
            "/my export/s0/512_0_64.arrow: cut short: batches reach to byte 61, the file has 7",
            "cut short: batches reach to byte …, the file has …",
        ),
        (
            "gs://b/e/s0/0_0_0.arrow: row 3, chunk (1, 2, 3): not a whole zstd frame: bad magic",
            "/e/s0/1_0_0.arrow: row 12, chunk (10, -2, 3): not a whole zstd frame: bad magic",
            "row …, chunk (…): not a whole zstd frame: bad magic",
        ),
        (
            "/e/s0/0_0_0.csv: row 18: its range does not follow the one before",
            "s0/7_0_0.csv: row 1: its range does not follow the one before",
            "row …: its range does not follow the one before",
        ),
        (
            "/e/s0/0.csv: header ['x,y\\ufffd'] is not a shard index's",
            "/e/s0/1.csv: header ['a', 'b'] is not a shard index's",
            "header ['…'] is not a shard index's",
        ),
        (
            "/e/s0/0.csv: chunk (1, 2, 3) is there twice, in rows 1 and 5",
            "/e/s0/1.csv: chunk (3, 2, 1) is there twice, in rows 7 and 9",
            "chunk (…) is there twice, in rows … and …",
        ),
        (
            "/v/8/00.shard: expected crc32c AAAAAA==, found BBcc+A==: it is not s0/0's file",
            "/v/8/01.shard: expected crc32c zzzzzz==, found 0123+A==: it is not s0/1's file",
            "expected crc32c …, found …: it is not SHARD's file",
        ),
        (
            "s1/0fe9: needs about 521.00 GiB; the largest tier, 32gi, lets a shard use 30.40 GiB",
            "s0/a: needs about 21 GiB; the largest tier, 4gi, lets a shard use 3.80 GiB",
            "needs about … GiB; the largest tier, TIER, lets a shard use … GiB",
        ),
        (
            "no Arrow message begins with 1f8b080000000000",
            "no Arrow message begins with ffffffff00aa00bb",
            "no Arrow message begins with …",
        ),
        (
            "not an Arrow message: it begins with 0x1f8b",
            "not an Arrow message: it begins with 0x00001234",
            "not an Arrow message: it begins with …",
        ),
        (
            "delivered 5 times on tier 2gi and never answered: its workers died",
            "delivered 15 times on tier 512mi and never answered: its workers died",
            "delivered … times on tier TIER and never answered: its workers died",
        ),
        (
            "label 18446744073709551615 of block 3 does not fit a volume of 32-bit labels",
            "label 99 of block 511 does not fit a volume of 32-bit labels",
            "label … of block … does not fit a volume of …-bit labels",
        ),
        (
            "/v/0.shard, /v/1.shard: chunk 12: too short",
            "/v/4.shard: chunk 7: too short",
            "chunk …: too short",
        ),
        (
            "chunks of 64x64x64 voxels need about 12 MiB",
            "chunks of 128x128x32 voxels need about 1,200 MiB",
            "chunks of … voxels need about … MiB",
        ),
        (
            "unexpected ValueError at convert.py:12: negative",
            "unexpected ValueError at convert.py:99: negative",
            "unexpected ValueError at convert.py:…: negative",
        ),
    ],
)
def test_one_class(one: str, other: str, expected: str) -> None:
    """Files, shards, places, coordinates, checksums and numbers are left out; words stay."""
    assert failure_class(one) == failure_class(other) == expected


def test_other_words_are_another_class() -> None:
    """Column types and the like are words."""
    assert failure_class("column 3 is uint32") != failure_class("column 3 is uint64")
    assert failure_class("cut short") != failure_class("cut short: no footer")


def test_the_advice_is_the_last_sentence() -> None:
    """A reason without one has none."""
    assert split_advice("/a.arrow: cut short. Export this shard again") == (
        "/a.arrow: cut short",
        "Export this shard again",
    )
    assert split_advice("its workers died") == ("its workers died", "")
    assert split_advice("used 1.5 of 2 GiB") == ("used 1.5 of 2 GiB", "")


def test_each_failure_is_in_one_group() -> None:
    """The largest group first; given up shards are apart."""
    failures = [failure(f"s0/{n}", f"row {n}: bad. Export again") for n in range(3)]
    failures.append(failure("s0/3", "row 3: bad. Export again", dropped=True))
    failures.append(failure("s0/4", "gone"))
    groups = group_failures(failures)
    assert [(group.failure_class, group.advice, group.keys) for group in groups] == [
        ("row …: bad", "Export again", ["s0/0", "s0/1", "s0/2"]),
        ("given up: row …: bad", "Export again", ["s0/3"]),
        ("gone", "", ["s0/4"]),
    ]
    assert groups[0].example == "row 0: bad"


def test_a_listing_never_cuts_the_advice_off() -> None:
    """A summary keeps the reason's end; only its middle goes."""
    long = failure("s0/0", f"/{'x' * 2000}.arrow: cut short. Export this shard again")
    listed = FailureSummary.model_validate_json(long.model_dump_json())
    assert len(listed.reason) <= SUMMARY_CHARS
    assert split_advice(listed.reason)[1] == "Export this shard again"
