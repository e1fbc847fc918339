"""Every setting: its value, where it came from, and what stands in for it."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from runtime import settings
from runtime.document import Document, DocumentPart
from runtime.errors import UsageError
from runtime.google_endpoints import GoogleService

Origin = Literal["flag", "environment", ".env", "default", "not set"]

_DEFAULTS: Final = {
    settings.QUEUE_URL: settings.DEFAULT_QUEUE_URL,
    settings.TIERS: settings.DEFAULT_TIERS,
    settings.LEASE_S: str(settings.DEFAULT_LEASE_S),
    settings.GZIP_LEVEL: str(settings.DEFAULT_GZIP_LEVEL),
    settings.MAX_DOLLARS: f"{settings.DEFAULT_MAX_DOLLARS:g}",
    settings.STORAGE_RETRY_S: f"{settings.DEFAULT_STORAGE_RETRY_S:g}",
    settings.BASE_JOB_NAME: settings.DEFAULT_BASE_JOB_NAME,
    settings.DOWNRES_SCALES: "none",
    settings.LABEL_TYPE: "labels",
}
_SECRET: Final = re.compile(r"//[^/@\s]*@")  # user and password of a URL


class SettingEntry(DocumentPart):
    """One setting.

    Attributes:
        name: of the environment variable.
        value: in effect; null where it is not set and has no default.
        origin: where the value came from; a flag wins over the environment, that over `.env`.
    """

    name: str
    value: str | None
    origin: Origin


class SettingsDocument(Document):
    """Every setting.

    Attributes:
        unknown: names in `.env` that are not settings, and the setting that may be meant, or null.
    """

    settings: tuple[SettingEntry, ...]
    unknown: dict[str, str | None]


def read_settings(flags: Mapping[str, str]) -> SettingsDocument:
    """All settings as a command with these flags sees them.

    Args:
        flags: values given by options, by the name of their setting.
    """
    meant = settings.misspelt()
    others = settings.names_in_file() - settings.NAMES - {one.variable for one in GoogleService}
    return SettingsDocument(
        settings=tuple(_entries(flags)),
        unknown={name: meant.get(name) for name in sorted(others)},
    )


def _entries(flags: Mapping[str, str]) -> Iterator[SettingEntry]:
    endpoints = [one.variable for one in GoogleService if settings.get(one.variable)]
    for name in [*sorted(settings.NAMES - settings.FOR_TESTS), *endpoints]:
        value, origin = _value(name, flags)
        yield SettingEntry(name=name, value=value and _SECRET.sub("//***@", value), origin=origin)


def _value(name: str, flags: Mapping[str, str]) -> tuple[str | None, Origin]:
    if name in flags:
        return flags[name], "flag"
    value = settings.get(name)
    if value is not None:
        return value, ".env" if settings.origin(name) == ".env" else "environment"
    default = _default_state(flags) if name == settings.STATE_PATH else _DEFAULTS.get(name)
    return default, "not set" if default is None else "default"


def _default_state(flags: Mapping[str, str]) -> str | None:
    """The state root that follows from the destination."""
    dest = flags.get(settings.DEST_PATH) or settings.get(settings.DEST_PATH)
    try:
        return settings.default_state_url(dest) if dest else None
    except UsageError:  # of a bare bucket no state root follows
        return None
