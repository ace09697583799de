"""The number of the rules: how it rises, what it changes, and where a machine stops."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.machine import machine as machine_module
from govraft.core.machine.machine import Machine
from govraft.core.machine.rules import rules_of_records
from govraft.core.model.authority import Role
from govraft.core.model.commands import ClusterRules, ProposalOpen, Quarantine, TargetKind
from govraft.core.model.genesis import Genesis
from govraft.core.model.rules import RULES_NEWEST
from govraft.errors import DecodeError, InvariantViolation
from govraft.testing.sample import SampleCluster

LIST = {"kind": TargetKind.SUBJECT, "targets": ('Agent::"a"', 'Agent::"b"'), "reason": "why"}


def raise_to(bench: Any, number: int) -> str:
    return str(bench.do(bench.command(ClusterRules, to=number), "rita", "ruth"))


def test_a_genesis_without_a_number_means_1(bench: Any) -> None:
    assert bench.machine.rules == bench.machine.genesis.rules == 1
    assert b"rules" not in bench.machine.genesis.encode()


def test_a_genesis_names_the_first_number() -> None:
    genesis = SampleCluster(rules=2).genesis
    assert Machine(genesis).rules == 2
    assert Genesis.decode(genesis.encode()) == genesis


@pytest.mark.parametrize(
    ("number", "says"), [(1, "another spelling"), (0, "rules"), (RULES_NEWEST + 1, "update govraft")]
)
def test_a_genesis_of_other_rules_is_refused(number: int, says: str) -> None:
    text = SampleCluster(rules=2).genesis.encode().replace(b'"rules":2', b'"rules":%d' % number)
    with pytest.raises(DecodeError, match=says):
        Genesis.decode(text)


def test_only_the_next_number_follows(bench: Any) -> None:
    assert [raise_to(bench, number) for number in (1, 3, 2)] == ["rules_conflict", "rules_conflict", "applied"]
    assert bench.machine.rules == 2
    assert raise_to(bench, 2) == "rules_conflict"
    assert rules_of_records(bench.machine.copy_records(), bench.machine.genesis) == 2


def test_roots_raise_it(bench: Any) -> None:
    command = bench.command(ClusterRules, to=2)
    assert bench.do(command, "olga", "pat", "rita") == "threshold_unmet"
    assert bench.machine.rules == 1


def test_a_list_of_targets_needs_rules_2(bench: Any) -> None:
    assert bench.do(bench.command(Quarantine, **LIST)) == "payload_malformed"
    body = {"kind": "subject", "targets": list(LIST["targets"]), "reason": "why"}
    times = {"author": "olga", "epoch": 1, "expires": bench.machine.time + 1_000_000}
    opened = bench.command(ProposalOpen, command="quarantine", body=body, sequence=1, **times)
    assert bench.do(opened, "olga") == "proposal_invalid"
    assert raise_to(bench, 2) == "applied"
    assert bench.do(bench.command(Quarantine, **LIST)) == "applied"
    opened = bench.command(ProposalOpen, command="quarantine", body=body, sequence=2, **times)
    assert bench.do(opened, "olga") == "applied"


def test_nothing_is_applied_by_rules_that_are_not_known(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "RULES_NEWEST", 1)
    assert raise_to(bench, 2) == "applied", "the step itself is known under every number"
    root = bench.machine.root
    assert not bench.machine.knows_rules
    envelope = bench.cluster.sign(bench.command(Quarantine, kind=TargetKind.SUBJECT, id='A::"1"', reason="r"), "olga")
    examined = bench.machine.examine(envelope, bench.machine.time)
    assert examined.code == "internal_error"
    assert "update govraft" in examined.detail
    with pytest.raises(InvariantViolation, match="update govraft"):
        bench.machine.apply(b"anything")
    assert bench.machine.root == root


def test_a_record_that_is_no_number_is_refused() -> None:
    genesis = SampleCluster().genesis
    assert rules_of_records({"domains": {}}, genesis) == 1
    for record in (b"\xa1x", b"\xc3", b""):
        with pytest.raises(DecodeError):
            rules_of_records({"domains": {"rules": record}}, genesis)


def test_the_role_is_root() -> None:
    assert Role.ROOT.value in SampleCluster().genesis.thresholds
