"""Three real nodes that hold one active policy, and clients that want permits."""

from __future__ import annotations

from typing import Any

from sim_cluster import WALL_START, SimCluster

from govraft.core.evidence.permit_file import ProvenPermit, prove_permit
from govraft.core.model.commands import PolicyActivate, PolicyPublish, Revoke, TargetKind
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS
from govraft.node.authorization import Authorization, Denied, Granted

SCHEMA = """
entity Group in [Group];
entity Agent in [Group];
entity Tool in [Group] = { level?: Long };
action "run", "stop" appliesTo { principal: [Agent], resource: [Tool], context: { n?: Long } };
"""
PERMIT = 'permit(principal, action == Action::"run", resource);'
REQUEST = Request('Agent::"a"', 'Action::"run"', 'Tool::"t"', {"n": 1})
PERMITS = 5


class PermitCluster(SimCluster):
    """`node-1` to `node-3`, all serving."""

    def __init__(self, nodes: int = 3, **options: Any) -> None:
        super().__init__(nodes, **options)
        self.run_until(self.all_serving)
        publish = PolicyPublish(
            **self.header("publish"), version=1, expected="", schema=SCHEMA, policies=(PERMIT,), removed=()
        )
        self.govern(self.envelope(publish, "policy-1"))
        digest = self.core("node-1").machine.policy_versions[-1].digest
        self.govern(self.envelope(PolicyActivate(**self.header("activate"), version=1, digest=digest), "policy-1"))

    def govern(self, envelope: bytes, name: str = "node-1") -> None:
        """Have a command effective, and all nodes serve again."""
        answers = self.submit(name, envelope)
        self.run_until(lambda: answers)
        assert not isinstance(answers[0], Exception), answers
        self.run_until(self.all_serving)

    def revoke(self, uid: str = 'Agent::"a"') -> bytes:
        command = Revoke(**self.header(f"revoke-{uid}"), kind=TargetKind.SUBJECT, id=uid, reason="x")
        return self.envelope(command, "operator-1")

    def core(self, name: str):
        return self.nodes[name].core

    @property
    def wall(self) -> int:
        return WALL_START + self.now_ns // NS_PER_MS

    def ask(self, name: str = "node-1", request: Request = REQUEST, timeout_ms: int = 2_000, **options: Any) -> list:
        """Begin; the list gets the answer."""
        answers: list[Granted | Denied] = []
        self.core(name).permits.authorize(Authorization(request, **options), timeout_ms, answers.append)
        return answers

    def authorize(self, name: str = "node-1", request: Request = REQUEST, timeout_ms: int = 2_000, **options: Any):
        answers = self.ask(name, request, timeout_ms, **options)
        self.run_until(lambda: answers, limit_ms=timeout_ms + 100)
        assert len(answers) == 1
        return answers[0]

    def prove(self, granted: Granted, **options: Any) -> ProvenPermit:
        """As somebody who holds nothing but the genesis."""
        return prove_permit(granted.file, self.genesis, at=options.pop("at", self.wall), **options)
