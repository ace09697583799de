"""What a node may say of a command by its own state."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.machine.machine import Machine
from govraft.core.model import limits
from govraft.core.model.commands import Quarantine, TargetKind
from govraft.core.model.reasons import Reason
from govraft.node.gate import Standing
from govraft.node.submissions.judging import Advice, Judge
from govraft.testing.sample import CREATED, SampleCluster

OF_TWO: dict[str, Any] = {"kind": TargetKind.SUBJECT, "targets": ('Agent::"a"', 'Agent::"b"'), "reason": "why"}


class Clock:
    def wall(self) -> int:
        return CREATED + 1


@pytest.mark.parametrize(("rules", "advice"), [(1, Advice.UNSURE), (2, Advice.PROPOSE)])
def test_what_later_rules_know_is_not_malformed_for_good(rules: int, advice: Advice) -> None:
    """A node that was cut off while the rules were raised does not know that it is out of date."""
    cluster = SampleCluster(rules=rules)
    judge = Judge(Machine(cluster.genesis), Clock(), lambda _: Standing(None, Reason.LEASE_EXPIRED, "cut off"))
    envelope = cluster.sign(Quarantine(**cluster.header(), **OF_TWO), "olga")
    assert judge.judge(envelope).advice is advice
    assert judge.judge(envelope[:-1]).advice is Advice.REFUSE
    # So is the length of an envelope, whatever is in it.
    of_one = {"kind": TargetKind.SUBJECT, "id": 'Agent::"a"', "reason": "why"}
    long = cluster.sign(Quarantine(**cluster.header(), **of_one), "olga")
    assert judge.judge(long[:-1] + b" " * limits.ENVELOPE_BYTES_RULES_1 + long[-1:]).advice is advice
