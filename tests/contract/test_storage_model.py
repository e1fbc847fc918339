"""Real storages against a perfect one in memory: whatever is done in whatever order, they agree."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from runtime.errors import ObjectNotFound
from runtime.storage import Pieces, Storage, open_storage
from tests.support.gcs_server import GcsServer

PATHS = st.sampled_from(
    ["info", "info.bak", "s0/00.shard", "s0/0a.shard", "s0/ä", "s1/00.shard", "s-", "r/s0/x.json"]
)
PREFIXES = st.sampled_from(["", "s", "s0", "s0/", "s0/0", "in", "r/s0/", "nothing/", "info"])
DATA = st.binary(max_size=40)
FEW = settings(max_examples=8, stateful_step_count=30, deadline=None)
MANY = settings(max_examples=60, stateful_step_count=40, deadline=None)


class Refused(Exception):  # noqa: N818 - what a worker without a lease says
    """The worker may not publish."""


class StorageModel(RuleBasedStateMachine):
    """Does everything twice, and compares."""

    def __init__(self, make: Callable[[], Storage]) -> None:
        super().__init__()
        self.storage = make()
        self.model: dict[str, bytes] = {}

    @rule(path=PATHS, data=DATA)
    def write(self, path: str, data: bytes) -> None:
        """Replaces."""
        self.storage.write(path, data, {"k": "v"})
        self.model[path] = data

    @rule(path=PATHS, data=DATA)
    def create(self, path: str, data: bytes) -> None:
        """Only where nothing is."""
        assert self.storage.create(path, data) == (path not in self.model)
        self.model.setdefault(path, data)

    @rule(path=PATHS, body=st.lists(DATA, max_size=4), head=DATA)
    def write_shard(self, path: str, body: list[bytes], head: bytes) -> None:
        """Head first, whole."""
        info = self.storage.write_shard(path, pieces(body, head), len(head), lambda: None)
        self.model[path] = head + b"".join(body)
        assert info.size == len(self.model[path])

    @rule(path=PATHS, body=st.lists(DATA, max_size=4), late=st.booleans())
    def write_shard_in_vain(self, path: str, body: list[bytes], late: bool) -> None:
        """Broken by its maker or refused at the end: as if nothing had been tried."""
        made = pieces(body, b"head") if late else broken(body)
        with pytest.raises(Refused):
            self.storage.write_shard(path, made, 4, refuse)

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        """Once."""
        assert self.storage.delete(path) == (self.model.pop(path, None) is not None)

    @rule(path=PATHS, offset=st.integers(0, 50), length=st.integers(0, 50))
    def read(self, path: str, offset: int, length: int) -> None:
        """Whole and in part, or not found."""
        if path in self.model:
            data = self.model[path]
            assert self.storage.read(path) == data
            assert self.storage.read_at(path, offset, length) == data[offset : offset + length]
            assert self.storage.stat(path).size == len(data)
        else:
            with pytest.raises(ObjectNotFound):
                self.storage.read(path)
            assert not self.storage.exists(path)

    @rule(prefix=PREFIXES)
    def list_some(self, prefix: str) -> None:
        """Sorted, all of them."""
        found = [(info.path, info.size) for info in self.storage.list(prefix)]
        wanted = sorted((p, len(d)) for p, d in self.model.items() if p.startswith(prefix))
        assert found == wanted

    @rule()
    def reopen(self) -> None:
        """Another process sees the same."""
        self.storage = open_storage(self.storage.url)

    @invariant()
    def nothing_half_done_stays(self) -> None:
        """A sweep never finds a thing, since no writer was killed."""
        assert self.storage.sweep_temporaries(older_than_s=-60) == 0


def pieces(body: list[bytes], head: bytes) -> Pieces:
    """A shard as its writer yields it."""
    yield from body
    return head


def broken(body: list[bytes]) -> Pieces:
    """A shard whose input is corrupt."""
    yield from body
    raise Refused


def refuse() -> None:
    """No lease."""
    raise Refused


@contextmanager
def local_storages() -> Iterator[Callable[[], Storage]]:
    """New directories."""
    with tempfile.TemporaryDirectory() as directory:
        yield lambda: open_storage(str(Path(directory, uuid4().hex)))


def check(make: Callable[[], Storage], histories: settings = FEW) -> None:
    """Run the machine."""
    machine: Any = lambda: StorageModel(make)  # noqa: E731 - takes the place of a class
    run_state_machine_as_test(machine, settings=histories)


def test_the_disk_agrees_with_the_model() -> None:
    """Local storage is the model, for random histories."""
    with local_storages() as make:
        check(make)


def test_gcs_agrees_with_the_model(gcs: GcsServer) -> None:
    """So is GCS."""
    check(lambda: open_storage(gcs.make_bucket(f"bucket-{uuid4().hex[:12]}") + "/p"))


@pytest.mark.slow
def test_the_disk_agrees_with_the_model_for_long() -> None:
    """Many more histories."""
    with local_storages() as make:
        check(make, MANY)


@pytest.mark.slow
def test_gcs_agrees_with_the_model_for_long(gcs: GcsServer) -> None:
    """The same."""
    check(lambda: open_storage(gcs.make_bucket(f"bucket-{uuid4().hex[:12]}") + "/p"), MANY)
