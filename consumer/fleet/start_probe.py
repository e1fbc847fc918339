"""Probe of a worker program that ends as soon as it starts: why it cannot start."""

import subprocess
from collections.abc import Sequence
from typing import Final

from runtime.interpreter import module_environment
from runtime.text import printable

PROBE_S: Final = 60.0
CAUSE_CHARS: Final = 300


def start_failure(command: Sequence[str]) -> str | None:
    """Why a program does not even print its help, in one line; None if it does.

    Its own processes write to the stderr that they share with the fleet, so their last words are
    lost to it: a missing library, too little memory, a limit of this machine.
    """
    if not command:
        return None
    try:
        result = subprocess.run(
            [*command, "--help"],
            env=module_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it does not start within {PROBE_S:.0f} s"
    except OSError as error:
        return f"{error.strerror}: {command[0]}"
    if result.returncode == 0:
        return None
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    ended = f"it ends with code {result.returncode}"
    return printable(lines[-1])[:CAUSE_CHARS] if lines else ended
