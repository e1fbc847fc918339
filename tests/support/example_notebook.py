"""The notebook of examples/first_volume.py; run as a module to write it anew."""

import json
import re
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPT = EXAMPLES / "first_volume.py"
NOTEBOOK = EXAMPLES / "first_volume.ipynb"

_CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


def notebook() -> dict[str, Any]:
    """The script's cells as a notebook without outputs."""
    _, *parts = _CELL.split(SCRIPT.read_text())
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {
        "cells": [
            _cell(number, text, code=mark is None) for number, (mark, text) in enumerate(pairs)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def notebook_text() -> str:
    """The notebook's file."""
    return json.dumps(notebook(), indent=1) + "\n"


def _cell(number: int, text: str, *, code: bool) -> dict[str, Any]:
    body = text.strip("\n")
    if not code:
        body = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.split("\n"))
    own: dict[str, Any] = {"execution_count": None, "outputs": []} if code else {}
    kind = "code" if code else "markdown"
    lines = body.splitlines(keepends=True)
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines, **own}


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook_text())
