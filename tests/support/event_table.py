"""Table of log events in docs/events.md; run as a module to write the file anew."""

from pathlib import Path

from runtime import log_events

EVENTS_MD = Path(__file__).resolve().parents[2] / "docs" / "events.md"

_HEAD = """\
# Log events

Programs log to stderr: text on a terminal, one JSON object per line elsewhere (`LOG_FORMAT`).
Each line has `event`, `level` and `timestamp`, and the fields of its event.

A JSON line has more, which Cloud Logging reads: `severity` (the level), `time`, and `message`, \
the event in words.
Lines about a shard in work also carry `run`, `shard`, `tier` and `attempt`, whoever writes them: \
the worker, its lease's thread, or the executor.
So all that happened to a shard is found by, for instance,

```
gcloud logging read 'jsonPayload.run="RUN_ID" AND jsonPayload.shard="s0/0a" AND severity>=WARNING'
```

This table is made from `runtime/log_events.py` by `python -m tests.support.event_table`.

| event | level | fields | meaning |
|---|---|---|---|
"""


def events_md() -> str:
    """The whole document."""
    rows = [
        f"| `{name}` | {spec.level} | {', '.join(f'`{field}`' for field in spec.fields)} "
        f"| {spec.meaning} |\n"
        for name, spec in log_events.EVENTS.items()
    ]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    EVENTS_MD.write_text(events_md())
