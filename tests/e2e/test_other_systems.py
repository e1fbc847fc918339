"""A whole job where the system has none of Linux's own calls, as on macOS."""

import textwrap
from pathlib import Path

import pytest

from tests.support.workspace import make_workspace

# Python runs a module of this name at its start, in the programs' own processes too.
TAKEN_AWAY = """
    import ctypes, os, pathlib, time
    for name in ("pipe2", "posix_fadvise", "sched_getaffinity", "pidfd_open", "memfd_create"):
        delattr(os, name)
    if hasattr(time, "CLOCK_BOOTTIME"):
        del time.CLOCK_BOOTTIME

    class Library(ctypes.CDLL):
        def __getattr__(self, name):
            if name in ("prctl", "malloc_trim"):
                raise AttributeError(name)
            return super().__getattr__(name)

    ctypes.CDLL = Library
    import memmodel.cgroups
    memmodel.cgroups.PROC = memmodel.cgroups.CGROUPS = pathlib.Path("/not/there")
    pathlib.Path(TRACES, str(os.getpid())).touch()
"""


def test_a_job_without_the_calls_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, fleet, workers and executors do without; the volume is the same."""
    workspace = make_workspace(tmp_path / "w", (128, 64, 64), 2, "0.5")
    job = workspace.enqueue_command("--scales", "0", "--downres", "1", "--wait", dest="usual")
    done = workspace.run_subprocess(*job)
    assert done.returncode == 0, done.stderr
    traces = tmp_path / "traces"
    traces.mkdir()
    script = textwrap.dedent(TAKEN_AWAY).replace("TRACES", repr(str(traces)))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path(__file__).parents[2]}")
    done = workspace.run_subprocess(*job, "--dest", "other", "--queue", "sqlite:other.db")
    assert done.returncode == 0, done.stderr
    assert workspace.files("other") == workspace.files("usual")
    assert len(list(traces.iterdir())) >= 3  # the command, the fleet, a worker
