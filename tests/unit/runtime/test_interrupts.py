"""Ctrl-C and SIGTERM before, in and after a command: exit code 130, one line, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = ("SIGINT", "SIGTERM")
PROGRAMS = ("producer", "consumer", "memmodel", "infra", "shardlift")
# The signal comes while the first package that is not Python's own is imported.
IN_IMPORTS = """
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
        return None
sys.meta_path.insert(0, Finder())
sys.argv = ["-m", "--help"]
signal.signal(signal.SIGINT, HANDLER)
START
"""
AS_MODULE = 'runpy.run_module("PROGRAM", run_name="__main__", alter_sys=True)'
AS_COMMAND = """
sys.argv = ["/usr/bin/shardlift", "--help"]
from shardlift.__main__ import main
sys.exit(main())
"""
AT_THE_END = """
import atexit, os, signal
import typer
from runtime import cli
app = cli.new_app("x")
@app.callback()
def group(): pass
@app.command()
def end():
    atexit.register(os.kill, os.getpid(), signal.NUMBER)
cli.run(app)
"""
IN_CALLBACK = """
import os, signal, time, weakref
from runtime import cli
app = cli.new_app("x")
def interrupt(_thing):
    os.kill(os.getpid(), signal.NUMBER)
class Thing:
    pass
@app.callback()
def group(): pass
@app.command()
def end():
    thing = Thing()
    WHAT
    del thing
    time.sleep(60)
cli.run(app)
"""
IN_A_DESTRUCTOR = "Thing.__del__ = interrupt"
OF_A_WEAK_REFERENCE = "seen = weakref.ref(thing, interrupt)"


@pytest.mark.parametrize("program", PROGRAMS)
def test_while_a_program_starts(program: str) -> None:
    """It ends before its command begins."""
    done = _run(_starting(program), "signal.default_int_handler")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout == ""


def test_while_the_installed_command_starts() -> None:
    """It ends before its command begins, too."""
    done = _run(IN_IMPORTS.replace("START", AS_COMMAND), "signal.default_int_handler")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout == ""


def test_the_handler_comes_before_what_takes_time() -> None:
    """Until then Ctrl-C ends in a traceback."""
    script = "import runtime.interrupts, sys; print({'typing', 're', 'typer'} & {*sys.modules})"
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_where_it_is_ignored() -> None:
    """As for a shell's background job, it stays so."""
    done = _run(_starting("producer"), "signal.SIG_IGN")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("number", NUMBERS)
def test_after_the_command(number: str) -> None:
    """While Python itself ends."""
    done = _run(AT_THE_END.replace("NUMBER", number))
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("what", [IN_A_DESTRUCTOR, OF_A_WEAK_REFERENCE], ids=["del", "ref"])
def test_where_python_ignores_exceptions(number: str, what: str) -> None:
    """The command ends all the same, a moment later."""
    done = _run(IN_CALLBACK.replace("NUMBER", number).replace("WHAT", what))
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def _starting(program: str) -> str:
    return IN_IMPORTS.replace("START", AS_MODULE).replace("PROGRAM", program)


def _run(script: str, handler: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script.replace("HANDLER", handler), "end"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
