"""A strict stand-in for Google's control planes, driven by Google's own discovery documents.

It refuses what no document allows: unknown paths, parameters and fields, wrong types, unknown
enums, fields that only the service sets (except in updates, whose bodies are what was read
before), and required fields that are missing. Answers are held to the documents, too. Each service
has a port of its own; programs find them by the variables that gcloud uses.

    with GoogleServer() as google:
        os.environ.update(google.environment())
        google.operations.polls = 2
        google.fail("workerPools.patch", how="lost")
"""

import re
from contextlib import ExitStack
from typing import Any, Final, Self

from tests.support.google_api.builds import Builds
from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.enabled_services import EnabledServices
from tests.support.google_api.faults import Action, Faults
from tests.support.google_api.http_service import HttpService, Seen
from tests.support.google_api.iam_policies import IamPolicies
from tests.support.google_api.jobs import Jobs
from tests.support.google_api.log_entries import LogEntries
from tests.support.google_api.monitoring import Monitoring
from tests.support.google_api.operations import Operations
from tests.support.google_api.projects import Projects
from tests.support.google_api.refusals import Refusal
from tests.support.google_api.repositories import Repositories
from tests.support.google_api.schemas import problems
from tests.support.google_api.service_accounts import ServiceAccounts
from tests.support.google_api.worker_pools import WorkerPools

VARIABLE: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_"
_DOCUMENTS: Final = {
    "RUN": ("run.v2",),
    "CLOUDBUILD": ("cloudbuild.v1",),
    "ARTIFACTREGISTRY": ("artifactregistry.v1",),
    "IAM": ("iam.v1",),
    "CLOUDRESOURCEMANAGER": ("cloudresourcemanager.v1", "cloudresourcemanager.v3"),
    "SERVICEUSAGE": ("serviceusage.v1",),
    "LOGGING": ("logging.v2",),
}


class GoogleServer:
    """The running services: what they hold, what they saw, and faults to order.

    Attributes:
        seen: requests in the order of their answers.
        mistakes: answers of this server that its own documents do not allow.
        operations, policies: of all services.
        worker_pools, jobs, builds, repositories, logs, accounts, projects, services, monitoring:
            what the services hold.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.mistakes: list[str] = []
        self.operations = Operations()
        self.policies = IamPolicies()
        self.worker_pools = WorkerPools(self.operations, self.policies)
        self.jobs = Jobs(self.operations, self.policies)
        self.repositories = Repositories(self.operations, self.policies)
        self.builds = Builds(self.repositories.push)
        self.logs = LogEntries()
        self.accounts = ServiceAccounts(self.policies)
        self.projects = Projects(self.policies)
        self.services = EnabledServices(self.operations)
        self.monitoring = Monitoring()
        self.handlers: Handlers = self._all_handlers()
        self.faults = Faults()
        self._https = {name: HttpService(self, files) for name, files in _DOCUMENTS.items()}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for server in self._https.values():
            self._stack.enter_context(server)
        self._stack.enter_context(self.monitoring)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()
        assert not self.mistakes, self.mistakes

    def url(self, service: str) -> str:
        """Where a service is, by the end of its variable's name: `RUN`."""
        return self.monitoring.url if service == "MONITORING" else self._https[service].url

    def environment(self) -> dict[str, str]:
        """Variables by which programs find the services."""
        names = [*self._https, "MONITORING"]
        return {VARIABLE + name: self.url(name) for name in names}

    def count(self, pattern: str, code: int | None = None) -> int:
        """How many requests came so far whose method id holds the pattern."""
        return sum(
            bool(re.search(pattern, seen.method)) and code in {None, seen.code}
            for seen in list(self.seen)
        )

    def writes(self) -> list[Seen]:
        """Requests that changed something."""
        verbs = r"\.(create|patch|delete|setIamPolicy|run|submit|batchEnable|enable|cancel)$"
        return [s for s in list(self.seen) if re.search(verbs, s.method) and s.code == 200]

    def fail(self, pattern: str, times: int = 1, how: int | str = 503) -> None:
        """Let the next requests go wrong whose method id holds the pattern.

        Args:
            pattern: a regular expression.
            times: how many of them.
            how: a status; 409 is that of a stale etag; or "reset" (hang up before the work) or
                "lost" (after it).
        """
        self.faults.add(pattern, times, how)

    def heal(self) -> None:
        """No faults and actions from now on."""
        self.faults.clear()

    def before(self, pattern: str, action: Action, times: int = 1) -> None:
        """Do something just before the next calls of methods whose id holds the pattern.

        For races: what comes between the reading and the writing of another.
        """
        self.faults.add_action(pattern, times, action)

    def answer(self, call: Call) -> dict[str, Any]:
        """The answer to a call, held to its document."""
        self.faults.act(call)
        handler = self.handlers.get(call.method.id)
        if handler is None:
            raise Refusal(501, f"{call.method.id} is not served here")
        found = handler(call)
        if call.method.response:
            wrong = problems(
                call.method.schemas, call.method.response, found, output_allowed=True, whole=False
            )
            self.mistakes += [f"{call.method.id}: {problem}" for problem in wrong]
        return found

    def _all_handlers(self) -> Handlers:
        return {
            **self.worker_pools.handlers(),
            **self.jobs.handlers(),
            **self.builds.handlers(),
            **self.logs.handlers(),
            **self.repositories.handlers(),
            **self.accounts.handlers(),
            **self.projects.handlers(),
            **self.services.handlers(),
            **self.operations.handlers(
                "run.projects.locations",
                "artifactregistry.projects.locations",
                "serviceusage",
            ),
        }
