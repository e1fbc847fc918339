"""Rules of Cloud Run for names, labels and containers that no discovery document holds."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_ID: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"[a-z][-_a-z0-9]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[-_a-z0-9]{0,63}")
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MEMORY: Final = re.compile(r"(\d+)(Mi|Gi)")
_MOST_ID: Final = 49
_MIB: Final = {"Mi": 1, "Gi": 1 << 10}
_LEAST_MIB: Final = 512
# vCPUs: least and most MiB that go with them.
_MEMORY_OF: Final = {
    1: (512, 4 << 10),
    2: (512, 8 << 10),
    4: (2 << 10, 16 << 10),
    6: (4 << 10, 24 << 10),
    8: (4 << 10, 32 << 10),
}


def id_problem(name: str) -> str | None:
    """What is wrong with the id of a pool or job."""
    if not _ID.fullmatch(name) or len(name) > _MOST_ID:
        return f"{name!r} must begin with a letter, be lower case and have fewer than 50 characters"
    return None


def label_problems(labels: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with labels."""
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield f"label {key}={value} is not valid"


def container_problems(containers: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with the containers of a template."""
    if not containers:
        yield "a template needs a container"
    for container in containers:
        yield from _resource_problems(container.get("resources", {}).get("limits", {}))
        names = [variable["name"] for variable in container.get("env", [])]
        yield from (f"env {name!r} is not a name" for name in names if not _ENV.fullmatch(name))
        if len(set(names)) < len(names):
            yield "env names a variable twice"
        if re.search(r"\s", container["image"]):
            yield f"image {container['image']!r} is not valid"


def _resource_problems(limits: Mapping[str, str]) -> Iterator[str]:
    if unknown := set(limits) - {"cpu", "memory"}:
        yield f"limits {sorted(unknown)} are not known"
    cpus = limits.get("cpu", "1")
    match = _MEMORY.fullmatch(limits.get("memory", "512Mi"))
    if not match:
        yield f"memory {limits['memory']!r} is not valid"
        return
    mib = int(match[1]) * _MIB[match[2]]
    if mib < _LEAST_MIB:
        yield f"memory {match[0]} is below the minimum of 512Mi"
    elif not cpus.isdigit() or int(cpus) not in _MEMORY_OF:
        yield f"cpu {cpus!r} is not one of {', '.join(map(str, _MEMORY_OF))}"
    elif not _MEMORY_OF[int(cpus)][0] <= mib <= _MEMORY_OF[int(cpus)][1]:
        yield f"memory {match[0]} does not go with cpu {cpus}"
