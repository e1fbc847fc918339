"""A Google project for tests: emulated queue, strict control planes, fake storage, and `infra`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.support.commands import CommandResult, run_in_process
from tests.support.gcs_server import GcsServer
from tests.support.google_server import GoogleServer

ROOT: Final = Path(__file__).resolve().parents[2]
NUMBER: Final = 123456789
IMAGE: Final = f"us-central1-docker.pkg.dev/shardlift-tests/shardlift/shardlift@sha256:{'0' * 64}"
_WRITES: Final = r"^(POST|PATCH|PUT|DELETE) "


class CloudProject:
    """A project of its own, with the names of a queue and of three buckets.

    Attributes:
        google: control planes.
        gcs: storage.
        settings: of the programs; "" is left out.
    """

    def __init__(self, google: GoogleServer, gcs: GcsServer) -> None:
        self.google = google
        self.gcs = gcs
        unique = uuid4().hex[:8]
        self.project = f"lab-{unique}"
        self.source, self.dest, self.state = (
            f"{name}-{unique}" for name in ("export", "volumes", "runs")
        )
        google.projects.add(self.project, NUMBER)
        self.settings = {
            "PROJECT_ID": self.project,
            "QUEUE_URL": f"pubsub://{self.project}/brain",
            "REGION": "us-central1",
            "WORKER_IMAGE": IMAGE,
            "SOURCE_PATH": f"gs://{self.source}/export",
            "DEST_PATH": f"gs://{self.dest}/volume",
            "STATE_PATH": f"gs://{self.state}/runs",
            "TIERS": "2",
            "STORAGE_RETRY_S": "5",
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of the programs."""
        return {k: v for k, v in (dict(os.environ) | self.settings).items() if v}

    def run(self, *arguments: str, code: int = 0) -> CommandResult:
        """Run `infra` with an exit code that is known."""
        done = run_in_process("infra", *arguments, folder=ROOT, environment=self.environment)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def changes(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Changes that a command finds or makes."""
        found: list[dict[str, Any]] = self.run(*arguments, "--json", code=code).document["changes"]
        return found

    def actions(self, kind: str, *arguments: str, code: int = 0) -> dict[str, list[str]]:
        """Actions by name, of one kind of resources, in the order of the lines."""
        found: dict[str, list[str]] = {}
        for one in self.changes(*arguments, code=code):
            if one["kind"] == kind:
                found.setdefault(one["name"], []).append(one["action"])
        return found

    def writes(self) -> int:
        """Requests that changed something so far, anywhere."""
        return len(self.google.writes()) + self.gcs.count(_WRITES)

    def email(self, part: str) -> str:
        """Address of one of our own accounts."""
        return f"shardlift-{part}@{self.project}.iam.gserviceaccount.com"

    def member(self, part: str) -> str:
        """One of our own accounts, as policies name it."""
        return f"serviceAccount:{self.email(part)}"


def killer(process: Any, at: int) -> Callable[[object], None]:  # noqa: ANN401 - of subprocess
    """An action that kills a process at its n-th call."""
    left = [at]

    def act(_call: object) -> None:
        left[0] -= 1
        if not left[0]:
            process.kill()

    return act
