"""Contract of every broker, run on the embedded one and on Pub/Sub."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import DEAD, DEAD_LETTER_SOURCE, MAX_DELIVERIES, Broker, Delivery
from delivery.messages import Hop, ShardMessage, decode
from runtime.errors import UsageError
from tests.support.emulator import make_topology, new_queue_url, remove_topology

TIERS = ("300mi", "2gi", "4gi")
LOW, MIDDLE, HIGH = TIERS
LEASE_S = 3  # where a test waits for its end
LONG_S = 120  # where it must not end
SOON_S = 60.0  # long enough for what is there to arrive, on a busy machine


def message(key: str = "s0/0a", **fields: object) -> ShardMessage:
    """A message about some shard of some run."""
    return ShardMessage.model_validate({"run": "/runs/r1", "key": key, "kind": "convert"} | fields)


def messages(count: int) -> list[ShardMessage]:
    """So many messages about different shards."""
    return [message(f"s0/{number:04x}") for number in range(count)]


def taken(broker: Broker, tier: str) -> Delivery:
    """The next message of a tier, which must come."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        delivery = broker.lease(tier, 1.0)
        if delivery is not None:
            return delivery
    raise AssertionError(f"nothing came on {tier}")


def drained(broker: Broker, tier: str, count: int) -> list[ShardMessage]:
    """Everything that a tier gives, acked: so many messages."""
    found = []
    for _ in range(count):
        delivery = taken(broker, tier)
        found.append(decode(delivery.data))
        broker.ack(delivery)
    assert broker.lease(tier, 1.0) is None
    return found


def keys(found: list[ShardMessage]) -> list[str]:
    """Their keys, sorted."""
    return sorted(one.key for one in found)


class BrokerContract(ABC):
    """Contract of every broker; a backend only overrides `opened`."""

    @pytest.fixture
    @abstractmethod
    def opened(self) -> Iterator[Callable[..., Broker]]:
        """Opens brokers on the same queues, as other processes would; `opened(lease_s)`."""

    @pytest.fixture
    def broker(self, opened: Callable[..., Broker]) -> Broker:
        """A broker on empty queues."""
        return opened()

    def test_what_is_published_is_delivered_once_and_acked(self, broker: Broker) -> None:
        """Each message comes once, whole, with its attributes; then the queue is empty."""
        sent = messages(7)
        broker.publish(MIDDLE, sent)
        found = []
        for _ in sent:
            delivery = taken(broker, MIDDLE)
            assert delivery.tier == MIDDLE
            assert delivery.attempt == 1
            assert delivery.attributes["run"] == "/runs/r1"
            found.append(decode(delivery.data))
            assert broker.ack(delivery)
        assert keys(found) == keys(sent)
        assert broker.lease(MIDDLE, LEASE_S + 0.5) is None

    def test_nothing_to_lease_is_none_after_the_wait(self, broker: Broker) -> None:
        """An empty queue gives None, and not before the wait is over."""
        begin = time.monotonic()
        assert broker.lease(LOW, 1.0) is None
        assert time.monotonic() - begin >= 0.9

    def test_publishing_nothing_does_nothing(self, broker: Broker) -> None:
        """An empty list publishes no message and raises nothing."""
        broker.publish(LOW, [])
        assert broker.lease(LOW) is None

    def test_a_waiting_lease_gets_what_comes_meanwhile(
        self, broker: Broker, opened: Callable[..., Broker]
    ) -> None:
        """A lease call that waits gets a message published meanwhile."""
        other = opened()
        timer = threading.Timer(0.7, lambda: other.publish(LOW, [message()]))
        timer.start()
        delivery = broker.lease(LOW, SOON_S)
        timer.join()
        assert delivery is not None
        assert decode(delivery.data) == message()

    def test_tiers_are_separate_queues(self, broker: Broker) -> None:
        """A message is delivered on its own tier only."""
        broker.publish(LOW, [message()])
        assert broker.lease(MIDDLE) is None
        assert broker.lease(DEAD) is None
        assert decode(taken(broker, LOW).data) == message()

    def test_a_leased_message_is_hidden(self, opened: Callable[..., Broker]) -> None:
        """While a lease lasts the message is not delivered again."""
        broker = opened(LONG_S)
        broker.publish(LOW, [message()])
        taken(broker, LOW)
        assert broker.lease(LOW, 0.5) is None

    def test_an_ended_lease_is_delivered_again_and_counted(self, broker: Broker) -> None:
        """A silent worker's message comes back when its lease ends, as attempt 2."""
        broker.publish(LOW, [message()])
        first = taken(broker, LOW)
        second = taken(broker, LOW)
        assert second.received_s - first.received_s > LEASE_S - 0.7
        assert second.attempt == 2
        assert second.data == first.data

    def test_an_extended_lease_lasts(self, broker: Broker) -> None:
        """Extending in time keeps a message for much longer than one lease."""
        broker.publish(LOW, [message()])
        delivery = taken(broker, LOW)
        begin = extended = time.monotonic()
        while extended < begin + 1.5 * LEASE_S:
            time.sleep(LEASE_S / 5)
            if time.monotonic() - extended > LEASE_S - 1:
                pytest.skip("the machine stood still for almost a lease")
            assert broker.extend(delivery)
            extended = time.monotonic()
            assert broker.lease(LOW) is None
        assert broker.ack(delivery)

    def test_a_nack_gives_it_back_at_once(self, opened: Callable[..., Broker]) -> None:
        """A nacked message is there again without waiting for the lease, as attempt 2."""
        broker = opened(LONG_S)
        broker.publish(LOW, [message()])
        broker.nack(taken(broker, LOW))
        assert taken(broker, LOW).attempt == 2

    def test_a_stale_lease_changes_nothing(self, broker: Broker) -> None:
        """Calls with a lost lease do not affect the present holder."""
        broker.publish(LOW, [message()])
        stale = taken(broker, LOW)
        present = taken(broker, LOW)
        broker.extend(stale)
        assert broker.ack(present)
        broker.ack(stale)
        broker.nack(stale)
        assert broker.lease(LOW, 1.0) is None

    def test_handing_over_moves_a_message(self, broker: Broker) -> None:
        """A hand-over publishes to the other tier; the first has nothing left, even later."""
        broker.publish(LOW, [message()])
        delivery = taken(broker, LOW)
        hop = Hop(tier=LOW, reason="too big", at=datetime.now(UTC))
        moved = decode(delivery.data).after(hop)
        assert broker.hand_over(delivery, HIGH, moved)
        found = taken(broker, HIGH)
        assert decode(found.data) == moved
        assert found.attempt == 1
        assert broker.lease(LOW, LEASE_S + 0.5) is None

    def test_a_release_counts_as_no_attempt(self, opened: Callable[..., Broker]) -> None:
        """However often a message is released to its own tier, it stays at attempt 1."""
        broker = opened(LONG_S)
        broker.publish(LOW, [message()])
        for _ in range(MAX_DELIVERIES + 1):
            delivery = taken(broker, LOW)
            assert delivery.attempt == 1
            broker.hand_over(delivery, LOW, decode(delivery.data))
        assert broker.lease(MIDDLE) is None

    def test_a_stale_hand_over_still_publishes(self, broker: Broker) -> None:
        """A hand-over with a lost lease publishes to the target."""
        broker.publish(LOW, [message()])
        stale = taken(broker, LOW)
        broker.ack(taken(broker, LOW))
        broker.hand_over(stale, HIGH, message())
        assert decode(taken(broker, HIGH).data) == message()

    def test_five_deliveries_without_ack_move_up_a_tier(
        self, opened: Callable[..., Broker]
    ) -> None:
        """Backstop: the sixth delivery is on the next tier, from attempt 1, with its source."""
        broker = opened(LONG_S)
        broker.publish(LOW, [message()])
        for attempt in range(1, MAX_DELIVERIES + 1):
            delivery = taken(broker, LOW)
            assert delivery.attempt == attempt
            broker.nack(delivery)
        assert broker.lease(LOW, 1.0) is None
        moved = taken(broker, MIDDLE)
        assert (decode(moved.data), moved.attempt) == (message(), 1)
        assert moved.attributes[f"{DEAD_LETTER_SOURCE}DeliveryCount"] == str(MAX_DELIVERIES)
        assert moved.attributes[f"{DEAD_LETTER_SOURCE}Subscription"] == LOW

    def test_the_last_tier_leads_to_the_dead_letters(self, opened: Callable[..., Broker]) -> None:
        """On the last tier five deliveries without ack make a dead letter, which then stays."""
        broker = opened(LONG_S)
        broker.publish(HIGH, [message()])
        for _ in range(MAX_DELIVERIES):
            broker.nack(taken(broker, HIGH))
        assert broker.lease(HIGH, 1.0) is None
        letter = taken(broker, DEAD)
        assert letter.attributes[f"{DEAD_LETTER_SOURCE}Subscription"] == HIGH
        broker.nack(letter)
        assert decode(taken(broker, DEAD).data) == message()

    def test_a_seek_brings_back_what_was_acked_since(self, broker: Broker) -> None:
        """After a seek everything published since comes again, acked or not."""
        time.sleep(1.1)  # the emulator keeps whole seconds in places
        begin = datetime.now(UTC) - timedelta(seconds=1)
        sent = messages(3)
        broker.publish(LOW, sent)
        broker.ack(taken(broker, LOW))
        broker.seek(LOW, begin)
        assert keys(drained(broker, LOW, 3)) == keys(sent)

    def test_a_seek_drops_what_was_published_before(self, broker: Broker) -> None:
        """A seek to a time also discards what still waits from before it."""
        broker.publish(LOW, messages(3))
        time.sleep(1.5)
        broker.seek(LOW, datetime.now(UTC) - timedelta(seconds=0.2))
        broker.publish(LOW, [message("s0/ff")])
        assert keys(drained(broker, LOW, 1)) == ["s0/ff"]

    def test_a_seek_leaves_other_tiers_alone(self, broker: Broker) -> None:
        """Each tier goes back by itself."""
        broker.publish(MIDDLE, [message()])
        time.sleep(1.1)
        broker.seek(LOW, datetime.now(UTC))
        assert keys(drained(broker, MIDDLE, 1)) == ["s0/0a"]

    @pytest.mark.parametrize("shared", [False, True])
    def test_workers_share_without_overlap(
        self, broker: Broker, opened: Callable[..., Broker], *, shared: bool
    ) -> None:
        """Several workers, or slots of one, get every message, none of them twice."""
        sent = messages(60)
        broker.publish(LOW, sent)
        found: list[list[ShardMessage]] = [[] for _ in range(3)]

        def take(into: list[ShardMessage]) -> None:
            own, end = one if shared else opened(LONG_S), time.monotonic() + SOON_S
            while sum(map(len, found)) < len(sent) and time.monotonic() < end:
                if (delivery := own.lease(LOW, 0.2)) is not None:
                    into.append(decode(delivery.data))
                    assert own.extend(delivery)
                    own.ack(delivery)

        one = opened(LONG_S)
        threads = [threading.Thread(target=take, args=(into,)) for into in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert keys([each for into in found for each in into]) == keys(sent)
        assert broker.lease(LOW, 0.5) is None

    def test_many_messages_in_one_call(self, opened: Callable[..., Broker]) -> None:
        """A publish far beyond one request's size arrives whole."""
        broker = opened(LONG_S)
        sent = messages(1203)
        broker.publish(HIGH, sent)
        for _ in range(30):
            assert taken(broker, HIGH).attempt == 1
        waiting = broker.backlog(HIGH)
        assert waiting.waiting is None or waiting.waiting + (waiting.leased or 0) == len(sent)

    def test_a_large_message_arrives_whole(self, broker: Broker) -> None:
        """Ten kilobytes travel as they are."""
        large = message(sources=tuple(f"s0/{number}.arrow" for number in range(600)))
        broker.publish(LOW, [large])
        delivery = taken(broker, LOW)
        assert len(delivery.data) > 8000
        assert decode(delivery.data) == large

    def test_the_backlog_is_never_wrongly_zero(self, opened: Callable[..., Broker]) -> None:
        """With messages waiting, the count is right or unknown."""
        broker = opened(LONG_S)
        broker.publish(LOW, messages(4))
        taken(broker, LOW)
        backlog = broker.backlog(LOW)
        if backlog.known:
            assert (backlog.waiting, backlog.leased) == (3, 1)
            assert backlog.oldest_s is not None
            assert 0 <= backlog.oldest_s < SOON_S
        else:
            assert (backlog.waiting, backlog.leased, backlog.oldest_s) == (None, None, None)

    @pytest.mark.parametrize("call", ["publish", "lease", "backlog", "seek"])
    def test_an_unknown_tier_is_refused(self, broker: Broker, call: str) -> None:
        """A tier without a queue is wrong use: no worker would lease its messages."""
        rest: dict[str, tuple[object, ...]] = {
            "publish": ([message()],),
            "seek": (datetime.now(UTC),),
        }
        with pytest.raises(UsageError, match="no queue for tier 64gi"):
            getattr(broker, call)("64gi", *rest.get(call, ()))

    def test_the_url_opens_the_same_queues(
        self, broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A broker's URL is absolute: it works from any directory."""
        broker.publish(LOW, [message()])
        monkeypatch.chdir(tmp_path)
        with open_broker(broker.url, TIERS, LEASE_S) as other:
            assert other.url == broker.url
            assert decode(taken(other, LOW).data) == message()


class TestEmbedded(BrokerContract):
    """The contract on SQLite."""

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Callable[..., Broker]]:
        """Brokers on one file."""
        made: list[Broker] = []

        def opened(lease_s: float = LEASE_S) -> Broker:
            made.append(open_broker(f"sqlite:{tmp_path}/q/queue.db", TIERS, lease_s))
            return made[-1]

        yield opened
        for broker in made:
            broker.close()


@pytest.mark.usefixtures("pubsub_emulator")
class TestPubSub(BrokerContract):
    """The contract on Google's emulator, through Google's client."""

    @pytest.fixture
    def opened(self) -> Iterator[Callable[..., Broker]]:
        """Brokers on topics of their own."""
        url = new_queue_url()
        make_topology(url, TIERS)
        made: list[Broker] = []

        def opened(lease_s: float = LEASE_S) -> Broker:
            made.append(open_broker(url, TIERS, lease_s))
            return made[-1]

        yield opened
        for broker in made:
            broker.close()
        remove_topology(url)
