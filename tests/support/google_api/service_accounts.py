"""Service accounts of IAM."""

import itertools
import re
from typing import Final

from tests.support.google_api.calls import Call, Handlers
from tests.support.google_api.iam_policies import IamPolicies
from tests.support.google_api.refusals import Refusal
from tests.support.google_api.resources import Collection, Resource, page

PREFIX: Final = "iam.projects.serviceAccounts"
_ID: Final = re.compile(r"[a-z][-a-z0-9]{4,28}[a-z0-9]")


class ServiceAccounts:
    """Service accounts, by full name."""

    def __init__(self, policies: IamPolicies) -> None:
        self.found = Collection()
        self._policies = policies
        self._numbers = itertools.count(100_000_000_000_000_000_000)

    def handlers(self) -> Handlers:
        """By method id."""
        return {
            f"{PREFIX}.create": self._create,
            f"{PREFIX}.get": lambda call: _shown(self.found.get(call.name)),
            f"{PREFIX}.list": self._list,
            f"{PREFIX}.delete": self._delete,
            **self._policies.handlers(PREFIX, self.found.__contains__),
        }

    def _create(self, call: Call) -> Resource:
        account_id, project = call.body["accountId"], call.name.removeprefix("projects/")
        if not _ID.fullmatch(account_id):
            raise Refusal(400, f"accountId: {account_id!r} has not 6 to 30 lower-case characters")
        email = f"{account_id}@{project}.iam.gserviceaccount.com"
        account = {
            **call.body.get("serviceAccount", {}),
            "email": email,
            "projectId": project,
            "uniqueId": str(next(self._numbers)),
        }
        return _shown(self.found.add(f"{call.name}/serviceAccounts/{email}", account))

    def _list(self, call: Call) -> Resource:
        found = [_shown(one) for one in self.found.below(call.name, "serviceAccounts")]
        return page(call, "accounts", found)

    def _delete(self, call: Call) -> Resource:
        self.found.remove(call.name)
        return {}


def _shown(account: Resource) -> Resource:
    """The etag of an account is out of use."""
    return {key: value for key, value in account.items() if key != "etag"}
