"""Build the kernels with Address- and UndefinedBehaviorSanitizer, and run a program on them.

    python -m fuzz.sanitized pytest tests/kernel          what `make sanitize` does
    python -m fuzz.sanitized --fuzz python -m fuzz.run    with coverage, under libFuzzer
    python -m fuzz.sanitized --races pytest tests/...     ThreadSanitizer instead, for threads

The build lies in build/sanitized, build/fuzzed or build/raced and is made again when a source is
newer.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {"--fuzz": "fuzzed", "--races": "raced"}
SOURCES = [ROOT / "_braid.pyx", ROOT / "_braid.pxd", *sorted((ROOT / "kernels").iterdir())]

CHECKS = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
RACES = "-O1 -g -fno-omit-frame-pointer -fsanitize=thread"
# Without trace-cmp: it reports every comparison of every voxel, and halves the executions.
COVERAGE = "-fsanitize-coverage=trace-pc"

# Python itself leaks at exit; a refused allocation is a MemoryError, not an abort.
ASAN_OPTIONS = "detect_leaks=0:allocator_may_return_null=1:alloc_dealloc_mismatch=0"


def main() -> int:
    """Build, then run the rest of the command line; its exit code is ours."""
    command = sys.argv[1:]
    kind = FOLDERS[command.pop(0)] if command[:1] and command[0] in FOLDERS else "sanitized"
    folder = ROOT / "build" / kind
    build(folder, kind)
    environment = os.environ | {
        "LD_PRELOAD": str(runtime(kind)),
        "ASAN_OPTIONS": ASAN_OPTIONS,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that the ends of every bytes object are guarded
        "PYTHONSAFEPATH": "1",  # or the plain kernels in this folder would come first
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "SHARDLIFT_SANITIZED": str(folder),
    }
    return subprocess.run(command, env=environment, check=False).returncode


def build(folder: Path, kind: str) -> None:
    """The extension with checks in it; with coverage for a fuzzer too."""
    target = folder / f"_braid{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = [*SOURCES, Path(__file__), Path(__file__).with_name("coverage.c")]
    if target.exists() and target.stat().st_mtime > max(s.stat().st_mtime for s in sources):
        return
    folder.mkdir(parents=True, exist_ok=True)
    generated = folder / "_braid.c"
    run([sys.executable, "-m", "cython", "-3", str(ROOT / "_braid.pyx"), "-o", str(generated)])
    include = [f"-I{sysconfig.get_path('include')}", f"-I{ROOT}"]
    common = [*compiler(), "-fPIC", "-shared", "-w"]
    if kind != "fuzzed":
        checks = (RACES if kind == "raced" else CHECKS).split()
        run([*common, *checks, *include, str(generated), "-o", str(target)])
        return
    # Compiled with checks but linked without: libFuzzer's library brings the checks' runtime.
    parts = [folder / "_braid.o", folder / "coverage.o"]
    flags = [*CHECKS.split(), COVERAGE]
    run([*compiler(), "-fPIC", "-w", *flags, *include, "-c", str(generated), "-o", str(parts[0])])
    coverage = str(ROOT / "fuzz" / "coverage.c")
    run([*compiler(), "-fPIC", "-O2", "-c", coverage, "-o", str(parts[1])])
    run([*common, *map(str, parts), "-o", str(target)])


def runtime(kind: str) -> Path:
    """The library of the checks, to be loaded before Python."""
    if kind == "fuzzed":
        return fuzzer_runtime()
    return sanitizer_runtime("libtsan.so" if kind == "raced" else "libasan.so")


def compiler() -> list[str]:
    """The C compiler, as setuptools would choose it."""
    return shlex.split(os.environ.get("CC") or "cc")


def sanitizer_runtime(name: str) -> Path:
    """One of the compiler's own."""
    command = [*compiler(), f"-print-file-name={name}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"error: {shlex.join(compiler())} has no {name}\nhint: install GCC's")
    return Path(found).resolve()


def fuzzer_runtime() -> Path:
    """AddressSanitizer and libFuzzer in one library, as atheris brings it."""
    found = Path(sysconfig.get_path("platlib")) / "asan_with_fuzzer.so"
    if not found.exists():
        raise SystemExit("error: atheris is not installed\nhint: pip install atheris")
    return found


def run(command: list[str]) -> None:
    """Run a compiler; its own message is enough where it fails."""
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: {shlex.join(command)} failed")


if __name__ == "__main__":
    raise SystemExit(main())
