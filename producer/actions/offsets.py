"""Byte offsets written for exports whose indices lack them."""

from collections.abc import Sequence
from functools import partial

import typer

from braid.exceptions import BraidError
from braid.reader import write_index
from producer.documents.check_documents import OffsetsDocument, ScaleOffsetsPart
from producer.export_listing import ExportFile, list_scale
from producer.export_reader import has_offsets, open_file
from producer.file_pool import read_files
from runtime import cli
from runtime.errors import EXIT_FINDINGS, ObjectNotFound
from runtime.storage import Storage, open_storage
from runtime.storage.checked_reads import read_again
from runtime.text import counted


def write_offsets(
    source: str, scales: Sequence[int], workers: int, *, dry_run: bool, as_json: bool
) -> None:
    """Scan each file without byte offsets, and write them next to it.

    Args:
        source: the export.
        scales: those of its scales.
        workers: files to read at a time.
        dry_run: only print how many files lack them.
        as_json: print a JSON document.

    Raises:
        typer.Exit: a file is damaged.
    """
    store = open_storage(source)
    store.check_readable()
    say = (lambda _: None) if as_json else cli.print_line
    found = []
    for scale in scales:
        lacking, damaged = _find_lacking(store, list_scale(store, scale).files, workers)
        written: list[str] = []
        say(f"s{scale}: {_lack(len(lacking))} byte offsets")
        for error in damaged:
            say(f"  {error}")
        files = [] if dry_run else lacking
        for path, fault in read_files(partial(_write, store), files, workers, "scanning"):
            say(f"  {fault or f'wrote {path}'}")
            (damaged if fault else written).append(fault or path)
        found.append(_part(scale, lacking, written, damaged))
    if as_json:
        cli.print_document(OffsetsDocument(source=store.url, scales=tuple(found)))
    number = sum(len(part.damaged) for part in found)
    if not dry_run:
        count = sum(len(part.written) for part in found)
        indices = "index" if count == 1 else "indices"
        say(f"{count:,} {indices} written, {counted(number, 'file')} damaged")
    if number:
        raise typer.Exit(EXIT_FINDINGS)


def _part(
    scale: int, lacking: Sequence[ExportFile], written: Sequence[str], damaged: Sequence[str]
) -> ScaleOffsetsPart:
    return ScaleOffsetsPart(
        scale=scale, lacking=len(lacking), written=tuple(written), damaged=tuple(damaged)
    )


def _lack(number: int) -> str:
    return f"{counted(number, 'file')} {'lacks' if number == 1 else 'lack'}"


def _find_lacking(
    store: Storage, files: Sequence[ExportFile], workers: int
) -> tuple[list[ExportFile], list[str]]:
    """Files without byte offsets, and what is wrong with those whose index cannot be read."""
    lacking: list[ExportFile] = []
    errors: list[str] = []
    looked = read_files(partial(_lacks, store), files, workers, "looking")
    for file, found in zip(files, looked, strict=True):
        if isinstance(found, str):
            errors.append(found)
        elif found:
            lacking.append(file)
    return lacking, errors


def _lacks(store: Storage, file: ExportFile) -> bool | str:
    try:
        return not has_offsets(store, file)
    except (BraidError, ObjectNotFound) as error:
        return str(error)


def _write(store: Storage, file: ExportFile) -> tuple[str, str | None]:
    """Scan one file, check it against its CSV, write its offsets: their path, or what is wrong."""
    ending = "-offsets.csv" if file.indices else ".csv"
    path = file.path.removesuffix(".arrow") + ending
    try:
        text = read_again(partial(_offsets, store, file))
    except (BraidError, ObjectNotFound) as error:
        return path, str(error)
    store.write(path, text.encode())
    return path, None


def _offsets(store: Storage, file: ExportFile) -> str:
    with open_file(store, file) as reader:
        text = write_index(reader.index)
        reader.source.verify()
    return text
