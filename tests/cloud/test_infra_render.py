"""`infra render`: texts that other engines accept, and whose commands make a volume."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import read_status
from infra.render import kubernetes
from tests.support.commands import CommandResult, run_in_process
from tests.support.emulator import make_topology, new_queue_url, remove_topology
from tests.support.workspace import Workspace, clean_environment, make_small_workspace

SETTINGS: Final = {
    "QUEUE_URL": "pubsub://my-project/brain",
    "SOURCE_PATH": "gs://export",
    "DEST_PATH": "gs://public/brain",
    "STATE_PATH": "gs://private/runs",
    "WORKER_IMAGE": f"us-central1-docker.pkg.dev/my-project/s/s@sha256:{'0' * 64}",
    "REGION": "us-central1",
    "TIERS": "2,4,32",
}
# What the providers know of each resource, as of November 2026; `template` is looked into.
TERRAFORM_FIELDS: Final = {
    "google_service_account": {"account_id", "display_name", "project"},
    "google_pubsub_topic": {"name", "project", "labels", "message_retention_duration"},
    "google_pubsub_subscription": {
        "name", "topic", "project", "ack_deadline_seconds", "message_retention_duration",
        "retain_acked_messages", "expiration_policy", "dead_letter_policy", "retry_policy",
    },
    "google_pubsub_topic_iam_member": {"topic", "project", "role", "member"},
    "google_pubsub_subscription_iam_member": {"subscription", "project", "role", "member"},
    "google_storage_bucket_iam_member": {"bucket", "role", "member"},
    "google_cloud_run_v2_worker_pool": {
        "name", "location", "project", "description", "labels", "annotations", "client",
        "client_version", "launch_stage", "deletion_protection", "scaling", "template",
    },
}  # fmt: skip
META: Final = {"depends_on", "lifecycle"}
TEMPLATE_FIELDS: Final = {"labels", "annotations", "service_account", "containers", "revision"}
CONTAINER_FIELDS: Final = {"name", "image", "args", "command", "env", "resources"}
CREMA_FIELDS: Final = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {"pollingInterval", "triggerAuthentications", "scaledObjects"},
    "scaled": {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers", "advanced"},
    "trigger": {"type", "name", "metadata", "authenticationRef"},
}


def render(
    *arguments: str, code: int = 0, settings: Mapping[str, str] = SETTINGS, folder: Path = Path()
) -> CommandResult:
    """The command with these settings and no others."""
    environment = {**clean_environment(), **settings}
    done = run_in_process("infra", "render", *arguments, folder=folder, environment=environment)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


class StrictLoader(yaml.SafeLoader):
    """YAML that refuses what is there twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: ANN401 - untyped
        """A mapping whose keys differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML text."""
    return list(yaml.load_all(text, Loader=StrictLoader))


# -- Kubernetes


@pytest.mark.parametrize("place", ["--spot", "--no-spot"])
def test_kubernetes_accepts_every_manifest(place: str) -> None:
    """Its own schemas, with no field that they do not know."""
    found = documents(render("kubernetes", place, "--max-per-tier", "50").stdout)
    version = kubernetes_validate.latest_version()
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)
    account, *jobs = found
    assert account["kind"] == "ServiceAccount"
    assert [job["metadata"]["name"] for job in jobs] == ["brain-2gi", "brain-4gi", "brain-32gi"]
    for job in jobs:
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        assert spec["parallelism"] == 50
        assert "completions" not in spec
        ignored = spec["podFailurePolicy"]["rules"][0]
        assert ignored["action"] == "Ignore"
        assert ignored["onPodConditions"][0]["type"] == "DisruptionTarget"
        assert pod["terminationGracePeriodSeconds"] == 30
        assert ("nodeSelector" in pod) == (place == "--spot")
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"]
        assert "--until-idle" in pod["containers"][0]["args"]


def test_the_validation_refuses() -> None:
    """An unknown field, or none that is required: so the test above can fail."""
    _, job = documents(render("kubernetes", "--tiers", "2").stdout)
    job["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(Exception, match="imagee"):
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


def test_the_user_of_the_image_is_the_one_of_the_pods() -> None:
    """By number: Kubernetes cannot look up a name."""
    dockerfile = Path(__file__).resolve().parents[2] / "Dockerfile"
    assert f"USER {kubernetes.USER}" in dockerfile.read_text().splitlines()


# -- Terraform and CREMA: examples


def test_terraform_knows_every_field() -> None:
    """By a list of the provider's; references lead to resources that are there."""
    document = json.loads(render("terraform").stdout)
    assert "example" in document["//"].lower()
    resources = document["resource"]
    for kind, named in resources.items():
        for fields in named.values():
            assert fields.keys() <= TERRAFORM_FIELDS[kind] | META, kind
    for pool in resources["google_cloud_run_v2_worker_pool"].values():
        assert pool["scaling"] == {"manual_instance_count": 0}
        assert pool["lifecycle"] == {"ignore_changes": ["scaling"]}
        assert pool["deletion_protection"] is False
        assert pool["template"].keys() <= TEMPLATE_FIELDS
        (container,) = pool["template"]["containers"]
        assert container.keys() <= CONTAINER_FIELDS
    for reference in references(resources):
        kind, name, end = reference.split(".")
        assert end == "id"
        assert name in resources[kind], reference
    roles = resources["google_storage_bucket_iam_member"].values()
    assert {(one["bucket"], one["role"].rpartition(".")[2]) for one in roles} == {
        ("export", "objectViewer"),
        ("public", "objectUser"),
        ("private", "objectUser"),
    }


def references(value: object) -> list[str]:
    """Every `${...}` below a value."""
    if isinstance(value, Mapping):
        return [found for one in value.values() for found in references(one)]
    if isinstance(value, list):
        return [found for one in value for found in references(one)]
    text = value if isinstance(value, str) else ""
    return [text[2:-1]] if text.startswith("${") else []


def test_crema_is_strict_yaml_with_fields_that_it_knows() -> None:
    """A scaled object per pool, which may go to 0."""
    text = render("crema", "--max-per-tier", "7").stdout
    assert "example" in text.splitlines()[0]
    (found,) = documents(text)
    assert found.keys() <= CREMA_FIELDS[""]
    assert (found["apiVersion"], found["kind"]) == ("crema/v1", "CremaConfig")
    assert found["spec"].keys() <= CREMA_FIELDS["spec"]
    assert len(found["spec"]["scaledObjects"]) == 3
    for one in found["spec"]["scaledObjects"]:
        assert one["spec"].keys() <= CREMA_FIELDS["scaled"]
        assert (one["spec"]["minReplicaCount"], one["spec"]["maxReplicaCount"]) == (0, 7)
        (trigger,) = one["spec"]["triggers"]
        assert trigger.keys() == CREMA_FIELDS["trigger"]
        assert trigger["metadata"]["value"] == "1"


# -- what cannot be rendered


@pytest.mark.parametrize(
    ("engine", "changed", "message"),
    [
        ("kubernetes", {"WORKER_IMAGE": ""}, "which image do the pods run?"),
        ("terraform", {"WORKER_IMAGE": ""}, "which image do the pools run?"),
        ("crema", {"REGION": ""}, "in which region are the worker pools?"),
        ("terraform", {"REGION": ""}, "in which region are the worker pools?"),
        ("slurm", {"QUEUE_URL": "sqlite:queue.db"}, "cannot share sqlite:queue.db"),
        ("slurm", {"QUEUE_URL": ""}, "which queue do the workers serve?"),
        ("slurm", {"STATE_PATH": "", "DEST_PATH": ""}, "No state root is given"),
        ("kubernetes", {"QUEUE_URL": "pubsub://my-project/a.b"}, "cannot name a Kubernetes Job"),
        ("slurm", {"STATE_PATH": "here"}, "it is a folder of this machine"),
    ],
)
def test_what_cannot_be_is_refused(engine: str, changed: dict[str, str], message: str) -> None:
    """With what to do, and nothing on stdout."""
    known = {k: v for k, v in (SETTINGS | changed).items() if v}
    os.environ.pop("PROJECT_ID", None)
    done = render(engine, code=2, settings=known)
    assert message in done.stderr
    assert "hint: " in done.stderr
    assert not done.stdout


def test_the_text_can_be_written_to_a_file(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    shown = render("slurm").stdout
    assert render("slurm", "--out", str(tmp_path / "workers.sh")).stdout == ""
    assert (tmp_path / "workers.sh").read_text() == shown
    missing = render("slurm", "--out", str(tmp_path / "none" / "workers.sh"), code=2)
    assert "cannot be written" in missing.stderr


# -- the commands, as processes


class Cloud:
    """A run that is published on the emulator, with its ledger in a bucket."""

    def __init__(self, workspace: Workspace, queue: str, bucket: str) -> None:
        self.settings = {
            "QUEUE_URL": queue,
            "SOURCE_PATH": str(workspace.export),
            "STATE_PATH": f"gs://{bucket}/runs",
            "WORKER_IMAGE": SETTINGS["WORKER_IMAGE"],
            "TIERS": "0.5,1",
        }
        scales = ("--scales", "0", "--downres", "1", "--tiers", "0.5,1")
        command = workspace.enqueue_command(*scales, dest=f"gs://{bucket}/volume")
        environment = clean_environment() | self.settings
        done = run_in_process(
            "producer", *command, folder=workspace.folder, environment=environment
        )
        assert done.returncode == 0, done.stderr
        self.workspace = workspace

    @property
    def run(self) -> Run:
        """The run."""
        (found,) = list_runs(self.settings["STATE_PATH"])
        return found


@pytest.fixture
def cloud(tmp_path: Path, pubsub_emulator: str, bucket: str) -> Any:  # noqa: ANN401 - a generator
    """A run that waits for workers."""
    del pubsub_emulator
    queue = new_queue_url()
    make_topology(queue, ("512mi", "1gi"))
    yield Cloud(make_small_workspace(tmp_path / "work"), queue, bucket)
    remove_topology(queue)


def test_the_jobs_of_kubernetes_make_the_volume(cloud: Cloud, tmp_path: Path) -> None:
    """What its containers run, as processes: each ends by itself with exit code 0."""
    options = ("--max-per-tier", "2", "--until-idle", "3")
    _, *jobs = documents(render("kubernetes", *options, settings=cloud.settings).stdout)
    pods = []
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        own = {one["name"]: one["value"] for one in container["env"]}
        for _ in range(job["spec"]["parallelism"]):
            command = [sys.executable, "-m", *container["args"]]
            environment = clean_environment() | own
            pods.append(subprocess.Popen(command, cwd=tmp_path, env=environment))
    assert [pod.wait(200) for pod in pods] == [0] * 4
    assert read_status(cloud.run).succeeded


SBATCH: Final = """\
#!/bin/bash
# A stand-in: starts the tasks of an array at once, with what SLURM tells them.
for option; do case "$option" in
  --array=1-*) tasks=${option#--array=1-} ;;
  --export=ALL,*) set_for=${option#--export=ALL,} ;;
  --mem=*|--cpus-per-task=*) ;;
  -*) echo "unknown option $option" >&2; exit 1 ;;
  *) script=$option ;;
esac; done
for ((task = 1; task <= tasks; task++)); do
  env ${set_for//,/ } SLURM_ARRAY_TASK_ID=$task bash "$script" &
  echo $! >> tasks
done
echo "Submitted batch job 1"
wait
"""


@pytest.mark.slow
def test_the_script_of_slurm_is_an_array_of_workers(cloud: Cloud, tmp_path: Path) -> None:
    """Run on a login node it submits; run by SLURM it works. Its grammar is bash's."""
    settings = {k: v for k, v in cloud.settings.items() if k != "WORKER_IMAGE"}
    script = tmp_path / "workers.sh"
    options = ("--max-per-tier", "2", "--until-idle", "3", "--out", str(script))
    render("slurm", *options, settings=settings)
    subprocess.run(["/bin/bash", "-n", script], check=True)
    assert "#SBATCH --signal=B:TERM@60" in script.read_text()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(SBATCH)
    (tools / "sbatch").chmod(0o755)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", script, "512mi"],
        cwd=tmp_path,
        env=clean_environment() | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "tasks").read_text().split()) == 2  # of one tier
    assert read_status(cloud.run).succeeded, done.stderr


def test_the_script_of_slurm_runs_an_image_where_there_is_one() -> None:
    """By apptainer, whose `run` starts the image's entry point."""
    assert f"apptainer run docker://{SETTINGS['WORKER_IMAGE']} consumer" in render("slurm").stdout
