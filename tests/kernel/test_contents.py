"""The table of contents of the kernels, `_braid.pxd`, held against the parts."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTENTS = (ROOT / "_braid.pxd").read_text()
PARTS = {
    name: (ROOT / "kernels" / f"{name}.pxi").read_text()
    for name in re.findall(r'include "kernels/(\w+)\.pxi"', (ROOT / "_braid.pyx").read_text())
}
DEFINITION = re.compile(r"^cdef (?:class (\w+):|[^=\n(]*?(\w+)\()", re.MULTILINE)


def test_every_file_is_a_part() -> None:
    """No file of kernels/ is left out of the extension."""
    assert sorted(PARTS) == sorted(path.stem for path in (ROOT / "kernels").glob("*.pxi"))


def test_sections_follow_the_parts() -> None:
    """Contents and extension list the parts in one order; a part without structs may be absent."""
    sections = re.findall(r"^# -+ (\w+)(?=:)", CONTENTS, re.MULTILINE)
    assert sections == [name for name in PARTS if name in sections]


def test_every_offer_is_listed() -> None:
    """`Offers` names the functions of a part that other parts call, and no others."""
    for name, text in PARTS.items():
        defined = {a or b for a, b in DEFINITION.findall(text)}
        others = "\n".join(other for part, other in PARTS.items() if part != name)
        used = {function for function in defined if re.search(rf"\b{function}\b", others)}
        assert offers(name) == used, name


def offers(name: str) -> set[str]:
    """Functions and classes that the contents list for a part."""
    section = re.search(rf"^# -+ {name}:(.*?)(?=^# -|\Z)", CONTENTS, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^#   ([\w, ]+):", section[1] if section else "", re.MULTILINE)
    return {function for line in lines for function in line.split(", ")}


def test_every_fault_has_a_text() -> None:
    """One enum and one table of texts: each number once, none without text."""
    (enum,) = re.findall(
        r"^cdef enum:\n    FAULT_NONE = 0\n((?:    \w+\n)+)", CONTENTS, re.MULTILINE
    )
    texts = re.findall(r"^    (FAULT_\w+):", PARTS["faults"], re.MULTILINE)
    assert texts == enum.split()
    assert not re.search(r"FAULT_\w+\s*=", CONTENTS.replace("FAULT_NONE = 0", ""))
