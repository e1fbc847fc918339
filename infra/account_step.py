"""Service accounts of a queue and their rights: compare with the desired ones, make, grant."""

from collections.abc import Sequence
from typing import ClassVar, Final

from infra.binding_set import BindingSet
from infra.changes import Action, Change
from infra.defaults import ACCOUNTS
from infra.desired import Binding
from infra.identities import Account, Identities
from infra.policies import Policies
from infra.rest_service import ConflictError, DeniedError, MissingError, RestService
from infra.rights import ACCOUNT_ADMIN, Need
from infra.steps import UNSEEN, Step
from runtime.google_endpoints import GoogleService

KIND: Final = "account"


class AccountsStep(Step):
    """Accounts, and their rights on everything but pools.

    Args:
        project: in which they are made.
        identities: accounts.
        bindings: of the accounts.
        policies: of the resources.
    """

    part = ACCOUNTS
    title = "accounts and rights"
    apis: ClassVar = frozenset({"iam.googleapis.com", "cloudresourcemanager.googleapis.com"})

    def __init__(
        self,
        project: str,
        identities: Identities,
        bindings: Sequence[Binding],
        policies: Policies,
    ) -> None:
        self._project = project
        self._accounts = identities.all()
        shorts = {one.member: one.short for one in self._accounts}
        self._bindings = BindingSet(policies, bindings, shorts)
        self._service = RestService(GoogleService.IAM)

    def compare(self) -> list[Change]:
        """Accounts, then their bindings by role."""
        return [*map(self._compare, self._accounts), *self._bindings.compare()]

    def apply(self, changes: Sequence[Change]) -> None:
        """Make missing accounts, then add missing bindings."""
        missing = {one.name for one in changes if one.kind == KIND and one.action is Action.CREATE}
        for account in self._accounts:
            if account.short in missing:
                self._create(account)
        self._bindings.grant()

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """Rights to make accounts, and to change the policies of resources."""
        new = any(one.kind == KIND and one.action is Action.CREATE for one in changes)
        project = f"projects/{self._project}"
        own = [Need("iam.serviceAccounts.create", ACCOUNT_ADMIN, project)] if new else []
        return [*own, *self._bindings.needs(self._project)]

    def notes(self) -> list[str]:
        """What does not hold at once."""
        return self._bindings.notes()

    def _compare(self, account: Account) -> Change:
        try:
            self._service.call("GET", f"v1/{account.resource}")
        except MissingError:
            if account.given_by:
                note = f"does not exist; it was named by {account.given_by}"
                return Change(Action.CONFLICT, KIND, account.short, note)
            return Change(Action.CREATE, KIND, account.short, account.title)
        except DeniedError as error:
            return Change(Action.SKIP, KIND, account.short, f"{UNSEEN}; {error}")
        return Change(Action.OK, KIND, account.short, account.title)

    def _create(self, account: Account) -> None:
        body = {"accountId": account.short, "serviceAccount": {"displayName": account.title}}
        try:
            self._service.call("POST", f"v1/projects/{self._project}/serviceAccounts", body)
        except ConflictError:  # also by this call, if its answer was lost
            return
