"""Guided `infra up`, in a pseudo-terminal: an empty folder, strict services, a first run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.env_file import read_env_file
from runtime.interpreter import python
from runtime.settings import DEFAULT_TIERS
from runtime.storage import open_storage
from tests.support.emulator import new_queue_url
from tests.support.gcs_server import GcsServer
from tests.support.google_server import GoogleServer
from tests.support.terminal import INTERRUPT, ROOT, Terminal
from tests.support.workspace import make_small_workspace

PROJECT = "shardlift-tests"
OURS = ("PROJECT_ID", "REGION", "DEST_PATH", "SOURCE_PATH", "STATE_PATH", "QUEUE_URL", "SCALES")
TIERS = [f"{gib}gi" for gib in DEFAULT_TIERS.split(",")]
LABELS = ("project", "region", "source", "destination", "spec", "scales", "downsampled")
SETTINGS = (
    "PROJECT_ID", "REGION", "SOURCE_PATH", "DEST_PATH", "NG_SPEC_PATH", "SCALES", "DOWNRES_SCALES",
)  # fmt: skip


@dataclass
class Lab:
    """A folder that holds a spec alone, a project that holds nothing but an export."""

    folder: Path
    google: GoogleServer
    gcs: GcsServer
    export: str
    dest: str
    base: str
    tiers: str = "2,4"
    image: str = ""  # to be built

    @property
    def environment(self) -> dict[str, str]:
        """Of all programs."""
        known = {name: value for name, value in os.environ.items() if name not in OURS}
        return known | {
            "PYTHONPATH": str(ROOT),
            "BASE_JOB_NAME": self.base,
            "TIERS": self.tiers,
            "WORKER_IMAGE": self.image,
            "STORAGE_RETRY_S": "5",
            "LC_ALL": "C.UTF-8",
        }

    @property
    def answers(self) -> Sequence[str]:
        """To each question; "" takes what is offered."""
        return (PROJECT, "", self.export, self.dest, "", "", "")

    @property
    def kept(self) -> dict[str, str]:
        """What `.env` holds at the end."""
        values = (PROJECT, "us-central1", self.export, self.dest, "spec.json", "0", "1")
        queue = {"QUEUE_URL": f"pubsub://{PROJECT}/{self.base}"}
        return dict(zip(SETTINGS, values, strict=True)) | queue

    def terminal(self, *arguments: str) -> Terminal:
        """`infra up` at a terminal."""
        command = (sys.executable, "-m", "infra", "up", *arguments)
        return Terminal(*command, folder=self.folder, environment=self.environment)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A program without a terminal."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def env_file(self) -> dict[str, str]:
        """What `.env` holds."""
        return read_env_file(self.folder / ".env")

    def built_image(self) -> str:
        """The image of the pools, by its digest."""
        name = f"projects/{PROJECT}/locations/us-central1/workerPools/{self.base}-2gi"
        (container,) = self.google.worker_pools.found.get(name)["template"]["containers"]
        return str(container["image"])

    def counts(self) -> dict[str, int]:
        """Instances by pool."""
        pools = self.google.worker_pools
        return {name.rpartition(f"{self.base}-")[2]: pools.count(name) for name in pools.found}


@pytest.fixture
def lab(
    tmp_path: Path, pubsub_emulator: str, google_server: GoogleServer, gcs: GcsServer, bucket: str
) -> Lab:
    """An export in a bucket; the destination's bucket is to be made."""
    del pubsub_emulator
    gcs.state.bucket_properties[bucket] = {"location": "US-CENTRAL1"}
    workspace = make_small_workspace(tmp_path / "made")
    storage = open_storage(f"gs://{bucket}/export")
    for path in sorted(workspace.export.rglob("*.*")):
        storage.write(path.relative_to(workspace.export).as_posix(), path.read_bytes())
    folder = tmp_path / "lab"
    folder.mkdir()
    shutil.copy(workspace.folder / "spec.json", folder)
    google_server.projects.add(PROJECT, 4711)
    base = new_queue_url().rpartition("/")[2]
    export, dest = f"gs://{bucket}/export", f"gs://{bucket}-out/volume"
    return Lab(folder, google_server, gcs, export, dest, base)


def test_from_an_empty_folder_to_a_first_run(lab: Lab) -> None:
    """Wrong answers are refused as they are typed; one screen, one question, ticks, `enqueue`."""
    (lab.folder / ".env").write_text("# ours\nTEAM=flies  # and fish\n")
    lab.tiers = DEFAULT_TIERS
    wrong = {
        "project": ("no-such-project", "does not exist, or these credentials may not see it"),
        "region": ("us-centrall1", "is it us-central1"),
        "source": (f"{lab.export}s", "holds no export"),
        "destination": (f"{lab.export}/volume", "lie in one another"),
        "spec": ("none.json", "no such spec file"),
        "scales": ("0,7", "the spec has no scale 7"),
        "downsampled": ("0", "scale 0 would be both converted and downsampled"),
    }
    with lab.terminal() as terminal:
        terminal.expect("7 questions")
        for label, answer in zip(LABELS, lab.answers, strict=True):
            mistake, why = wrong[label]
            terminal.expect(f"\n{label}  ")
            terminal.expect("> ")  # what is typed before is echoed before
            terminal.type(mistake)
            terminal.expect(why)
            terminal.expect(f"\n{label}  ")
            terminal.expect("> ")  # what is typed before is echoed before
            terminal.type(answer)
        shown = terminal.expect("Make this?")
        assert not lab.google.writes()
        terminal.type("")
        assert terminal.end() == 0
    assert "pools at 0 cost nothing" in shown
    assert f"1 bucket to make: {lab.dest.split('/')[2]}" in shown
    ended = terminal.text[terminal.text.index("Make this?") :]
    for tick in ("APIs", "buckets", "topics", "accounts and rights", "image", "worker pools"):
        assert f"✓ {tick}" in ended
    _check_howto(lab, terminal.text)
    assert lab.counts() == dict.fromkeys((*TIERS, "autoscaler"), 0)
    assert lab.env_file() == lab.kept | {"TEAM": "flies"}
    assert (lab.folder / ".env").read_text().startswith("# ours\nTEAM=flies  # and fish\n")

    (line,) = [one for one in ended.splitlines() if one.startswith("next: ")]
    begun = lab.run(*line.removeprefix("next: ").split())
    assert begun.returncode == 0, begun.stderr
    assert f"published to pubsub://{PROJECT}/{lab.base}" in begun.stdout

    writes = len(lab.google.writes())
    lab.image = lab.built_image()  # whoever edits sources meanwhile would be asked for another
    with lab.terminal() as again:  # nothing is asked twice, and nothing is made
        assert again.end() == 0
    assert "? " not in again.text
    assert "questions" not in again.text
    assert len(lab.google.writes()) == writes
    assert lab.env_file() == lab.kept | {"TEAM": "flies"}


def _check_howto(lab: Lab, shown: str) -> None:
    """Each line of the session in docs/howto-cloud.md was shown, but for names and commands."""
    page = (ROOT / "docs" / "howto-cloud.md").read_text()
    session = page.split("<!-- session -->")[1].split("<!-- /session -->")[0]
    names = {
        "my-lab-shardlift": f"{PROJECT}-shardlift",
        "my-lab/shardlift": f"{PROJECT}/{lab.base}",
        "my-lab": PROJECT,
        "123456789": "4711",
        "gs://lab-export/export": lab.export,
        "gs://lab-volume/brain": lab.dest,
        "lab-volume": lab.dest.split("/")[2],
        "$ shardlift infra up": "",
        "shardlift enqueue": f"{python()} -m producer enqueue",
    }
    for theirs, ours in names.items():
        session = session.replace(theirs, ours)
    moving = re.compile(r"^[\u2800-\u28ff].*$", re.MULTILINE)  # what goes on meanwhile
    seen = " ".join(moving.sub("", shown).split())
    for part in re.split(r"\n(?!\s{8})", session.strip().strip("`").removeprefix("text")):
        assert " ".join(part.split()) in seen


def test_ctrl_c_at_every_question(lab: Lab) -> None:
    """What was answered is kept; the next session begins at the question that was left."""
    asked = [f"\n{label}  " for label in LABELS]
    for number, answer in enumerate(lab.answers):
        with lab.terminal() as terminal:
            before = terminal.expect(asked[number])
            assert [label for label in LABELS if f"✓ {label}" in before] == list(LABELS[:number])
            terminal.type(answer)
            terminal.expect([*asked, "Make this?"][number + 1])
            terminal.type(INTERRUPT)
            assert terminal.end() == 130
        assert "answers are kept in .env, and the same command goes on" in terminal.text
        assert "Traceback" not in terminal.text
        kept = {name: lab.kept[name] for name in SETTINGS[: number + 1]}
        assert lab.env_file() == (lab.kept if len(kept) == len(SETTINGS) else kept)
    assert not lab.google.writes()


@pytest.mark.parametrize(
    "call", ["services.batchEnable", "serviceAccounts.create", "workerPools.create"]
)
def test_ctrl_c_between_steps_leaves_what_the_next_up_completes(lab: Lab, call: str) -> None:
    """Stopped in the middle of a step; the same command makes the rest."""
    (lab.folder / ".env").write_text(
        "".join(f"{name}={value}\n" for name, value in lab.kept.items())
    )
    with lab.terminal() as terminal:
        lab.google.before(call, lambda _: terminal.type(INTERRUPT))
        terminal.expect("Make this?")
        terminal.type("y")
        assert terminal.end() == 130
    assert "the same command goes on" in terminal.text
    lab.google.heal()
    with lab.terminal() as terminal:
        terminal.expect("Make this?")
        terminal.type("y")
        assert terminal.end() == 0
    assert lab.counts() == {"2gi": 0, "4gi": 0, "autoscaler": 0}


def test_options_and_yes_give_the_same(lab: Lab) -> None:
    """Without a terminal: the same pools, the same `.env`, the same last line."""
    given = dict(zip(SETTINGS, lab.kept.values(), strict=False))
    names = ("project", "region", "source", "dest", "spec", "scales", "downres")
    options = [
        part
        for name, value in zip(names, given.values(), strict=True)
        for part in (f"--{name}", value)
    ]
    command = (sys.executable, "-m", "infra", "up", *options)
    dry = lab.run(*command, "--yes", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not (lab.folder / ".env").exists()
    done = lab.run(*command, "--yes")
    assert done.returncode == 0, done.stderr
    assert lab.env_file() == lab.kept
    assert lab.counts() == {"2gi": 0, "4gi": 0, "autoscaler": 0}
    assert done.stdout.splitlines()[-1].endswith("-m producer enqueue")


def test_no_is_an_answer(lab: Lab) -> None:
    """Nothing is made, and exit code 130; so is the end of the terminal."""
    (lab.folder / ".env").write_text(
        "".join(f"{name}={value}\n" for name, value in lab.kept.items())
    )
    with lab.terminal() as terminal:
        terminal.expect("Make this?")
        terminal.type("perhaps")
        terminal.expect("Make this?")
        terminal.type("n")
        assert terminal.end() == 130
    assert not lab.google.writes()
