"""Fuzz one target under libFuzzer: `python -m fuzz.sanitized --fuzz python -m fuzz.run TARGET ...`.

Arguments after the target are libFuzzer's. Inputs that reach new code are stored in
build/fuzz/TARGET; an input that fails is written to build/fuzz/TARGET-crash-*. Put that file into
fuzz/corpus/TARGET when the fault is fixed, and the tests replay it from then on.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["braid"]):
    from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]
LONGEST = 1 << 14  # bytes of an input


def main() -> None:
    """Start libFuzzer on the target and its corpora."""
    name, *options = sys.argv[1:] or [""]
    if name not in TARGETS:
        raise SystemExit(f"error: no target {name!r}\nhint: one of {', '.join(TARGETS)}")
    found = ROOT / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    saved = ROOT / "fuzz" / "corpus" / name
    arguments = [
        sys.argv[0],
        f"-artifact_prefix={found}-",
        f"-max_len={LONGEST}",
        "-rss_limit_mb=2048",
        "-timeout=20",
        *options,
        str(found),
        *([str(saved)] if saved.is_dir() else []),
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
