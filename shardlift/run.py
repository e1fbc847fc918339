"""A run in Python: how far it is, its end, its checks, its picture."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from delivery.broker import open_broker
from delivery.ledger import run as ledger
from delivery.ledger.shard_status import ShardState, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.progress_display import Display, display
from memmodel.run_context import tier_chooser
from memmodel.tiers import parse_size
from producer.documents.check_documents import VerifyDocument
from producer.documents.failure_documents import ErrorsDocument, FailureGroupPart
from producer.documents.run_documents import StatusDocument, status_document
from producer.expected_volume import expected_of_runs
from producer.failure_groups import failures_of, group_failures
from producer.launch import republish, work_and_wait
from producer.report.facts import read_facts
from producer.report.page import page
from producer.run_lookup import broker_to_look
from producer.trouble_note import last_trouble
from producer.verification import Checks, verify_volume
from runtime import log, log_events, settings
from runtime.errors import ShardliftError
from runtime.storage import absolute
from shardlift.html import run_html
from shardlift.notebook import NotebookDisplay, in_notebook
from shardlift.volume_view import VolumeView

_log = log.get()


class RunFailedError(ShardliftError):
    """A run ended without all of its shards; `status` and `errors` of the run say which."""


class Run:
    """A run of a volume.

    Attributes:
        notes: of its launch, for people.
    """

    def __init__(
        self,
        run: ledger.Run,
        *,
        notes: Sequence[str] = (),
        lease_s: int = settings.DEFAULT_LEASE_S,
    ) -> None:
        self._run = run
        self._lease_s = lease_s
        self.notes = tuple(notes)

    @property
    def id(self) -> str:
        """Name of the run."""
        return self._run.run_id

    @property
    def uri(self) -> str:
        """URI of its folder."""
        return self._run.uri

    @property
    def dest(self) -> str:
        """URL of the volume."""
        return self._run.info.dest

    @property
    def status(self) -> StatusDocument:
        """How far the run is, read now; what `shardlift status --json` prints."""
        ledger_status = read_status(self._run)
        broker, why = broker_to_look(self._run)
        if broker is None:
            progress = read_progress(self._run, None, ledger_status, now(), tier_chooser(self._run))
        else:
            with broker:
                progress = read_progress(
                    self._run, broker, ledger_status, now(), tier_chooser(self._run)
                )
        return status_document(self._run, ledger_status, progress, queue_unknown=why)

    @property
    def errors(self) -> ErrorsDocument:
        """Why shards failed, read now; what `shardlift errors --json` prints."""
        status = read_status(self._run)
        found = (self._run.failures.get(failure.key) for failure in failures_of(status))
        records = tuple(record for record in found if record is not None)
        receipts = {key: self._run.receipts.get(key) for key in status.incomplete}
        return ErrorsDocument(
            run=self.uri,
            run_id=self.id,
            groups=tuple(map(FailureGroupPart.of, group_failures(records))),
            failed=records,
            blocked=tuple(status.keys(ShardState.BLOCKED)),
            incomplete={key: one.bad_chunks if one else () for key, one in receipts.items()},
            trouble=last_trouble(self._run, status),
        )

    def wait(
        self,
        progress: bool | Callable[[Progress], None] = False,
        *,
        memory: str | None = None,
        cpus: int | None = None,
    ) -> StatusDocument:
        """Stay until the run has ended; on the embedded queue its workers run meanwhile.

        An interrupt stops workers and leaves the run as it is: the same call goes on.

        Args:
            progress: show progress, or call this with it each time it is read.
            memory: that workers may use here, such as `16GiB`; None: what is free.
            cpus: workers at once here; None: as many as there are processors.

        Returns:
            The status at the end.

        Raises:
            RunFailedError: shards failed, are blocked, or lack chunks.
            ShardliftError: the run was cancelled, or stalls without workers.
        """
        if not read_status(self._run).ended:
            self._work(progress, memory, cpus)
        found = self.status
        if not found.succeeded:
            raise self._failed(found)
        return found

    def verify(
        self,
        *,
        scales: Iterable[int] | None = None,
        values: int = 0,
        deep: bool = False,
        seed: int = 0,
        source: str | os.PathLike[str] | None = None,
    ) -> VerifyDocument:
        """Check the volume, as `shardlift verify` does: against all its runs and its export.

        Args:
            scales: None for all that runs make.
            values: number of random chunks to compare with their source, every voxel.
            deep: read every byte of every shard file.
            seed: of the random choice.
            source: export to compare with; None: those that the runs converted from.

        Returns:
            The findings; `ok` if there are none.
        """
        given = None if source is None else absolute(os.fspath(source))
        expected = expected_of_runs(self._run.state_url, self.dest, None, given)
        chosen = None if scales is None else tuple(scales)
        return verify_volume(expected, Checks(chosen, values, deep, seed)).document(self.uri)

    def view(
        self,
        *,
        voxel: tuple[int, int, int] | None = None,
        port: int | None = None,
        name: str | None = None,
    ) -> VolumeView:
        """Show the volume in Neuroglancer, from servers of this process, until `close`.

        Args:
            voxel: of scale 0, to begin at; None: inside a common segment.
            port: of the viewer; files are served on the next one. None: free ones.
            name: of the layer; None: the last part of the destination.
        """
        return VolumeView(self.dest, voxel=voxel, port=port, name=name)

    def report(self, out: str | os.PathLike[str] | None = None) -> str:
        """The run as one HTML page, also written to `out`."""
        text = page(read_facts(self._run, read_status(self._run), now()))
        if out is not None:
            Path(out).write_text(text, encoding="utf-8")
        return text

    def cancel(self, why: str = "cancelled by hand") -> bool:
        """Cancel the run unless it has ended; whether this call did it."""
        return not read_status(self._run).ended and self._run.cancel(why)

    def __repr__(self) -> str:
        return f"<shardlift.Run {self.id} of {self.dest}>"

    def _repr_html_(self) -> str:
        return run_html(self.status, self.dest)

    def _work(
        self,
        progress: bool | Callable[[Progress], None],
        memory: str | None,
        cpus: int | None,
    ) -> None:
        """Run a fleet, or watch other workers, until the run has ended."""
        if memory is not None:
            parse_size(memory)
        given = {"--lease": str(self._lease_s), "--memory": memory, "--cpus": cpus and str(cpus)}
        options = [text for name, value in given.items() if value for text in (name, value)]
        run = self._run
        with open_broker(run.queue, run.info.tiers, self._lease_s) as broker:
            broker.add_state_root(run.state_url)
            republish(run, broker)
            work_and_wait(run, broker, options, _display_of(progress), _note)

    def _failed(self, found: StatusDocument) -> RunFailedError:
        lost = sum(one.failed + one.given_up + one.blocked for one in found.scales)
        failed = failures_of(read_status(self._run))
        reason = f": {failed[0].key}: {failed[0].reason}" if failed else ""
        lacks = f"{len(found.incomplete):,} of its shards lack chunks" if found.incomplete else ""
        without = f"without {lost:,} of its shards{reason}" if lost else ""
        return RunFailedError(
            f"run {self.id} ended {without or lacks or 'cancelled'}",
            hint="run.errors has the reasons; `shardlift dead-letters requeue` makes them again",
        )


class _Callback:
    """Display that hands progress to a function."""

    def __init__(self, function: Callable[[Progress], None]) -> None:
        self._function = function

    def show(self, progress: Progress) -> None:
        """Show this progress."""
        self._function(progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def _display_of(progress: bool | Callable[[Progress], None]) -> Callable[[str], Display]:
    """Function that makes the display: a cell's output in a notebook, else as the commands do."""
    if callable(progress):
        return lambda _: _Callback(progress)
    if not progress:
        return lambda _: _Callback(lambda _: None)
    return NotebookDisplay if in_notebook() else display


def _note(text: str) -> None:
    _log.warning(log_events.RUN_NOTE, text=text)
