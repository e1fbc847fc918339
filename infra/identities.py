"""Accounts of a queue and what each may do, as data: the least roles; makes no requests.

Workers read the source, write destination and state, and take and publish messages; no role of
theirs touches pools, jobs or rights. The autoscaler sets the pools' counts, for which it must be
allowed to let them run as their account, and publishes what workers missed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from delivery.broker.base import DEAD
from delivery.broker.pubsub_names import PubSubNames
from infra.bucket_findings import Use
from infra.desired import PUBLISHER, SUBSCRIBER, Binding
from infra.rights import ACCOUNT_USER, MONITORING_VIEWER, OBJECT_USER, OBJECT_VIEWER
from runtime import settings

RUN_DEVELOPER: Final = "roles/run.developer"
RUN_VIEWER: Final = "roles/run.viewer"
RUN_BUILDER: Final = "roles/run.builder"


@dataclass(frozen=True, slots=True)
class Account:
    """A service account.

    Attributes:
        email: its address.
        title: as consoles show it.
        given_by: option that names it; None for our own, which `up` makes.
    """

    email: str
    title: str
    given_by: str | None = None

    @property
    def member(self) -> str:
        """As policies name it."""
        return f"serviceAccount:{self.email}"

    @property
    def short(self) -> str:
        """Its name within the project."""
        return self.email.partition("@")[0]

    @property
    def resource(self) -> str:
        """Full name; `-` stands for a project that the address does not tell."""
        host = self.email.partition("@")[2]
        project = host.removesuffix(".iam.gserviceaccount.com")
        name, _, domain = project.partition(".")
        known = f"{domain}:{name}" if domain else name
        return f"projects/{known if project != host else '-'}/serviceAccounts/{self.email}"


@dataclass(frozen=True, slots=True)
class Identities:
    """Accounts of a queue.

    Attributes:
        worker: of all workers.
        autoscaler: None where nothing scales, as with jobs.
        builder: that builds the image; None where none is built.
    """

    worker: Account
    autoscaler: Account | None = None
    builder: Account | None = None

    def all(self) -> list[Account]:
        """Each account once."""
        found = {
            one.email: one
            for one in (self.worker, self.autoscaler, self.builder)
            if one is not None
        }
        return list(found.values())


def worker_account(project: str, given: str | None = None) -> Account:
    """Account of the workers: the one that is given, else our own."""
    return _account(project, "worker", given, settings.WORKER_SERVICE_ACCOUNT)


def autoscaler_account(project: str, given: str | None = None) -> Account:
    """Account of the autoscaler; it may set the pools' counts, which workers may not."""
    given = given or settings.get(settings.AUTOSCALER_SERVICE_ACCOUNT)
    return _account(project, "autoscaler", given, settings.AUTOSCALER_SERVICE_ACCOUNT)


def builder_account(project: str, given: str | None = None) -> Account:
    """Account that Cloud Build runs as."""
    given = given or settings.get(settings.BUILD_SERVICE_ACCOUNT)
    return _account(project, "builder", given, settings.BUILD_SERVICE_ACCOUNT)


def _account(project: str, part: str, given: str | None, option: str) -> Account:
    title = f"shardlift {part}"
    if given:
        return Account(given, title, option)
    domain, _, name = project.rpartition(":")  # `example.com:project` in old organisations
    host = f"{name}.{domain}" if domain else name
    return Account(f"shardlift-{part}@{host}.iam.gserviceaccount.com", title)


def bindings(
    identities: Identities,
    names: PubSubNames,
    tiers: Sequence[str],
    buckets: Mapping[Use, str | None],
) -> list[Binding]:
    """Bindings of all accounts, but for those on pools, which are made later.

    Args:
        identities: accounts.
        names: of the queue.
        tiers: of the queue.
        buckets: names by use; None is a folder, or not known.
    """
    found = list(_worker(identities.worker, names, tiers, buckets))
    project = f"projects/{names.project}"
    if (autoscaler := identities.autoscaler) is not None:
        found += _autoscaler(autoscaler, identities.worker, names, tiers, buckets)
    if (builder := identities.builder) is not None:
        found.append(Binding(project, RUN_BUILDER, builder.member))
    return list(dict.fromkeys(found))


def pool_bindings(autoscaler: Account, pools: Sequence[str]) -> list[Binding]:
    """Bindings on pools, by full name, with which the autoscaler sets their counts."""
    return [Binding(pool, RUN_DEVELOPER, autoscaler.member) for pool in pools]


def _worker(
    worker: Account, names: PubSubNames, tiers: Sequence[str], buckets: Mapping[Use, str | None]
) -> Iterator[Binding]:
    for tier in tiers:
        yield Binding(names.subscription(tier), SUBSCRIBER, worker.member)
    for tier in (*tiers, DEAD):
        yield Binding(names.topic(tier), PUBLISHER, worker.member)
    for use, role in (
        (Use.SOURCE, OBJECT_VIEWER),
        (Use.DEST, OBJECT_USER),
        (Use.STATE, OBJECT_USER),
    ):
        if bucket := buckets.get(use):
            yield Binding(f"buckets/{bucket}", role, worker.member)


def _autoscaler(
    autoscaler: Account,
    worker: Account,
    names: PubSubNames,
    tiers: Sequence[str],
    buckets: Mapping[Use, str | None],
) -> Iterator[Binding]:
    """What the loop does: read metrics, ledgers and pools, publish what was missed, set counts."""
    project = f"projects/{names.project}"
    yield Binding(project, MONITORING_VIEWER, autoscaler.member)
    yield Binding(project, RUN_VIEWER, autoscaler.member)  # to list pools, and see operations
    yield Binding(worker.resource, ACCOUNT_USER, autoscaler.member)
    yield Binding(autoscaler.resource, ACCOUNT_USER, autoscaler.member)
    yield Binding(names.subscription(DEAD), SUBSCRIBER, autoscaler.member)
    for tier in (*tiers, DEAD):
        yield Binding(names.topic(tier), PUBLISHER, autoscaler.member)
    if bucket := buckets.get(Use.STATE):
        yield Binding(f"buckets/{bucket}", OBJECT_USER, autoscaler.member)
