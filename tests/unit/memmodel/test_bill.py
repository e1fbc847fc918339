"""Bills: the price table, one worked out by hand, places of buckets, what is not known."""

import json
import re

import pytest

from memmodel import prices
from memmodel.bill import IDLING, MESSAGES, REQUESTS, SOFT_DELETE, TRANSFER, WORKERS, Share, bill
from memmodel.bucket_places import BucketPlace, DataPlaces, reading, writing
from memmodel.cost import UTILISATION, Cost, Offer, cost, dollars_per_second
from memmodel.tiers import GIB, parse_tiers
from memmodel.usage import Usage

TWO, FOUR, EIGHT = parse_tiers("2,4,8")
HERE = BucketPlace("us-central1")


def test_every_price_has_a_source_and_a_date() -> None:
    """So that whoever doubts a figure finds where it came from."""
    for price in prices.PRICES:
        assert price.dollars > 0
        assert re.fullmatch(r"cloud\.google\.com/[a-z/-]+", price.source)
        assert re.fullmatch(r"2026-\d\d-\d\d", price.read)
        assert price.read <= prices.PRICES_OF
    found = [one for one in vars(prices).values() if isinstance(one, prices.Price)]
    assert {price.name for price in found} == {price.name for price in prices.PRICES}


def test_storage_is_billed_by_the_gib() -> None:
    """The list says $0.000027397 for a GiB and hour, which is $0.020 for a GiB and month."""
    assert cost(Usage(bytes_out=GIB), TWO).storage_month == pytest.approx(0.020)
    assert prices.STORED.dollars == pytest.approx(0.000027397 * 730, rel=1e-4)


def test_cost_adds_up() -> None:
    """Seconds by the tier's CPUs and memory, requests and messages by their price."""
    found = cost(Usage(seconds=1000, reads=2000, writes=300, messages=10, bytes_out=GIB), EIGHT)
    assert found.compute == pytest.approx(1000 * (2 * 0.0000112 + 8 * 0.0000012))
    assert found.requests == pytest.approx(2000 * 0.0000004 + 300 * 0.000005)
    assert found.queue == pytest.approx(10 * 2000 / 2**40 * 40)
    assert found.total == pytest.approx(found.compute + found.requests + found.queue)
    assert Cost() + found == found
    assert Usage(1, 2, 3, 4, 5, 6) + Usage(1, 2, 3, 4, 5, 6) == Usage(2, 4, 6, 8, 10, 12)


def test_an_hour_of_one_vcpu_and_4_gib() -> None:
    """As the lists have it: 5.8 cents in a pool, 9.4 as a job, 1.3 on a Spot VM."""
    hours = {offer: round(3600 * dollars_per_second(FOUR, offer), 4) for offer in Offer}
    assert hours == {Offer.POOL: 0.0576, Offer.JOB: 0.0936, Offer.SPOT: 0.0134}


def test_a_bill_worked_out_by_hand() -> None:
    """100 hours of work on 4gi, 1,000 shards from 500 GiB to 400 GiB.

    Pool: 360,000 s x (11.2e-6 + 4 x 1.2e-6) = $5.76, idling 5 % of it = $0.288;
    job: 360,000 s x (18e-6 + 4 x 2e-6) = $9.36, idling 4 % = $0.3744;
    Spot VM: 100 h x (0.00872 + 4 x 0.001169) = $1.3396, idling 5 % = $0.06698;
    requests: 40,000 x $0.0004/1000 + 8,000 x $0.005/1000 = $0.016 + $0.04 = $0.056;
    messages: 1,000 x 1,000 bytes x 2 ways = 2e6/2^40 TiB x $40 = $0.0000728;
    source in us-east1: 500 GiB x $0.02 = $10; the destination is where the workers are;
    soft delete of 7 days: 400 GiB x $0.020 x 7 / 30.4375 = $1.8398;
    storage: 400 GiB x $0.020 = $8 a month.
    """
    usage = Usage(360_000, 40_000, 8_000, 1_000, bytes_out=400 * GIB, bytes_in=500 * GIB)
    places = DataPlaces(
        BucketPlace("us-east1"), BucketPlace("us-central1", soft_delete_s=604_800), "us-central1"
    )
    found = bill([Share(FOUR, "convert", usage)], places)
    by_hand = {
        Offer.POOL: [5.76, 0.288, 0.056, 0.0000728, 10.0, 1.8398],
        Offer.JOB: [9.36, 0.3744, 0.056, 0.0000728, 10.0, 1.8398],
        Offer.SPOT: [1.3396, 0.06698, 0.056, 0.0000728, 10.0, 1.8398],
    }
    names = (WORKERS, IDLING, REQUESTS, MESSAGES, TRANSFER, SOFT_DELETE)
    for offer, dollars in by_hand.items():
        lines = [found.line(name, offer) for name in names]
        assert lines == pytest.approx(dollars, rel=1e-3)
        assert found.total(offer) == pytest.approx(sum(dollars), rel=1e-4)
    assert found.storage_month == pytest.approx(8.0)
    document = json.loads(json.dumps(found.document()))
    assert document["lines"]["idling"]["spot_vm"] == pytest.approx(0.06698)
    assert document["utilisation"] == {"worker_pool": 1.05, "job": 1.04, "spot_vm": 1.05}


def test_what_is_not_known_is_not_zero() -> None:
    """Transfer and soft delete are null, not 0, where a bucket cannot be seen."""
    shares = [Share(TWO, "convert", Usage(1, bytes_out=GIB, bytes_in=GIB))]
    found = bill(shares, DataPlaces(unknown=("gs://a: no permission",)))
    assert found.line(TRANSFER) is None
    assert found.line(SOFT_DELETE) is None
    assert found.total() == pytest.approx(UTILISATION[Offer.POOL] * cost(Usage(1), TWO).compute)
    assert found.document()["unknown"] == ["gs://a: no permission"]
    local = bill(shares, DataPlaces(workers="us-central1"))
    assert (local.line(TRANSFER), local.line(SOFT_DELETE)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("bucket", "workers", "dollars"),
    [
        (HERE, "us-central1", (0, 0)),
        (BucketPlace("us-east4"), "us-central1", (0.02, 0.02)),
        (BucketPlace("northamerica-northeast1"), "us-central1", (0.02, 0.02)),
        (BucketPlace("us", regional=False), "us-central1", (0.02, 0.02)),
        (BucketPlace("nam4", regional=False), "us-central1", (0.02, 0.02)),
        (BucketPlace("europe-west1"), "us-central1", (0.08, 0.08)),
        (BucketPlace("eu", regional=False), "us-central1", (0.08, 0.08)),
        (BucketPlace("eu", regional=False), "europe-west4", (0.02, 0.02)),
        (BucketPlace("asia-east1"), "asia-northeast1", (0.08, 0.08)),
        (BucketPlace("mars-north1"), "us-central1", (0.08, 0.08)),
    ],
)
def test_bytes_between_places(
    bucket: BucketPlace, workers: str, dollars: tuple[float, float]
) -> None:
    """Free within a region; replication into several; a place not known is far away."""
    assert (reading(bucket, workers).dollars, writing(bucket, workers).dollars) == dollars


def test_each_kind_reads_from_its_own_place() -> None:
    """Conversions read the source; downsampling reads and writes the destination."""
    shares = [
        Share(TWO, "convert", Usage(bytes_in=100 * GIB, bytes_out=80 * GIB)),
        Share(FOUR, "downsample", Usage(bytes_in=80 * GIB, bytes_out=20 * GIB)),
    ]
    away = BucketPlace("us-east1")
    from_source = bill(shares, DataPlaces(away, HERE, "us-central1"))
    assert from_source.line(TRANSFER) == pytest.approx(100 * 0.02)
    to_dest = bill(shares, DataPlaces(HERE, away, "us-central1"))
    assert to_dest.line(TRANSFER) == pytest.approx((80 + 100) * 0.02)
    multi = bill(shares, DataPlaces(HERE, BucketPlace("us", regional=False), "us-central1"))
    assert multi.storage_month == pytest.approx(100 * 0.026)
