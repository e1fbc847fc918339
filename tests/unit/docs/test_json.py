"""docs/json.md is made from the models, and every command that tells something has one."""

import typer
from typer.main import get_command

from delivery.progress import Progress
from producer.documents.run_documents import StatusDocument
from shardlift.__main__ import app
from shardlift.json_documents import DOCUMENTS
from tests.support.json_page import JSON_MD, json_md

WITHOUT = {  # run until they are stopped
    "work",
    "fleet",
}


def test_the_page_is_the_models() -> None:
    """`python -m tests.support.json_page` writes it anew."""
    assert JSON_MD.read_text() == json_md()


def test_status_has_all_of_the_progress() -> None:
    """A field that is added there is in the document, too."""
    assert Progress.model_fields.keys() <= StatusDocument.model_fields.keys()


def test_every_command_has_a_document() -> None:
    """Those with --json are in the page; those without have a reason."""
    named = {one.command for one in DOCUMENTS if one.command}
    found = dict(_commands(get_command(app)))
    assert {name for name, has_json in found.items() if has_json} == named
    assert {name for name, has_json in found.items() if not has_json} <= WITHOUT


def _commands(group: object, path: str = "") -> list[tuple[str, bool]]:
    context = typer.Context(group)  # type: ignore[arg-type]  # any command
    found: list[tuple[str, bool]] = []
    for name in group.list_commands(context):  # type: ignore[attr-defined]  # a group
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        if hasattr(command, "list_commands"):
            found += _commands(command, f"{path}{name} ")
        else:
            options = {option for one in command.params for option in one.opts}
            found.append((f"{path}{name}", "--json" in options))
    return found
