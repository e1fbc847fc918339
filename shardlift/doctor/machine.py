"""Checks of this machine: Python, kernels, processors, memory, open files, browser."""

import os
import platform
import sys
import webbrowser
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from braid import native_symbols
from consumer.fleet.host_resources import cpus, free_bytes, served_tiers
from memmodel import process_memory
from memmodel.tiers import parse_tiers
from runtime import settings
from runtime.amounts import size
from runtime.machine import file_limit
from shardlift.doctor.finding import Finding, ok, problem, warning

_FEW_FILES: Final = 1024
_C_FUNCTIONS: Final = {
    "zstandard": ("zstd", native_symbols.libzstd),
    "deflate": ("gzip", native_symbols.libdeflate),
}
_X86: Final = ("x86_64", "AMD64")


def check_machine() -> Iterator[Finding]:
    """Everything that needs no setting."""
    yield python()
    yield kernels()
    yield from c_functions()
    yield processors()
    yield memory()
    yield open_files()
    yield browser()


def python() -> Finding:
    """The interpreter, and which release of the product it runs."""
    try:
        release = version("shardlift")
    except PackageNotFoundError:
        release = "not installed, run from its folder"
    return ok("python", f"{platform.python_version()} ({sys.executable}), shardlift {release}")


def kernels() -> Finding:
    """The compiled extension."""
    try:
        import _braid  # noqa: PLC0415 - where it is missing, that is the finding
    except ImportError as error:
        fix = "install a wheel for this system, or in a clone: make ext"
        return problem("kernels", f"the compiled kernels cannot be loaded: {error}", fix)
    if _braid.use_wide_lanes(True):  # as they are when they are loaded
        return ok("kernels", f"{_braid.__file__}, with AVX2")
    text = f"{_braid.__file__}, without AVX2"
    if platform.machine() not in _X86:
        return ok("kernels", text)
    fix = "take a processor that has AVX2 where there is one: downsampling is faster"
    return warning("kernels", text, fix)


def c_functions() -> Iterator[Finding]:
    """C functions that the kernels call inside other packages."""
    for package, (name, addresses) in _C_FUNCTIONS.items():
        check = f"kernels: {name}"
        if addresses() is None:
            fix = f"install the wheel from PyPI: pip install --force-reinstall {package}"
            text = f"the package {package} hides its C functions: each chunk takes a call of Python"
            yield warning(check, text, fix)
        else:
            yield ok(check, f"C functions of the package {package} {version(package)}")


def processors() -> Finding:
    """Processors that this process may use."""
    there, usable = os.cpu_count() or 1, cpus()
    limited = f" of {there}: by affinity or the container's quota" if usable < there else ""
    return ok("processors", f"{usable}{limited} ({platform.machine()})")


def memory() -> Finding:
    """Free memory, and the tiers that it serves."""
    limit, free = process_memory.memory_limit(), free_bytes()
    text = f"{size(free)} free of {size(limit.limit_bytes)} ({limit.source})"
    tiers = parse_tiers(settings.tiers())
    least = min(tiers, key=lambda tier: tier.limit_bytes)
    if free < least.limit_bytes:
        fix = "free some, or set TIERS to smaller ones, such as TIERS=0.5,1,2"
        return warning("memory", f"{text}: less than tier {least.name}", fix)
    names = ", ".join(tier.name for tier in served_tiers(tiers, free))
    return ok("memory", f"{text}: serves {names}")


def open_files() -> Finding:
    """How many files a process may open."""
    most = file_limit()
    if most is not None and most < _FEW_FILES:
        fix = f"raise the hard limit: ulimit -Hn {_FEW_FILES}, or in /etc/security/limits.conf"
        return warning("open files", f"{most} at most", fix)
    return ok("open files", "without a limit" if most is None else f"{most:,} at most")


def browser() -> Finding:
    """The browser that `view` opens."""
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        fix = "pass --no-browser to `view`, and open its link on a machine that has one"
        return warning("browser", "none found", fix)
    return ok("browser", str(getattr(found, "name", "") or type(found).__name__))
