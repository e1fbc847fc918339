"""Request of `infra up` and `check`: the resources that a queue is to have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra.account_step import AccountsStep
from infra.api_step import ApisStep
from infra.autoscaler_step import AutoscalerStep
from infra.bucket_findings import Use
from infra.bucket_step import BucketsStep
from infra.caller_rights import CallerRights
from infra.defaults import ACCOUNTS, APIS, BUCKETS, IMAGE, POOLS, TOPICS, Home
from infra.identities import (
    Identities,
    autoscaler_account,
    bindings,
    builder_account,
    worker_account,
)
from infra.image_step import ImageStep
from infra.places import emulated, places
from infra.policies import Policies
from infra.pool_configuration import pool_settings, reason_for_no_pools, state_root
from infra.pools import PoolSettings, pools
from infra.resources import PoolsStep, TopicsStep, is_emulator
from infra.rights import Need, usage_needs
from infra.steps import Step, Steps
from memmodel.tiers import Tier, parse_tiers
from runtime import cli
from runtime.errors import UsageError
from runtime.urls import is_remote, split_bucket

NO_ACCOUNTS: Final = "no region is configured, so accounts are left out: set REGION"
REGION_HINT: Final = "set REGION or pass --region, such as us-central1"


@dataclass(frozen=True, slots=True)
class InfraRequest:
    """Resources that a queue is to have.

    Attributes:
        names: of the queue.
        parts: of `infra.defaults.PARTS`.
        tiers: as options have them.
        lease_s: of a message.
        project_number: None to look it up.
        region: of pools and buckets; None for none.
        image: of the workers; None to keep what there is.
        account: of the workers; None for the default.
        home: pools or jobs.
        state: root of the runs.
        source, dest: of the runs.
        autoscaler, builder: accounts; None for the default.
    """

    names: PubSubNames
    parts: frozenset[str]
    tiers: str
    lease_s: int
    project_number: int | None = None
    region: str | None = None
    image: str | None = None
    account: str | None = None
    home: Home = Home.POOLS
    state: str | None = None
    source: str | None = None
    dest: str | None = None
    autoscaler: str | None = None
    builder: str | None = None

    def steps(self) -> Steps:
        """The steps that make them; nothing is sent.

        Raises:
            UsageError: a pool cannot be made as requested.
        """
        return Steps(list(self._steps()), list(self._left_out()))

    def caller(self) -> CallerRights:
        """Rights of the account that runs this."""
        return CallerRights(self.names.url, self.names.project)

    def usage_needs(self) -> list[Need]:
        """Rights to use what the steps make: to publish work and to see how it goes."""
        topics = [] if is_emulator() else [self.names.topic(one.name) for one in self._tiers()]
        buckets = {} if emulated(BUCKETS) else self._buckets()
        project = None if emulated(ACCOUNTS) else self.names.project
        return usage_needs(project, topics, {str(use): name for use, name in buckets.items()})

    def _left_out(self) -> Iterator[str]:
        if POOLS in self.parts and (reason := reason_for_no_pools(self.region)):
            yield reason
        if ACCOUNTS in self.parts and not self._has_accounts():
            yield NO_ACCOUNTS
        parts = [one for one in (APIS, BUCKETS, ACCOUNTS) if one in self.parts and emulated(one)]
        if parts:
            yield f"the queue is an emulator's and the cloud is not: left out: {', '.join(parts)}"

    def _steps(self) -> Iterator[Step]:
        settings, tiers = self._pool_settings(), self._tiers()
        parts = {one for one in self.parts if not emulated(one)}
        project = self.names.project
        if APIS in parts:
            yield ApisStep(project, self._apis())
        if BUCKETS in parts:
            yield BucketsStep(project, self.region, self._places())
        if TOPICS in parts:
            yield TopicsStep(self.names, tiers, self.lease_s, self.project_number)
        if ACCOUNTS in parts and self._has_accounts():
            yield self._accounts(tiers)
        image = self._image_step()
        if image is not None:
            yield image
        find_image = image.image if image is not None else lambda: None
        if settings is not None:
            yield PoolsStep(settings, tiers, find_image)
        if ACCOUNTS in parts and self.region is not None and self._scales():
            yield AutoscalerStep(
                self.names,
                self.region,
                tiers,
                autoscaler=autoscaler_account(project, self.autoscaler),
                policies=Policies(self.names.url, project),
                image=find_image if settings is not None else lambda: None,
            )

    def _image_step(self) -> ImageStep | None:
        """The step of the image, which is only looked up if it is given; None for no image."""
        wanted = IMAGE in self.parts or (self.image and POOLS in self.parts)
        if not wanted or self.region is None or reason_for_no_pools(self.region):
            return None
        root = state_root(self._places()[Use.STATE])
        bucket = split_bucket(root)[0] if root is not None and is_remote(root) else None
        return ImageStep(
            self.names.project,
            self.region,
            self.image,
            bucket,
            builder=builder_account(self.names.project, self.builder).email,
            say=cli.print_stderr,
        )

    def _accounts(self, tiers: list[Tier]) -> Step:
        project = self.names.project
        identities = Identities(
            worker_account(project, self.account),
            autoscaler_account(project, self.autoscaler) if self._scales() else None,
            builder_account(project, self.builder) if self._builds() else None,
        )
        buckets = {} if emulated(BUCKETS) else self._buckets()
        wanted = bindings(identities, self.names, [tier.name for tier in tiers], buckets)
        if is_emulator():  # it has no policies
            wanted = [one for one in wanted if not one.is_of_queue]
        return AccountsStep(project, identities, wanted, Policies(self.names.url, project))

    def _apis(self) -> set[str]:
        """APIs that the steps, the workers and the autoscaler call."""
        found = {"pubsub.googleapis.com"}
        if self._buckets():
            found.add("storage.googleapis.com")
        if ACCOUNTS in self.parts and self._has_accounts():
            found |= {"iam.googleapis.com", "cloudresourcemanager.googleapis.com"}
        if self.region is not None:
            found |= {"run.googleapis.com", "monitoring.googleapis.com"}
        if self._builds():
            found |= {"artifactregistry.googleapis.com", "cloudbuild.googleapis.com"}
        return found

    def _has_accounts(self) -> bool:
        """Whether accounts are wanted: for pools, or without them if only accounts are named."""
        return self.region is not None or POOLS not in self.parts

    def _scales(self) -> bool:
        return self.home is Home.POOLS and self.region is not None

    def _builds(self) -> bool:
        return IMAGE in self.parts and self.region is not None and not self.image

    def _tiers(self) -> list[Tier]:
        return list(parse_tiers(self.tiers))

    def _places(self) -> Mapping[Use, str | None]:
        return places(self.source, self.dest, self.state)

    def _buckets(self) -> dict[Use, str]:
        """Names of buckets by their use."""
        return {
            use: split_bucket(place)[0]
            for use, place in self._places().items()
            if place is not None and is_remote(place)
        }

    def _pool_settings(self) -> PoolSettings | None:
        """Settings of the pools, found to be possible; None if pools are left out."""
        if POOLS not in self.parts or self.region is None or reason_for_no_pools(self.region):
            if self.parts == {POOLS}:
                raise UsageError(
                    f"--only {POOLS}: {reason_for_no_pools(self.region)}",
                    hint=REGION_HINT,
                )
            return None
        settings = pool_settings(
            self.names,
            self.region,
            image=self.image,
            account=self.account,
            state=self._places()[Use.STATE],
            tiers=self.tiers,
            lease_s=self.lease_s,
            home=self.home,
        )
        if self.image:
            pools(settings, parse_tiers(self.tiers))  # refused before anything is opened
        return replace(settings, image="")
