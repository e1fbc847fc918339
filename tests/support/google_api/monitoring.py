"""Cloud Monitoring's `ListTimeSeries` over gRPC, from points that a test sets."""

import re
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import grpc
from google.cloud import monitoring_v3

_SERVICE: Final = "google.monitoring.v3.MetricService"
_TERM: Final = re.compile(
    r"\s*(?P<field>metric\.type|resource\.type|(?:resource|metric)\.labels\.\w+)\s*=\s*"
    r'(?:"(?P<same>[^"]*)"|starts_with\("(?P<begin>[^"]*)"\))\s*'
)
_PROJECT: Final = re.compile(r"projects/[^/]+")

Untyped = Any  # Google publishes no types


@dataclass
class Series:
    """Points of one metric of one resource: values by their age in seconds."""

    metric: str
    labels: dict[str, str]
    resource: str = "pubsub_subscription"
    points: list[tuple[float, int]] = field(default_factory=list)


class Monitoring:
    """A running MetricService; a request without filter or end of its interval is refused.

    Attributes:
        requests: as they came.
        series: what there is.
        code: answers every request with this error; None for none.
    """

    def __init__(self) -> None:
        self.requests: list[Untyped] = []
        self.series: list[Series] = []
        self.code: grpc.StatusCode | None = None
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        request = monitoring_v3.ListTimeSeriesRequest
        handler = grpc.unary_unary_rpc_method_handler(
            self._answer, request.deserialize, monitoring_v3.ListTimeSeriesResponse.serialize
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(_SERVICE, {"ListTimeSeries": handler})]
        )
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.stop(None).wait()

    def set(self, metric: str, subscription: str, *points: tuple[float, int]) -> None:
        """Set the points of a subscription's metric: age in seconds and value of each."""
        labels = {"subscription_id": subscription}
        with self._lock:
            others = [s for s in self.series if (s.metric, s.labels) != (metric, labels)]
            self.series = [*others, Series(metric, labels, points=list(points))]

    def _answer(self, request: Untyped, context: grpc.ServicerContext) -> Untyped:
        self.requests.append(request)
        if self.code is not None:
            context.abort(self.code, "a fault, as ordered")
        if wrong := next(_wrong(request), None):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        with self._lock:
            found = [s for s in self.series if _matches(s, request.filter)]
        return monitoring_v3.ListTimeSeriesResponse(
            time_series=[_shown(series, request.interval) for series in found]
        )


def _wrong(request: Untyped) -> Iterator[str]:
    if not _PROJECT.fullmatch(request.name):
        yield f"name {request.name!r} is not a project"
    terms = _terms(request.filter)
    if terms is None:
        yield f"the filter {request.filter!r} is not valid"
    elif not any(term["field"] == "metric.type" and term["same"] for term in terms):
        yield "the filter must name one metric.type"
    if "end_time" not in request.interval:
        yield "interval.end_time is required"
    elif (
        "start_time" in request.interval and request.interval.start_time > request.interval.end_time
    ):
        yield "the interval ends before it starts"


def _terms(text: str) -> list[re.Match[str]] | None:
    """The terms that `AND` joins; None if one is not understood."""
    found = [_TERM.fullmatch(part) for part in re.split(r"\bAND\b", text)]
    known = [term for term in found if term is not None]
    return known if len(known) == len(found) else None


def _matches(series: Series, text: str) -> bool:
    for term in _terms(text) or ():
        name = term["field"]
        value = {"metric.type": series.metric, "resource.type": series.resource}.get(
            name, series.labels.get(name.rpartition(".")[2], "")
        )
        if term["same"] is not None and value != term["same"]:
            return False
        if term["begin"] is not None and not value.startswith(term["begin"]):
            return False
    return True


def _shown(series: Series, interval: Untyped) -> Untyped:
    """The points within the interval, newest first, as Google sends them."""
    moment = datetime.now(UTC)
    ends = sorted((moment - timedelta(seconds=age), value) for age, value in series.points)
    begin = interval.start_time if "start_time" in interval else interval.end_time
    points = [
        {"interval": {"start_time": end, "end_time": end}, "value": {"int64_value": value}}
        for end, value in reversed(ends)
        if begin <= end <= interval.end_time
    ]
    return monitoring_v3.TimeSeries(
        metric={"type": series.metric},
        resource={"type": series.resource, "labels": series.labels},
        points=points,
    )
