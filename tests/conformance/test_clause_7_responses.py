"""RFC-EG-028 clause 7: what is commanded against a subject is answered so by every node, once it is effective; and
nothing that can be set has a node answer otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conformance.watching import watched
from integration.cluster_harness import Cluster, eventually

from govraft.cli.main import cli
from govraft.cli.node import main as node_main
from govraft.core.model.commands import Invalidate, Isolate, Quarantine, Revoke, TargetKind
from govraft.errors import AvailabilityError, ConfigError
from govraft.node.config import load_config

pytestmark = pytest.mark.cluster

RESPONSES = [
    pytest.param(Quarantine, "quarantined", marks=pytest.mark.clause("7 quarantine")),
    pytest.param(Isolate, "isolated", marks=pytest.mark.clause("7 isolate")),
    pytest.param(Revoke, "revoked", marks=pytest.mark.clause("7 revoke")),
    pytest.param(Invalidate, "invalidated", marks=pytest.mark.clause("7 invalidate")),
]

SWITCH = re.compile(
    r"allow|optimis|stale|force|skip|unsafe|insecure|permissive|soft|fail.?open|bypass|no.?verify|trust"
)
NOT_SWITCHES = {"allow_expires", "trusted"}
SWITCHES_THAT_NARROW = {"--trusted"}
"""What an offline proof must link to; with `none` it is proven by the genesis alone, as without the option."""


@pytest.mark.clause("2 enforcement requirements")
@pytest.mark.clause("7 deny")
@pytest.mark.parametrize(("kind", "reason"), RESPONSES)
def test_every_node_denies_with_the_reason_at_once(whole: Cluster, kind: type, reason: str) -> None:
    agent = f"is-{reason}"
    eventually(lambda: all(node.check(agent) for node in whole.nodes.values()), whole.describe)
    command = kind(kind=TargetKind.SUBJECT, id=f'Agent::"{agent}"', reason="test", **whole.header())
    with watched(agent, list(whole.nodes.values())) as watch:
        receipt = whole.submit(whole.seal(command, "operator-1"))
        for node in whole.nodes.values():
            verdict = node.check(agent)
            assert (bool(verdict), str(verdict.reason)) == (False, reason)
            assert node.check("another", at_least=receipt.certified_seq)
    assert watch.asked


@pytest.mark.clause("7 synchronize-before-execute")
@pytest.mark.clause("7 no optimistic execution")
@pytest.mark.clause("7 no unresolved execution continuation")
def test_a_node_that_cannot_synchronize_never_executes_on_what_it_has(whole: Cluster) -> None:
    """The command is in its log, and may be applied; that the others have certified it, it cannot know."""
    cut = whole.others(whole.leader())[0]
    whole.links.cut(cut.id)
    eventually(lambda: not cut.check("anybody"), whole.describe)
    receipt = whole.submit(whole.revoke("unresolved"), node=whole.others(cut)[0].id)
    for _ in range(50):
        verdict = cut.check("anybody")
        assert not verdict
        assert not cut.check("anybody", at_least=receipt.certified_seq)
    with pytest.raises(AvailabilityError):
        cut.client.submit(whole.quarantine("by-the-cut"), timeout=0.3)
    whole.links.heal()
    verdict = eventually(lambda: cut.check("anybody"), whole.describe)
    assert verdict.seq >= receipt.certified_seq, "its first allow is on the state that it had missed"
    whole.wait_allow()


def options(command: click.Command, path: str = "") -> Iterator[str]:
    """Every option of a program and of all below it."""
    for parameter in command.params:
        yield from (f"{path} {name}" for name in parameter.opts if name.startswith("-"))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from options(found, f"{path} {name}")


@pytest.mark.clause("2 fail-closed by default")
@pytest.mark.clause("7 no optimistic execution")
@pytest.mark.clause("7 no soft-fail synchronization")
@pytest.mark.clause("7 no quorum bypass")
def test_no_switch_makes_a_failure_an_allow(whole: Cluster, tmp_path: Path) -> None:
    """Neither program has one, and a configuration that names one is refused."""
    found = [*options(cli, "govraft"), *options(node_main, "govraft-node")]
    assert len(found) > 50
    names = {option.rpartition(" ")[2] for option in found}
    assert {name for name in names if SWITCH.search(name)} == SWITCHES_THAT_NARROW
    text = whole.nodes["node-1"].config.read_text()
    tables = ["", *re.findall(r"^\[(\w+)\]$", text, re.MULTILINE), "gate"]
    for name in ("fail_open", "optimistic", "soft_fail", "allow_stale", "quorum", "skip_verification"):
        for table in tables:
            changed = tmp_path / "node.toml"
            changed.write_text(_with(text, table, f"{name} = true\n"))
            with pytest.raises(ConfigError) as refused:
                load_config(changed)
            assert name in str(refused.value) or table in str(refused.value)


def _with(text: str, table: str, line: str) -> str:
    header = f"[{table}]\n"
    if not table:
        return line + text
    return text.replace(header, header + line) if header in text else f"{text}\n{header}{line}"
