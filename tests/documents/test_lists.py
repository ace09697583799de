"""What the documents list is what the code has: commands with their fields, codes, frames, CLI commands."""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec
import pytest

import govraft
from govraft.adapters.engine import frames
from govraft.cli.main import cli
from govraft.cli.node import main as node
from govraft.core.model.commands import COMMANDS
from govraft.core.model.commands.header import CommandHeader
from govraft.core.model.outcome import Rejection

ROOT = Path(govraft.__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FORMATS = (DOCS / "formats.md").read_text(encoding="utf-8")
COMMAND_PAGE = (DOCS / "commands.md").read_text(encoding="utf-8")
HEADER = {field.encode_name for field in msgspec.structs.fields(CommandHeader)}


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line is `head`."""
    lines = text[text.index(head) :].splitlines()[2:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return table


def quoted(cell: str) -> list[str]:
    """The names in backticks that stand by themselves, not within brackets."""
    while (bare := re.sub(r"\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)", "", cell)) != cell:
        cell = bare
    return re.findall(r"`([^`]+)`", cell)


def written_commands() -> dict[str, tuple[set[str], set[str]]]:
    """The commands of formats.md: all fields, and those that may be left out."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for names, _, cell in rows(FORMATS, "| command | signed by | fields |"):
        family = ""
        fields, optional = set(quoted(cell)), set(re.findall(r"`([^`]+)`\?", cell))
        for other in fields & COMMANDS.keys():
            fields |= found[other][0]
            fields.discard(other)
            optional |= found[other][1]
        optional -= {name for name in fields if f"`{name}` is required" in cell}
        for name in quoted(names):
            family = family if name.startswith(".") else name.partition(".")[0]
            found[family + name if name.startswith(".") else name] = fields, optional
    return found


def test_every_command_is_written_down_with_its_fields() -> None:
    written = written_commands()
    assert written.keys() == COMMANDS.keys()
    for name, (kind, _) in COMMANDS.items():
        fields = {field.encode_name: field.required for field in msgspec.structs.fields(kind)}
        assert written[name][0] == fields.keys() - HEADER, name
        if name not in ONE_OF_TWO:
            assert written[name][1] == {field for field, is_required in fields.items() if not is_required}, name


ONE_OF_TWO = {"quarantine", "release", "isolate", "revoke", "invalidate"}
"""They take `id` or `targets`, so each may be left out, and the page says it in words."""


def test_every_command_has_its_signer_and_its_codes_on_the_page_of_commands() -> None:
    told = {name for row in re.findall(r"^\| (`.*?) \|", COMMAND_PAGE, re.MULTILINE) for name in quoted(row)}
    families = {name.partition(".")[0] for name in told}
    short = {f"{family}{name}" for name in told if name.startswith(".") for family in families}
    assert COMMANDS.keys() <= told | short


def test_every_code_of_a_rejection_is_written_down_and_no_other() -> None:
    told = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", COMMAND_PAGE)) | {"expired", "internal_error"}
    known = {str(code) for code in Rejection}
    assert known <= told | set(re.findall(r"`([a-z_]+)`", FORMATS))


def test_every_frame_of_the_engine_is_written_down_with_its_fields() -> None:
    written = {name: quoted(fields) for names, fields in rows(FORMATS, "| type | fields |") for name in quoted(names)}
    kinds = frames.Message.__args__
    assert written == {
        kind.__struct_config__.tag: [field.encode_name for field in msgspec.structs.fields(kind)] for kind in kinds
    }


def commands_of(group: click.Command, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """All commands of the CLI by their words."""
    if not isinstance(group, click.Group):
        return {words: group}
    context = click.Context(group)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= commands_of(command, (*words, name))
    return found


@pytest.mark.parametrize("page", ["README.md", *sorted(path.name for path in DOCS.glob("*.md"))])
def test_every_command_line_in_the_documents_exists_with_its_options(page: str) -> None:
    text = ((ROOT if page == "README.md" else DOCS) / page).read_text(encoding="utf-8")
    for program, line in re.findall(
        r"(?<![\w/.-])(govraft(?:-node)?) (?!import )([a-z][^`\n]*)", "\n".join(code(text))
    ):
        known, words = PROGRAMS[program], line.split()
        if words[0] in NOT_BUILT:
            continue
        path = next((tuple(words[:size]) for size in (3, 2, 1) if tuple(words[:size]) in known), None)
        assert path is not None, f"{page}: {program} {line}"
        options = {
            option for parameter in known[path].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", re.split(r"[#&|;]", line)[0]))
        assert used <= options | {"--help"}, f"{page}: {program} {line}"


PROGRAMS = {"govraft": commands_of(cli), "govraft-node": commands_of(node)}
NOT_BUILT = {"exec"}
"""Commands that the pages name, saying that they are not there yet."""


def code(text: str) -> list[str]:
    """What stands in code blocks and in backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*blocks, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest))]
