"""Heads of record batches, packed."""

from hypothesis import given
from hypothesis import strategies as st

from braid.dvid.packed_heads import PackedHeads


@given(st.lists(st.binary(max_size=9000), max_size=8))
def test_they_come_back_as_they_were(heads: list[bytes]) -> None:
    """Also those that are empty, since they are not kept, and those beyond the window."""
    packed = PackedHeads()
    for head in heads:
        packed.add(head)
    assert packed.lengths.tolist() == [len(head) for head in heads]
    assert [packed.head(number) for number in range(len(heads))] == heads


def test_heads_that_are_much_alike_take_little() -> None:
    """As those of batches with one row: some numbers differ."""
    packed = PackedHeads()
    plain = bytes(range(256)) * 2
    for number in range(1000):
        packed.add(plain[:200] + number.to_bytes(8, "little") + plain[208:])
    assert packed.packed_bytes < 1000 * 60
