"""Commands that are printed name the interpreter that runs; a package that it lacks is named."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import interpreter
from runtime.interpreter import (
    as_named,
    as_typed,
    missing_package,
    module_environment,
    start_failure,
)

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("producer", "consumer", "memmodel", "infra", "shardlift")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that is not active, below the working directory, whose Python runs."""
    own = tmp_path / "my env" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(own))
    monkeypatch.chdir(tmp_path)
    return own


def test_an_inactive_environment(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative below the working directory, else whole; a link to the same Python is another."""
    assert _is_inactive(environment)
    assert as_typed("`python -m infra up`, then python -m producer status") == (
        "`'my env/bin/python' -m infra up`, then 'my env/bin/python' -m producer status"
    )
    (environment.parent / "elsewhere").mkdir()
    monkeypatch.chdir(environment.parent / "elsewhere")
    assert as_typed("python -m infra up") == f"{shlex.quote(str(environment))} -m infra up"


def _is_inactive(environment: Path) -> bool:
    """The shell's own Python is the one that the environment's link leads to."""
    return environment.parent.as_posix() not in os.environ["PATH"]


def test_an_active_environment(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` is what a shell would start anyway."""
    monkeypatch.setenv("PATH", f"{environment.parent}:{os.environ['PATH']}")
    assert as_typed("python -m infra up") == "python -m infra up"


def test_a_command_that_names_its_interpreter_stays(environment: Path) -> None:
    """It is written out already."""
    assert environment.exists()
    for command in (".venv/bin/python -m producer", "/usr/bin/python -m pip", "xpython -m y"):
        assert as_typed(command) == command


COMMAND = "SHARDLIFT_COMMAND"
MODULE = "/lib/shardlift/__main__.py"
COMMANDS = (
    "python -m producer status; python -m consumer fleet; python -m memmodel fit; "
    "python -m infra up; python -m shardlift doctor; python -m pip install x"
)


def test_started_as_shardlift(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All programs are below the command that was typed, which a shell finds, or by its path."""
    own = environment.parent / "shardlift"
    own.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(own), "status"])
    words = "{0} status; {0} fleet; {0} memory fit; {0} infra up; {0} doctor; {1} -m pip install x"
    own_python = "'my env/bin/python'"
    assert as_typed(COMMANDS) == words.format("'my env/bin/shardlift'", own_python)
    monkeypatch.setenv("PATH", f"{own.parent}:{os.environ['PATH']}")
    assert as_typed(COMMANDS) == words.format("shardlift", "python")


def test_a_process_that_shardlift_starts(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints what works where the one above was started, although it is a module itself."""
    monkeypatch.setenv("PATH", f"{environment.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", ["/lib/consumer/__main__.py", "work"])
    assert as_typed(COMMANDS) == COMMANDS
    for name, own in (("/venv/bin/shardlift", "shardlift"), (MODULE, "python -m shardlift")):
        monkeypatch.setattr(sys, "argv", [name, "fleet"])
        below = module_environment()
        with pytest.MonkeyPatch.context() as child:
            child.setattr(sys, "argv", ["/lib/consumer/__main__.py", "work"])
            child.setattr(os, "environ", below)
            assert as_typed("python -m infra up") == f"{own} infra up"
            assert module_environment().items() >= {(COMMAND, own)}  # of processes below, too


def test_a_command_for_elsewhere(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, without a path of this machine; as modules where no `shardlift` was typed."""
    own = environment.parent / "shardlift"
    own.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(own), "infra", "render"])
    assert as_named("exec python -m consumer work") == "exec shardlift work"
    monkeypatch.setattr(sys, "argv", [MODULE])
    assert as_named("exec python -m consumer work") == "exec python -m shardlift work"
    monkeypatch.setattr(sys, "argv", ["/lib/infra/__main__.py"])
    assert as_named(COMMANDS) == COMMANDS


def test_started_as_a_module(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m shardlift` prints what begins with it; `python -m producer` its own."""
    monkeypatch.setenv("PATH", f"{environment.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", ["/lib/shardlift/__main__.py"])
    assert as_typed(COMMANDS).startswith("python -m shardlift status; python -m shardlift fleet;")
    monkeypatch.setattr(sys, "argv", ["/lib/producer/__main__.py"])
    assert as_typed(COMMANDS) == COMMANDS


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_without_packages(program: str) -> None:
    """Two lines and exit code 2 instead of a traceback; the hint is a command."""
    bare = [sys.executable, "-S", "-m", program, "--help"]  # -S: no packages but Python's own
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, check=False)
    error, hint = done.stderr.splitlines()
    assert done.returncode == 2
    assert error.startswith("error: ")
    assert "has no package" in error
    assert f"-m {program} --help" in hint or "pip install" in hint


def test_what_makes_it_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same command by the environment of the clone; without one, an installation."""
    monkeypatch.setattr(interpreter, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "producer", "view", "a b"])
    error = ModuleNotFoundError("No module named 'typer'", name="typer")
    assert "pip install -e" in (missing_package(error) or ("", ""))[1]
    made = tmp_path / ".venv" / "bin" / "python"
    made.parent.mkdir(parents=True)
    made.touch()
    monkeypatch.chdir(tmp_path)
    message, hint = missing_package(error) or ("", "")
    assert "has no package typer" in message
    assert hint.endswith(": .venv/bin/python -m producer view 'a b'")


def test_a_name_of_the_folder_moves_no_cursor(tmp_path: Path) -> None:
    """The interpreter's path is printed escaped, also before anything else is imported."""
    own = tmp_path / "red\x1b[31m" / "python"
    own.parent.mkdir()
    own.symlink_to(sys.executable)
    bare = [str(own), "-S", "-m", "producer", "--help"]
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "red\\x1b[31m" in done.stderr


def test_a_machine_on_which_nothing_starts() -> None:
    """Libraries that cannot be loaded are told in two lines, and not as a fault of the program."""
    # So little that Arrow's largest library cannot be mapped, and enough for what comes before.
    script = 'ulimit -v 100000; exec "$@"'
    command = ["/bin/bash", "-c", script, "x", sys.executable, "-m", "producer", "status"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot start this program: " in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_that_ends_in_an_import() -> None:
    """Python has no memory for the error itself, and says so by a SystemError of its imports."""
    lost = SystemError("error return without exception set")
    source = compile("raise error", "<frozen importlib._bootstrap>", "exec")
    with pytest.raises(SystemError) as caught:
        exec(source, {"error": lost})  # noqa: S102 - a frame as Python's import system has it
    message, hint = start_failure(caught.value) or ("", "")
    assert "cannot start this program: error return without exception set" in message
    assert "ulimit" in hint
    with pytest.raises(SystemError) as caught:
        raise SystemError("of other code")
    assert start_failure(caught.value) is None


def test_other_errors_are_left_alone() -> None:
    """A module of ours that is missing is a bug; so is a name that a package lacks."""
    assert missing_package(ImportError("cannot import name", name="typer")) is None
    assert missing_package(ModuleNotFoundError("No module named", name="producer.gone")) is None
