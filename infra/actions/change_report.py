"""Report of changes to a queue's resources, as text or as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.changes import Change, summary, table
from infra.documents import changes_document
from runtime import cli


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """Changes of resources that were made, or would be.

    Attributes:
        queue: URL.
        changes: in order.
        notes: for people.
        dry_run: nothing was made.
        then: the next command, if it is known.
    """

    queue: str
    changes: Sequence[Change]
    notes: Sequence[str] = ()
    dry_run: bool = False
    then: str | None = None

    def print(self, *, json: bool, brief: bool = False) -> None:
        """Print a line for each change, and how many there are.

        Args:
            json: print one document.
            brief: leave the lines out, which a session showed.
        """
        if json:
            self._print_document()
            return
        done = not self.dry_run
        for note in self.notes:
            cli.print_stderr(f"note: {note}")
        if self.changes and not brief:
            cli.print_lines(table(self.changes, done=done))
        cli.print_line(f"{self.queue}: {summary(self.changes, done=done) or 'nothing there'}")
        if self.then and done:
            cli.print_line(f"next: {self.then}")

    def _print_document(self) -> None:
        document = changes_document(
            self.queue, self.changes, self.notes, dry_run=self.dry_run, then=self.then
        )
        cli.print_document(document)
