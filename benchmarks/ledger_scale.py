"""Commands on ledgers of the size of a brain: `python -m benchmarks.ledger_scale`.

Ledgers and listings are made up; commands run as people run them, each in a process of its own.
The bucket is the test server in this process, with a delay per request.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Final

import typer

from benchmarks.child import ROOT, MeasurementFailed
from benchmarks.ledger_data import finish_part, write_listing
from benchmarks.pages import fill
from delivery.ledger.record_store import SUMMARY
from delivery.ledger.run import Run, list_runs
from tests.support.gcs_server import GcsServer
from tests.support.network import Network

EDGES: Final[Sequence[int]] = (28, 45)  # 25,103 and 105,182 shards in four scales
_FINISHED: Final = 0.84  # of the shards have receipts
_DELAY_S: Final = 0.06
_BYTES_PER_S: Final = 100e6
_HEAD: Final = "| ledger | command | seconds | processor s | peak MiB | requests | page KiB |"
_RULE: Final = "|---|---|---:|---:|---:|---:|---:|"


@dataclass(frozen=True)
class Measured:
    """What one command took.

    Attributes:
        seconds: of wall time.
        cpu_s: of its processor, from start to end.
        peak_bytes: the largest resident memory.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int


def main(
    edges: Annotated[str, typer.Option(help="edges in shards, comma-separated")] = ",".join(
        map(str, EDGES)
    ),
    write: Annotated[bool, typer.Option("--write", help="update docs/performance.md")] = False,
    work: Annotated[Path | None, typer.Option(help="folder for temporary data")] = None,
) -> None:
    """Measure commands that look at whole ledgers, on a disk and beside a bucket far away."""
    lines = [_HEAD, _RULE]
    for edge in map(int, edges.split(",")):
        with tempfile.TemporaryDirectory(prefix="shardlift-ledger-", dir=work) as folder:
            for line in measure(Path(folder), edge):
                print(line, flush=True)
                lines.append(line)
    if write:
        fill(ROOT / "docs" / "performance.md", {"ledgers": "\n".join(lines)})


def measure(root: Path, edge: int) -> Iterator[str]:
    """Rows of the table for a volume of `edge`^3 shards at scale 0."""
    write_listing(root / "export", edge)
    enqueue = _enqueue(root)
    dry = _run([*enqueue, "--dry-run"], root)
    _run(enqueue, root)
    (run,) = list_runs(str(root / "runs"))
    shards = len(run.plan)
    finished = int(_FINISHED * shards)
    finish_part(run, finished)
    _run(["status", "--run", run.uri], root)  # publishes what these made ready
    own = f"{shards:,} shards, {finished:,} receipts"
    yield _row(f"{own}, disk", "`enqueue --dry-run`", dry)
    page = root / "page.html"
    commands = {
        "`status`": ["status"],
        "`runs`": ["runs", "--state", str(root / "runs")],
        "`report`": ["report", "--out", str(page)],
    }
    for name, command in commands.items():
        where = [] if command[0] == "runs" else ["--run", run.uri, "--state", str(root / "runs")]
        found = _run([*command, *where], root)
        size = page.stat().st_size if command[0] == "report" else None
        yield _row(f"{own}, disk", name, found, page_bytes=size)
    yield from _far(root, run, own)


def _far(root: Path, run: Run, own: str) -> Iterator[str]:
    with GcsServer() as server:
        server.make_bucket("state")
        for path, data in _objects(run):
            summary = _summary(run, path, data)
            metadata = {"metadata": {SUMMARY: summary}} if summary else {}
            with server.state.lock:
                server.state.put("state", f"v/{path}", data, metadata, {}, component_count=1)
        server.network = Network(_DELAY_S, _BYTES_PER_S, _BYTES_PER_S)
        page = root / "far.html"
        commands = {"status": [], "runs": [], "report": ["--out", str(page)]}
        for command, options in commands.items():
            before = len(server.seen)
            words = [command, "--state", "gs://state/v", *options]
            found = _run(words, root, server.environment())
            requests = len(server.seen) - before
            size = page.stat().st_size if options else None
            name = f"`{command}`"
            where = f"{own}, bucket at 60 ms"
            yield _row(where, name, found, requests=requests, page_bytes=size)
        server.network = None


def _objects(run: Run) -> Iterator[tuple[str, bytes]]:
    for info in run.storage.list():
        yield f"{run.run_id}/{info.path}", run.storage.read(info.path)


def _summary(run: Run, path: str, data: bytes) -> str:
    """What a record's metadata hold; empty for what is no record."""
    _, folder, *names = path.split("/")
    if folder == "published":
        fields = json.loads(data)
    elif folder == "receipts":
        found = run.receipts.summary("/".join(names).removesuffix(".json"))
        fields = found.model_dump(mode="json", exclude_defaults=True) if found else {}
    else:
        return ""
    return json.dumps(fields, separators=(",", ":"))


def _enqueue(root: Path) -> list[str]:
    export, runs = root / "export", root / "runs"
    places = ["--source", str(export), "--dest", str(root / "out"), "--state", str(runs)]
    what = ["--spec", str(export / "spec.json"), "--scales", "0", "--downres", "1,2,3"]
    return ["enqueue", *places, *what, "--queue", f"sqlite:{root / 'queue.db'}"]


def _run(command: Sequence[str], folder: Path, settings: dict[str, str] | None = None) -> Measured:
    began = perf_counter()
    environment = {**os.environ, **(settings or {}), "PROJECT_ID": "p", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "producer", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MeasurementFailed(f"{' '.join(command)}: {errors.decode(errors='replace')[-2000:]}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Measured(perf_counter() - began, cpu_s, usage.ru_maxrss << 10)


def _row(
    ledger: str,
    command: str,
    found: Measured,
    *,
    requests: int | None = None,
    page_bytes: int | None = None,
) -> str:
    cells = (
        ledger,
        command,
        f"{found.seconds:.1f}",
        f"{found.cpu_s:.1f}",
        f"{found.peak_bytes / 2**20:.0f}",
        "-" if requests is None else f"{requests:,}",
        "-" if page_bytes is None else f"{page_bytes / 2**10:.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    typer.run(main)
