import pytest
from simulation.arena import Arena

from govraft.core.model.commands import PolicyActivate, PolicyPublish
from govraft.core.model.request import Request

SCHEMA = """
entity Group in [Group];
entity Agent in [Group];
entity Tool in [Group] = { level?: Long };
action "run", "stop" appliesTo { principal: [Agent], resource: [Tool], context: { n?: Long } };
"""
PERMIT = 'permit(principal, action == Action::"run", resource);'
REQUEST = Request('Agent::"a"', 'Action::"run"', 'Tool::"t"')


class GovernedArena(Arena):
    """Nodes `a`, `b`, `c` follow `a`, hold one active policy that permits `run`, and may all allow."""

    def __init__(self, *policies: str) -> None:
        super().__init__()
        self.step_ms = 5
        self.govern(*(policies or (PERMIT,)))
        self.lead("a", "b", "c")
        self.step(500)
        assert self.all_serving()

    def govern(self, *policies: str, schema: str = SCHEMA) -> None:
        machine = self.nodes["a"].core.machine
        version = len(machine.policy_versions) + 1
        publish = PolicyPublish(
            **self.header(f"publish-{version}"),
            version=version,
            expected=machine.policy_versions[-1].digest if version > 1 else "",
            schema=schema,
            policies=policies,
            removed=(),
        )
        self.commit_envelopes(self.envelope(publish, "policy-1"))
        self.step(10)
        activate = PolicyActivate(
            **self.header(f"activate-{version}"), version=version, digest=machine.policy_versions[-1].digest
        )
        self.commit_envelopes(self.envelope(activate, "policy-1"))
        self.step(10)
        assert machine.active_policies.version == version

    def core(self, name: str = "b"):
        return self.nodes[name].core

    def check(self, request: Request = REQUEST, name: str = "b", **options):
        return self.core(name).check(request, **options)


@pytest.fixture
def sim() -> GovernedArena:
    return GovernedArena()


@pytest.fixture
def make_sim():
    return GovernedArena
