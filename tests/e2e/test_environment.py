"""Commands of all four programs in odd environments: no traceback, ever.

Where only variables differ, commands run in this process. The whole table of processes is slow;
its diagonal is not.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.commands import run_in_process
from tests.support.environments import INTERPRETER, SHELL, VARIABLES, reading_commands
from tests.support.workspace import Workspace, clean_environment, make_workspace

CODES = {0, 1, 2, 3}
PLAIN = '"$@"'
PROCESSES: list[tuple[str, Mapping[str, str], str]] = [
    (name, {}, script) for name, script in SHELL.items()
]
PROCESSES += [(name, changes, PLAIN) for name, changes in INTERPRETER.items()]
PROCESS_IDS = [name.replace(" ", "-") for name, _, _ in PROCESSES]
ROUNDS = 1  # commands per environment that are not slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run of a small volume."""
    made = make_workspace(tmp_path_factory.mktemp("env") / "w", (128, 64, 64), 2, "0.5")
    done = made.enqueue("--wait")
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("name", VARIABLES)
def test_variables(workspace: Workspace, name: str) -> None:
    """Every command with these variables ends with a documented code, in plain lines."""
    environment = _environment(workspace, VARIABLES[name])
    for program, *arguments in reading_commands(workspace):
        if program == "consumer" and "--until-drained" in arguments:
            continue  # starts processes: in the table of processes
        done = run_in_process(program, *arguments, folder=workspace.folder, environment=environment)
        _check((program, *arguments), done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("name", "changes", "script"), PROCESSES, ids=lambda value: str(value)[:30]
)
def test_some_processes(
    workspace: Workspace, name: str, changes: Mapping[str, str], script: str
) -> None:
    """A few commands in each environment; others in each."""
    commands = reading_commands(workspace)
    first = [one for one, _, _ in PROCESSES].index(name)
    for step in range(ROUNDS):
        _run_process(workspace, commands[(first + 16 * step) % len(commands)], changes, script)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "script"), PROCESSES, ids=lambda value: str(value)[:30]
)
def test_every_process(
    workspace: Workspace, name: str, changes: Mapping[str, str], script: str
) -> None:
    """Every command in each environment."""
    del name
    for command in reading_commands(workspace):
        _run_process(workspace, command, changes, script)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["no streams", "full streams", "umask 077", "hang-up ignored", "readers gone"]
)
def test_a_whole_job(workspace: Workspace, name: str) -> None:
    """The volume is made whatever becomes of the streams."""
    dest = f"out-{name.replace(' ', '-')}"
    command = workspace.enqueue_command("--scales", "0", "--downres", "1", "--wait", dest=dest)
    queue = ("--queue", f"sqlite:{dest}.db")
    _run_process(workspace, ("producer", *command, *queue), {}, SHELL[name])
    assert workspace.files(dest) == workspace.files("out")


def test_files_of_the_users_own_that_are_called_like_modules(workspace: Workspace) -> None:
    """Neither a command nor the processes that it starts run what lies in the working folder."""
    folder = workspace.folder / "shadows"
    folder.mkdir()
    names = ("consumer", "runtime", "delivery", "memmodel", "numpy", "pyarrow", "typer", "psutil")
    for name in (*names, "logging", "types", "queue", "selectors"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py was run')\n")
    for name in ("braid", "infra"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('a folder was run')\n")
    command = [
        *(sys.executable, "-m", "producer", "enqueue", "--wait", "--scales", "0"),
        *("--source", str(workspace.export), "--dest", str(folder / "out"), "--tiers", "0.5"),
        *("--spec", str(workspace.folder / "spec.json"), "--downres", "1"),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "was run" not in done.stdout + done.stderr


def test_paths_that_are_not_text(workspace: Workspace) -> None:
    """A name in Latin-1 is refused in words before anything is written."""
    folder = os.fsencode(workspace.folder) + b"/caf\xe9"
    done = workspace.run(
        *workspace.enqueue_command("--scales", "0", "--wait", dest=os.fsdecode(folder) + "/out")
    )
    assert done.returncode == 2
    assert "a name in it is not UTF-8" in done.stderr
    assert not os.path.exists(folder)  # noqa: PTH110 - a path in bytes


@pytest.mark.parametrize(("depth", "code"), [(3, 2), (13, 2)])
def test_long_paths(workspace: Workspace, depth: int, code: int) -> None:
    """A run whose path no message can hold is refused before anything is written."""
    dest = workspace.folder / "/".join(["d" * 200] * depth) / ("e" * 200) / ("f" * 200) / "out"
    done = workspace.run(*workspace.enqueue_command("--scales", "0", dest=str(dest)))
    assert done.returncode == code, done.stderr
    assert "characters, 1,024 are allowed" in done.stderr
    assert not dest.parent.exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--dest", "export"), "is the export itself"),
        (("--dest", "export/out"), "lies in the export"),
        (("--dest", "."), "lies in the volume"),
        (("--dest", "o", "--state", "o"), "lies in the volume"),
        (("--dest", "o", "--state", "o/runs"), "lies in the volume"),
        (("--dest", "o", "--state", "x/../o/runs"), "lies in the volume"),
    ],
)
def test_places_that_mix(workspace: Workspace, options: Sequence[str], what: str) -> None:
    """Export, volume and runs lie beside one another, never among each other's files."""
    before = sorted(workspace.folder.rglob("*"))
    command = workspace.enqueue_command("--scales", "0", dest="replaced")
    at = command.index("--dest")
    done = workspace.run(*command[:at], *command[at + 2 :], *options)
    assert done.returncode == 2, done.stderr
    assert what in done.stderr
    assert sorted(workspace.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        ("producer", "report", "--out"),
        ("producer", "verify", "--json-report"),
        ("memmodel", "fit", "--out"),
    ],
)
def test_results_that_no_disk_takes(workspace: Workspace, command: tuple[str, ...]) -> None:
    """The file is named, and the way on."""
    program, name, option = command
    arguments = (name, "--dest", str(workspace.volume), option, "/dev/full")
    environment = _environment(workspace, {})
    done = run_in_process(program, *arguments, folder=workspace.folder, environment=environment)
    assert done.returncode == 3, done.stderr
    assert "error: No space left on device: /dev/full" in done.stderr
    assert "hint: free some space" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--dest", "out", "--values", "9" * 40),
        ("verify", "--dest", "out", "--scales", "0-99999999999"),
        ("validate", "--source", "export", "--spec", "spec.json", "--sample", "9" * 40),
        ("spec", "--size", "64,64,64", "--scales", "9" * 40),
    ],
    ids=" ".join,
)
def test_numbers_beyond_all_use(workspace: Workspace, arguments: tuple[str, ...]) -> None:
    """Refused at once: no overflow, and no memory filled with them."""
    done = workspace.run(*arguments)
    assert done.returncode == 2
    assert f"{arguments[-2]}" in done.stderr


def _environment(workspace: Workspace, changes: Mapping[str, str | None]) -> dict[str, str]:
    """Our environment with the changes."""
    del workspace
    merged: dict[str, str | None] = {**clean_environment(), **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _run_process(
    workspace: Workspace, command: Sequence[str], changes: Mapping[str, str], script: str
) -> None:
    program, *arguments = command
    done = subprocess.run(
        ["/bin/bash", "-c", script, "x", sys.executable, "-m", program, *arguments],
        cwd=workspace.folder,
        env=_environment(workspace, changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
        check=False,
    )
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    _check(command, done.returncode, out, err)


def _check(command: Sequence[str], code: int, out: str, err: str) -> None:
    assert "Traceback" not in out + err, (command, err)
    assert "a bug" not in err, (command, err)
    assert "Exception ignored" not in err, (command, err)
    assert code in CODES, (command, code, err)


def test_scale_keys_that_no_file_system_takes(workspace: Workspace, tmp_path: Path) -> None:
    """A folder's name has at most 255 bytes: refused with the spec, not when it is written."""
    spec = (workspace.folder / "spec.json").read_text().replace('"8x8x8"', f'"{"k" * 300}"')
    (tmp_path / "long.json").write_text(spec)
    done = workspace.run("init", "--spec", str(tmp_path / "long.json"), "--dest", "o")
    assert done.returncode == 2
    assert "300 bytes, more than storage takes" in done.stderr
