"""Settings of worker pools, from options and environment."""

import re
from importlib.metadata import version
from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra.defaults import Home
from infra.identities import worker_account
from infra.pools import PoolSettings
from runtime import settings
from runtime.errors import UsageError
from runtime.google_endpoints import GoogleService, endpoint
from runtime.storage import absolute
from runtime.urls import is_remote

NO_REGION: Final = "no region is configured, so worker pools are left out: set REGION"
STATE_HINT: Final = "set STATE_PATH or DEST_PATH, or pass --state gs://BUCKET/PREFIX"
EMULATED: Final = "the queue is an emulator's and Cloud Run is not, so worker pools are left out"
_IMAGE: Final = re.compile(r"[\w./:@-]+", re.ASCII)
# Passed on to workers where they are set here.
_PASSED_ON: Final = (
    settings.USER_PROJECT,
    settings.LOG_LEVEL,
    settings.STORAGE_RETRY_S,
)


def pool_settings(
    names: PubSubNames,
    region: str,
    *,
    image: str | None,
    account: str | None,
    state: str | None,
    tiers: str,
    lease_s: int,
    home: Home,
) -> PoolSettings:
    """What all pools of a queue have in common.

    Raises:
        UsageError: pools are to be made, and their workers would serve no run, or have no image.
    """
    if image and not _IMAGE.fullmatch(image):
        raise UsageError(
            f"{image!r} is not a container image",
            hint="such as us-central1-docker.pkg.dev/PROJECT_ID/shardlift/shardlift@sha256:...",
        )
    found = {
        settings.QUEUE_URL: names.url,
        settings.TIERS: tiers,
        settings.LEASE_S: str(lease_s),
        settings.LOG_FORMAT: "json",
        **{name: value for name in _PASSED_ON if (value := settings.get(name))},
    }
    root = state_root(state)
    if root is not None:
        found[settings.STATE_PATH] = root
    elif image:
        raise UsageError(
            "worker pools need a state root: only runs below it are served",
            hint=STATE_HINT,
        )
    return PoolSettings(
        names=names,
        region=region,
        image=image or "",
        service_account=worker_account(names.project, account).email,
        environment=found,
        version=version("shardlift"),
        home=home,
    )


def reason_for_no_pools(region: str | None) -> str | None:
    """Why pools are left out; None if they are not."""
    if region is None:
        return NO_REGION
    if settings.get(settings.PUBSUB_EMULATOR_HOST) and not endpoint(GoogleService.RUN).overridden:
        return EMULATED
    return None


def state_root(state: str | None) -> str | None:
    """Root of the runs, from an option, or from DEST_PATH; None where neither is set.

    Raises:
        UsageError: workers in the cloud could not read it.
    """
    dest = settings.get(settings.DEST_PATH)
    given = state or (settings.default_state_url(dest) if dest else None)
    if given is None:
        return None
    root = absolute(given)
    if not is_remote(root) and not endpoint(GoogleService.RUN).anonymous:
        raise UsageError(
            f"worker pools cannot read the state root {root}: it is a folder of this machine",
            hint="set STATE_PATH to gs://BUCKET/PREFIX",
        )
    return root
