"""What the pages say of the code's structure is so: the tree, paths, states, terms."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.ledger.shard_status import ShardState

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    + [*DOCS.rglob("*.md")]
)
ROOMS = ("braid", "runtime", "delivery", "memmodel", "producer", "consumer", "infra", "shardlift")
SUFFIXES = "py|pyx|pyi|pxi|pxd|h|md|toml|json"
PATH = re.compile(rf"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:{SUFFIXES}))?)`")
GENERATED = re.compile(r"^```.*?^```$|^<!-- bench.*?/bench -->$", re.DOTALL | re.MULTILINE)
INSTALLED = ("format/", "datatype/", "src/")  # paths in other projects' repositories


def tree() -> str:
    """The packages of every room with their modules, and the folders of the rest."""
    lines = [line for room in ROOMS for line in _package(ROOT / room, 0)]
    parts = " ".join(sorted(path.name for path in (ROOT / "kernels").iterdir()))
    lines += _entry("kernels/", 0, parts)
    for name in ("tests", "benchmarks", "fuzz", "docs"):
        lines += _entry(f"{name}/", 0, " ".join(_folders(ROOT / name)))
    return "\n".join(lines) + "\n"


def _package(folder: Path, depth: int) -> Iterator[str]:
    modules = " ".join(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))
    yield from _entry(f"{folder.name}/", depth, modules)
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        yield from _package(inner, depth + 1)


def _entry(name: str, depth: int, text: str) -> list[str]:
    head = ("  " * depth + name).ljust(18)
    return textwrap.wrap(text, 100, initial_indent=head, subsequent_indent=" " * 18) or [
        head.rstrip()
    ]


def _folders(folder: Path) -> list[str]:
    return sorted(f"{p.name}/" for p in folder.iterdir() if p.is_dir() and p.name[0] not in "_.")


def test_the_tree_is_the_tree() -> None:
    """docs/ARCHITECTURE.md lists every package and module, and no other."""
    page = (DOCS / "ARCHITECTURE.md").read_text()
    shown = page.partition("```tree\n")[2].partition("```")[0]
    assert shown == tree(), f"docs/ARCHITECTURE.md should show\n\n{tree()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    """Every path in code marks that leads into the repository exists."""
    named = [path for path in PATH.findall(page.read_text()) if not path.startswith(INSTALLED)]
    tops = {path.name for path in ROOT.iterdir()}
    missing = [p for p in named if p.split("/")[0] in tops and not (ROOT / p).exists()]
    assert not missing


def test_every_state_is_explained() -> None:
    """The table of states in docs/delivery.md has a row for each, and no other."""
    section = (DOCS / "delivery.md").read_text().split("## States")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `([\w ]+)` \|", section, re.MULTILINE)) == sorted(ShardState)


def test_glossary_defines_each_term_once() -> None:
    """Terms are sorted and distinct; each has a meaning, and a place that exists."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (DOCS / "glossary.md").read_text().splitlines()
        if line.startswith("|")
    ][2:]
    terms = [row[0] for row in rows]
    assert terms == sorted(set(terms), key=str.lower)
    for term, meaning, place in rows:
        assert meaning, term
        assert (ROOT / place.strip("`")).is_file(), term


def test_decisions_are_listed() -> None:
    """Each record has context, decision and consequences, its number, and a line in the index."""
    records = sorted((DOCS / "decisions").glob("*.md"))
    index = (DOCS / "README.md").read_text()
    for number, record in enumerate(records, 1):
        text = record.read_text()
        title = re.match(rf"# {number}\. (.+)\n", text)
        assert record.name.startswith(f"{number:04d}-"), record.name
        assert title, record.name
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ], record.name
        assert f"{number}. [{title[1]}](decisions/{record.name})" in index, record.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_sentence_has_a_line(page: Path) -> None:
    """Outside of tables and code no line holds two sentences, or is longer than 350 characters."""
    text = GENERATED.sub("", page.read_text())
    lines = [re.sub(r"^[#\s]*(\d+\.|-)? ", "", line) for line in text.splitlines()]
    prose = [line for line in lines if not line.lstrip().startswith(("|", "<!--"))]
    assert [line for line in prose if len(line) > 350] == []
    assert [line for line in prose if re.search(r"[a-z0-9`)][.!] +[A-Z`]", line)] == []
