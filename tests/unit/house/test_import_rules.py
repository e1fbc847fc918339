"""Import rules: which room may import which, and where outside libraries may be imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("braid", "runtime", "delivery", "memmodel", "producer", "consumer", "infra", "shardlift")

GOOGLE = ("google", "grpc")
GOOGLE_AT_THE_TOP = (
    "delivery/broker/pubsub.py",
    "runtime/storage/gcs_objects.py",
    "runtime/storage/gcs_client.py",
    "infra/",
)
GOOGLE_WHEN_USED = ("braid/io/byte_source.py",)  # for a bare gs:// path
CRC32C = ("runtime/storage/", "braid/")
TENSORSTORE = ("consumer/executor/tensorstore_encoder.py", "producer/", "benchmarks/")


def modules(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    """Path below the root and syntax tree of each module."""
    for room in rooms:
        for file in sorted((ROOT / room).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def imported(tree: ast.AST) -> set[str]:
    """Packages imported anywhere in a tree: their first names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def at_the_top(tree: ast.Module) -> set[str]:
    """Packages imported as soon as the module is."""
    return set().union(*(imported(node) for node in tree.body if not _is_definition(node)))


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def test_import_contracts_hold() -> None:
    """Contracts in pyproject.toml, by import-linter, indirect imports included."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_google_libraries_stay_in_their_places() -> None:
    """At the top of three places, inside functions of one more."""
    offenders = []
    for path, tree in modules(*ROOMS):
        if path.startswith(GOOGLE_AT_THE_TOP):
            continue
        found = at_the_top(tree) if path in GOOGLE_WHEN_USED else imported(tree)
        offenders += [f"{path}: {name}" for name in found if name in GOOGLE]
    assert offenders == []


@pytest.mark.parametrize(
    ("library", "places"), [("google_crc32c", CRC32C), ("tensorstore", TENSORSTORE)]
)
def test_other_libraries_stay_in_their_places(library: str, places: tuple[str, ...]) -> None:
    """Checksums where bytes are stored; TensorStore where the kernels do not serve."""
    users = {path for path, tree in modules(*ROOMS) if library in imported(tree)}
    assert {path for path in users if not path.startswith(places)} == set()


def test_formats_are_pure() -> None:
    """`braid` uses no network, clock or environment, and no other room."""
    impure = {"datetime", "socket", "requests", "logging", "structlog", "random"}
    for path, tree in modules("braid"):
        assert not imported(tree) & (impure | set(ROOMS) - {"braid"}), path
        assert used_of("time", tree) <= {"perf_counter"}, path  # a stopwatch, not a clock


def used_of(module: str, tree: ast.Module) -> set[str]:
    """Names used of an imported module."""
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            found |= {alias.name for alias in node.names}
    return found


PROGRAMS = (
    "producer.__main__",
    "consumer.__main__",
    "consumer.executor.__main__",
    "memmodel.__main__",
)


@pytest.mark.parametrize("room", [*ROOMS, *PROGRAMS])
def test_importing_a_room_costs_little(room: str) -> None:
    """No Google library, TensorStore or viewer until it is used."""
    script = (
        f"import {room}, sys; "
        "heavy = {'google.cloud', 'tensorstore', 'neuroglancer', 'grpc'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
