"""Every command's help ends with an example that the command understands, and a mistyped command is guessed."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from documents.test_lists import commands_of

from govraft.cli.examples import EXAMPLES
from govraft.cli.main import cli, run

KNOWN = {" ".join(words): command for words, command in commands_of(cli).items()}


def test_each_command_has_one() -> None:
    assert EXAMPLES.keys() == KNOWN.keys()


@pytest.mark.parametrize("words", sorted(EXAMPLES))
def test_the_command_takes_it(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("node-2", "node-4", "policies"):
        (tmp_path / name).mkdir()
    example = EXAMPLES[words]
    assert example.startswith(words)
    arguments = shlex.split(example.partition(" > ")[0])[len(words.split()) :]
    context = KNOWN[words].make_context(words, arguments)
    assert not context.args
    assert run([*words.split(), "--help"]) == 0
    assert f"Example:\n    govraft {example}\n" in capsys.readouterr().out


def test_an_example_that_the_command_does_not_take_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        KNOWN["check"].make_context("check", ["--explian"])


def test_a_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chekc", "a"]) == 2
    assert "No such command 'chekc'. Did you mean 'check'?" in capsys.readouterr().err
    assert run(["zzzz"]) == 2
    assert "Did you mean" not in capsys.readouterr().err
