"""States: derived from plan and ledger alone, for a run and for one shard alike."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.ledger.failures import FailureSummary
from delivery.ledger.plan import Plan, PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import (
    RunStatus,
    ShardState,
    derive,
    describe_incomplete,
    inputs_digest,
    read_shard_status,
    read_status,
)
from tests.support.gcs_server import GcsServer
from tests.support.ledgers import at, fail, finish, made_run, pyramid, receipt, row

DONE, FAILED, GIVEN_UP = ShardState.DONE, ShardState.FAILED, ShardState.GIVEN_UP
BLOCKED, READY, WAITING = ShardState.BLOCKED, ShardState.READY, ShardState.WAITING


def states(
    rows: list[PlanRow],
    receipts: Mapping[str, ReceiptSummary] | None = None,
    failures: Mapping[str, FailureSummary] | None = None,
    redo: Mapping[str, int] | None = None,
) -> dict[str, ShardState]:
    """Where each shard stands."""
    plan = Plan.of(rows, (0, 1, 2))
    return derive(plan.relations, receipts or {}, failures or {}, redo or {})


def made(*keys: str, **fields: Any) -> dict[str, ReceiptSummary]:  # noqa: ANN401 - any field
    """Receipts of these converted shards."""
    return {key: receipt(key, **fields) for key in keys}


def dead(key: str, **fields: Any) -> dict[str, FailureSummary]:  # noqa: ANN401 - any field
    """A failure record."""
    given = {"key": key, "kind": "convert", "at": at(9), "reason": "broken"}
    return {key: FailureSummary.model_validate(given | fields)}


PAIR = [row("s0/00"), row("s0/01"), row("s1/00", "s0/00", "s0/01")]


def test_at_first_converted_shards_are_ready_and_dependents_wait() -> None:
    """A shard without inputs is ready at once; the others wait for theirs."""
    assert states(PAIR) == {"s0/00": READY, "s0/01": READY, "s1/00": WAITING}


def test_a_dependent_is_ready_when_all_its_inputs_are_done() -> None:
    """One of two inputs is not enough."""
    assert states(PAIR, made("s0/00"))["s1/00"] is WAITING
    assert states(PAIR, made("s0/00", "s0/01"))["s1/00"] is READY


def test_a_receipt_counts_when_its_inputs_are_the_present_ones() -> None:
    """Done means made from what is there now."""
    low = made("s0/00", "s0/01")
    good = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-a=", "s0/01": "crc-a="})}
    assert states(PAIR, low | good)["s1/00"] is DONE
    changed = low | {"s0/01": receipt("s0/01", "crc-b=", redo=1)}
    assert states(PAIR, changed | good, redo={"s0/01": 1})["s1/00"] is READY
    same = low | {"s0/01": receipt("s0/01", "crc-a=", redo=1)}
    assert states(PAIR, same | good, redo={"s0/01": 1})["s1/00"] is DONE


def test_while_an_input_is_remade_its_dependents_stay_as_they_are() -> None:
    """Only other bytes make a dependent be remade; until then it is done, or waits."""
    low = made("s0/00", "s0/01")
    good = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-a=", "s0/01": "crc-a="})}
    found = states(PAIR, low | good, redo={"s0/01": 1})
    assert found == {"s0/00": DONE, "s0/01": READY, "s1/00": DONE}
    assert states(PAIR, low, redo={"s0/01": 1})["s1/00"] is WAITING


def test_an_empty_input_is_compared_as_empty() -> None:
    """A shard of zeros has a receipt without checksum; becoming one is a change."""
    low = made("s0/00") | {"s0/01": receipt("s0/01", None)}
    for recorded, expected in (("empty", DONE), ("crc-a=", READY)):
        top = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-a=", "s0/01": recorded})}
        assert states(PAIR, low | top)["s1/00"] is expected


def test_an_input_without_a_row_is_empty() -> None:
    """At a planned scale a shard without a row holds zeros; no dependent waits for it."""
    rows = [row("s0/00"), row("s1/00", "s0/00", "s0/77")]
    assert states(rows, made("s0/00"))["s1/00"] is READY
    for inputs in ({"s0/00": "crc-a=", "s0/77": "empty"}, {"s0/00": "crc-a="}):
        top = {"s1/00": receipt("s1/00", inputs=inputs)}
        assert states(rows, made("s0/00") | top)["s1/00"] is DONE
    odd = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-a=", "s0/77": "crc-x="})}
    assert states(rows, made("s0/00") | odd)["s1/00"] is READY


def test_empty_rows_are_done() -> None:
    """What the plan knows to be zeros is done, as "empty"."""
    rows = [row("s0/00", state="empty"), row("s0/01", state="empty"), *PAIR[2:]]
    assert states(rows) == {"s0/00": DONE, "s0/01": DONE, "s1/00": READY}


def test_present_inputs_match_any_checksum() -> None:
    """A shard from before the run is done, though its bytes are unknown here."""
    rows = [row("s0/00", state="present"), row("s0/01", state="present"), *PAIR[2:]]
    assert states(rows) == {"s0/00": DONE, "s0/01": DONE, "s1/00": READY}
    top = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-x=", "s0/01": "crc-y="})}
    assert states(rows, top)["s1/00"] is DONE


def test_a_present_shard_asked_for_again_is_made() -> None:
    """Redo makes a present shard ready; its receipt is compared from then on."""
    rows = [row("s0/00", state="present"), row("s0/01", state="empty"), *PAIR[2:]]
    top = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-x="})}
    assert states(rows, top, redo={"s0/00": 1}) == {"s0/00": READY, "s0/01": DONE, "s1/00": DONE}
    remade = {"s0/00": receipt("s0/00", "crc-y=", redo=1)}
    assert states(rows, top | remade, redo={"s0/00": 1})["s1/00"] is READY


def test_an_old_redo_is_not_done() -> None:
    """A receipt answers the redo it was made for, and all below."""
    assert states(PAIR, made("s0/00", redo=1), redo={"s0/00": 2})["s0/00"] is READY
    assert states(PAIR, made("s0/00", redo=2), redo={"s0/00": 2})["s0/00"] is DONE
    assert states(PAIR, made("s0/00", redo=3), redo={"s0/00": 2})["s0/00"] is DONE


def test_a_dead_input_blocks_its_dependents_and_no_others() -> None:
    """Blocked goes up through all scales; neighbours go on."""
    low = made("s0/01", "s0/02", "s0/03")
    found = states(pyramid(), low, dead("s0/00"))
    assert found == {
        "s0/00": FAILED, "s0/01": DONE, "s0/02": DONE, "s0/03": DONE,
        "s1/00": BLOCKED, "s1/01": READY, "s2/00": BLOCKED,
    }  # fmt: skip


def test_a_dropped_shard_is_given_up_and_still_blocks() -> None:
    """A hole never becomes zeros."""
    found = states(PAIR, made("s0/01"), dead("s0/00", dropped=True))
    assert found == {"s0/00": GIVEN_UP, "s0/01": DONE, "s1/00": BLOCKED}


def test_a_receipt_outranks_a_failure() -> None:
    """A valid receipt means done, whatever failed before or after."""
    for seconds in (1, 99):
        assert states(PAIR, made("s0/00"), dead("s0/00", at=at(seconds)))["s0/00"] is DONE


def test_a_failed_remake_is_failed() -> None:
    """A stale receipt outranks only failures that are older than it."""
    low = made("s0/00", "s0/01", finished=at(5))
    asked = {"s0/00": 1}
    assert states(PAIR, low, dead("s0/00", redo=1), asked)["s0/00"] is FAILED
    stale = {"s1/00": receipt("s1/00", inputs={"s0/00": "crc-z="}, finished=at(5))}
    assert states(PAIR, low | stale, dead("s1/00", at=at(9)))["s1/00"] is FAILED
    assert states(PAIR, low | stale, dead("s1/00", at=at(1)))["s1/00"] is READY


def test_asking_again_gives_a_dead_shard_another_try() -> None:
    """A failure of a lower redo no longer counts, nor does having given up."""
    for record in (dead("s0/00"), dead("s0/00", dropped=True)):
        assert states(PAIR, {}, record, {"s0/00": 1})["s0/00"] is READY


def test_ended_means_nothing_can_still_get_done(tmp_path: Path) -> None:
    """A run has ended when every shard is done, failed, given up or blocked."""
    run = made_run(tmp_path)
    assert not read_status(run).ended
    for key in ("s0/01", "s0/02", "s0/03"):
        finish(run, key)
    fail(run, "s0/00")
    assert not read_status(run).ended
    finish(run, "s1/01")
    status = read_status(run)
    assert (status.ended, status.succeeded) == (True, False)
    assert status.counts[0] == {DONE: 3, FAILED: 1}
    assert status.counts[1] == {DONE: 1, BLOCKED: 1}
    assert status.counts[2] == {BLOCKED: 1}
    assert status.keys(BLOCKED) == ["s1/00", "s2/00"]
    assert status.causes("s2/00") == ("s0/00",)
    assert status.blocked_by("s2/00") == ("s1/00",)


def test_success_is_everything_done(tmp_path: Path) -> None:
    """A run without a failure ends in success; a run of nothing has ended too."""
    run = made_run(tmp_path)
    for one in pyramid():
        finish(run, one.key)
    assert (read_status(run).ended, read_status(run).succeeded) == (True, True)
    nothing = read_status(made_run(tmp_path, []))
    assert (nothing.ended, nothing.succeeded, nothing.counts[2]) == (True, True, {})


def test_a_shard_without_all_its_chunks_is_done_but_no_success(tmp_path: Path) -> None:
    """Its dependents are made; the run ends, and tells of the hole, whichever run left it."""
    run = made_run(tmp_path)
    for one in pyramid():
        finish(run, one.key, bad_chunk_count=2 if one.key == "s0/01" else 0)
    status = read_status(run)
    assert (status.ended, status.succeeded, status.incomplete) == (True, False, {"s0/01": 2})
    assert "1 shard made without 2 chunks that did not decode: s0/01." in describe_incomplete(
        status.incomplete
    )
    finish(run, "s0/01", bad_chunk_count=0, source_digest="mended")
    assert read_status(run).succeeded

    present = [row("s0/00", state="present", bad_chunks=3), row("s0/01", state="empty")]
    other = made_run(tmp_path, present)
    assert read_status(Run(other.uri)).incomplete == {"s0/00": 3}
    other.raise_redo(["s0/00"])
    finish(other, "s0/00", redo=1)
    assert read_status(other).succeeded


def test_the_inputs_digest_differs_after_every_remake() -> None:
    """What a dependent would be made from has a name; a remake, even to equal bytes, changes it."""
    first = [receipt("s0/00"), receipt("s0/01")]
    assert inputs_digest(0, first) == inputs_digest(0, reversed(first))
    others = [
        inputs_digest(1, first),
        inputs_digest(0, first[:1]),
        inputs_digest(0, [first[0], receipt("s0/01", "crc-b=")]),
        inputs_digest(0, [first[0], receipt("s0/01", redo=1)]),
        inputs_digest(0, [first[0], receipt("s0/01", finished=at(6))]),
    ]
    assert len({inputs_digest(0, first), *others}) == len(others) + 1


def test_reading_a_status_stops_at_the_first_missing_input(gcs: GcsServer, bucket: str) -> None:
    """What a cascade reads for a dependent that is not ready is little."""
    rows = [row(f"s0/{number:02x}") for number in range(8)]
    rows.append(row("s1/00", *(one.key for one in rows)))
    run = made_run(f"gs://{bucket}/runs", rows)
    finish(run, "s0/00")
    _ = run.plan
    before = len(gcs.seen)
    assert read_shard_status(run, "s1/00").state is WAITING
    assert len(gcs.seen) - before <= 5


def test_a_status_has_the_inputs(tmp_path: Path) -> None:
    """Each input's checksum, "empty", or None where the ledger does not know."""
    inputs = ("s0/00", "s0/01", "s0/02", "s0/03", "s0/77")
    rows = [row("s0/00"), row("s0/01"), row("s0/02", state="present"), row("s0/03", state="empty")]
    run = made_run(tmp_path, [*rows, row("s1/00", *inputs)])
    finish(run, "s0/00")
    finish(run, "s0/01", None)
    found = read_shard_status(run, "s1/00")
    assert found.state is READY
    assert found.inputs == {
        "s0/00": "crc-a=", "s0/01": "empty", "s0/02": None, "s0/03": "empty", "s0/77": "empty",
    }  # fmt: skip
    assert [one.key for one in found.input_receipts] == ["s0/00", "s0/01"]


def test_what_answers_a_message(tmp_path: Path) -> None:
    """An old message for a shard that is asked for again is answered by the old receipt."""
    run = made_run(tmp_path)
    assert not read_shard_status(run, "s0/00").answers(0)
    finish(run, "s0/00")
    assert read_shard_status(run, "s0/00").answers(0)
    run.raise_redo(["s0/00"])
    found = read_shard_status(run, "s0/00")
    assert (found.state, found.redo) == (READY, 1)
    assert found.answers(0)
    assert not found.answers(1)
    finish(run, "s0/00", redo=1)
    assert read_shard_status(run, "s0/00").answers(1)


def test_a_receipt_from_other_inputs_answers_nothing(tmp_path: Path) -> None:
    """A dependent whose input changed bytes is made again, whatever the message's redo."""
    run = made_run(tmp_path)
    for key in ("s0/00", "s0/01", "s1/00"):
        finish(run, key)
    assert read_shard_status(run, "s1/00").answers(0)
    run.raise_redo(["s0/00"])
    finish(run, "s0/00", "crc-b=", redo=1)
    assert not read_shard_status(run, "s1/00").answers(0)


KEYS = [one.key for one in pyramid()]
CRCS = st.sampled_from(["a", "b", None])
HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("finish"), st.sampled_from(KEYS), CRCS, st.integers(0, 2)),
        st.tuples(st.just("fail"), st.sampled_from(KEYS), st.booleans(), st.integers(0, 2)),
        st.tuples(st.just("redo"), st.sampled_from(KEYS)),
    ),
    max_size=30,
)
ROLES = st.lists(st.sampled_from(["make", "make", "present", "empty"]), min_size=4, max_size=4)


def _play(run: Run, history: list[tuple[Any, ...]]) -> None:
    """Play what can happen: inputs come first, no redo is made without its request, bytes stay."""
    made: dict[tuple[str, int], str | None] = {}
    for moment, (what, key, *rest) in enumerate(history):
        asked = run.redo().get(key, 0)
        if what == "finish" and _has_inputs(run, key, made):
            redo = min(rest[1], asked)
            crc = made.setdefault((key, redo), rest[0])
            finish(run, key, crc, redo=redo, finished=at(moment))
        elif what == "fail":
            fail(run, key, dropped=rest[0], redo=min(rest[1], asked), at=at(moment))
        elif what == "redo":
            run.raise_redo([key])


def _has_inputs(run: Run, key: str, made: dict[tuple[str, int], str | None]) -> bool:
    finished = {name for name, _ in made}
    inputs = [run.plan.row(name) for name in run.plan.row(key).inputs if name in run.plan]
    return all(row.state != "make" or row.key in finished for row in inputs)


@settings(deadline=None, max_examples=60)
@given(history=HISTORY, roles=ROLES)
def test_one_shards_status_agrees_with_the_runs(
    history: list[tuple[Any, ...]], roles: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever happened, a part of the ledger gives the state that the whole ledger gives."""
    low = [row(f"s0/{number:02x}", state=role) for number, role in enumerate(roles)]
    run = made_run(tmp_path_factory.mktemp("run"), [*low, *pyramid()[4:]])
    _play(run, [step for step in history if run.plan.row(step[1]).state != "empty"])
    status = read_status(run)
    for key, state in status.states.items():
        found = read_shard_status(run, key)
        expected = WAITING if state is BLOCKED else state
        assert found.state is expected
        if expected is READY:
            assert found.inputs_digest == status.inputs_digest(run.plan.row(key))
            assert list(found.input_receipts) == status.input_receipts(run.plan.row(key))


@settings(deadline=None, max_examples=60)
@given(history=HISTORY)
def test_no_state_contradicts_another(
    history: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ready needs done inputs, blocked a dead one below, failed a record, done a receipt."""
    run = made_run(tmp_path_factory.mktemp("run"))
    _play(run, history)
    status = read_status(run)
    for key, state in status.states.items():
        inputs = [status.states[name] for name in run.plan.row(key).inputs]
        if state is READY:
            assert set(inputs) <= {DONE}
        elif state is BLOCKED:
            assert status.causes(key)
            assert {status.states[cause] for cause in status.causes(key)} <= {
                FAILED,
                GIVEN_UP,
            }
        elif state is WAITING:
            assert {READY, WAITING} & set(inputs)
        elif state is DONE:
            assert run.receipts.get(key) is not None
        else:
            assert run.failures.get(key) is not None
    assert status.ended == (not {READY, WAITING} & set(status.states.values()))


def test_thirty_thousand_shards_are_derived_quickly() -> None:
    """Deriving is linear: the largest plans we know take a fraction of a second of CPU."""
    low = [row(f"s0/{number:04x}") for number in range(27_000)]
    high = [
        row(f"s1/{number:04x}", *(one.key for one in low[8 * number : 8 * number + 8]))
        for number in range(3375)
    ]
    status = RunStatus(Plan.of([*low, *high]), made(*(one.key for one in low)), {}, {})
    begin = time.process_time()
    assert status.counts == {0: {DONE: 27_000}, 1: {READY: 3375}}
    assert not status.ended
    assert time.process_time() - begin < 20  # minutes, if it were not linear
