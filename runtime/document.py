"""JSON documents that commands print: models with one schema number, one naming, one time format.

Names are lower case with underscores; a name that ends in `_s` is seconds, in `_bytes` bytes.
Times are ISO 8601 in UTC and end in `Z`. What is not known is null, never 0.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runtime.text import json_text


class DocumentPart(BaseModel):
    """An object inside a document."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Document(BaseModel):
    """A document that a command prints with `--json`.

    Attributes:
        schema: number of the format; it changes only if a field goes or changes its meaning.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, alias="schema")

    def text(self) -> str:
        """The document as printable JSON, its schema first."""
        found = self.model_dump(mode="json", by_alias=True)
        return json_text({"schema": found.pop("schema"), **found}, indent=1)


def documents_text(documents: Iterable[Document]) -> str:
    """A list of documents as printable JSON."""
    return "[" + ",\n".join(document.text() for document in documents) + "]"


class ErrorDocument(Document):
    """What a command prints with `--json` when it ends with an error instead of a result.

    Attributes:
        error: what, and in which file or shard, in one line.
        hint: what to do next.
        exit_code: of the command.
    """

    error: str
    hint: str | None = None
    exit_code: int
