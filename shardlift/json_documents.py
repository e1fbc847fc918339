"""Index of the JSON documents: what each command prints with `--json`."""

from typing import Final, NamedTuple

from infra.documents import (
    AutoscaleDocument,
    ChangesDocument,
    InstancesDocument,
    RenderDocument,
)
from memmodel.documents import EstimateDocument, FitDocument, LabelsDocument
from producer.documents.check_documents import (
    InitDocument,
    OffsetsDocument,
    ValidateDocument,
    VerifyDocument,
)
from producer.documents.demo_document import DemoDocument
from producer.documents.failure_documents import (
    DeadLetterDocument,
    DeadLettersDocument,
    DroppedDocument,
    ErrorsDocument,
    PublishedDocument,
)
from producer.documents.launch_documents import EnqueueDocument
from producer.documents.run_documents import (
    CancelDocument,
    ReportDocument,
    RunEntry,
    StatusDocument,
)
from producer.documents.volume_documents import SpecDocument, ThumbDocument, ViewDocument
from runtime.document import Document, ErrorDocument
from shardlift.doctor.finding import DoctorDocument
from shardlift.setting_table import SettingsDocument


class CommandDocument(NamedTuple):
    """What a command prints.

    Attributes:
        command: as it is typed after `shardlift`; empty: every command.
        model: of its document.
        is_list: the command prints a list of such documents.
    """

    command: str
    model: type[Document]
    is_list: bool = False


DOCUMENTS: Final = (
    CommandDocument("enqueue", EnqueueDocument),
    CommandDocument("status", StatusDocument),
    CommandDocument("runs", RunEntry, is_list=True),
    CommandDocument("errors", ErrorsDocument),
    CommandDocument("report", ReportDocument),
    CommandDocument("verify", VerifyDocument),
    CommandDocument("dead-letters list", DeadLettersDocument),
    CommandDocument("dead-letters show", DeadLetterDocument),
    CommandDocument("dead-letters requeue", PublishedDocument),
    CommandDocument("dead-letters drop", DroppedDocument),
    CommandDocument("replay", PublishedDocument),
    CommandDocument("cancel", CancelDocument),
    CommandDocument("demo", DemoDocument),
    CommandDocument("spec", SpecDocument),
    CommandDocument("init", InitDocument),
    CommandDocument("validate", ValidateDocument),
    CommandDocument("offsets", OffsetsDocument),
    CommandDocument("view", ViewDocument),
    CommandDocument("thumb", ThumbDocument),
    CommandDocument("memory estimate", EstimateDocument),
    CommandDocument("memory labels", LabelsDocument),
    CommandDocument("memory fit", FitDocument),
    CommandDocument("infra up", ChangesDocument),
    CommandDocument("infra check", ChangesDocument),
    CommandDocument("infra down", ChangesDocument),
    CommandDocument("infra stop", ChangesDocument),
    CommandDocument("infra start", ChangesDocument),
    CommandDocument("infra instances", InstancesDocument),
    CommandDocument("infra autoscale", AutoscaleDocument),
    CommandDocument("infra render", RenderDocument),
    CommandDocument("doctor", DoctorDocument),
    CommandDocument("settings", SettingsDocument),
    CommandDocument("", ErrorDocument),
)
"""In the order of the page."""
