"""Idle timeout on a fake clock."""

from consumer.exit_condition import IdleTimeout


def test_the_timeout_counts_from_the_last_work() -> None:
    """Not from the start; without a timeout never."""
    now_s = 100.0
    idle = IdleTimeout(5.0, lambda: now_s)
    never = IdleTimeout(None, lambda: now_s)
    now_s = 104.0
    assert not idle.met
    idle.reset()
    now_s = 108.0
    assert not idle.met
    now_s = 109.0
    assert idle.met
    assert not never.met
