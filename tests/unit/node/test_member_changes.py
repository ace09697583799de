"""A change of the electorate is proposed only while those who must certify it answer."""

import pytest
from changing_electorate import ROOT, ChangingArena, text

from govraft.adapters.node_key import NodeIdentity
from govraft.core.codec.note import Checkpoint, cosigned_message
from govraft.core.convergence.messages import NONCE_BYTES, Ack, Kind, sign
from govraft.core.model.commands import MemberEvict, ProposalOpen
from govraft.core.model.genesis import QuorumRule
from govraft.errors import AvailabilityError


def with_silent(nodes: int, *silent: str, **options) -> ChangingArena:
    """A leader whose followers have all acked, until some of them were lost."""
    sim = ChangingArena(nodes, **options)
    sim.lead(*sim.nodes)
    sim.step(400)
    assert sim.all_serving()
    sim.lead(*(name for name in sim.nodes if name not in silent))
    sim.step(1_000)
    return sim


def refusal(sim: ChangingArena, envelope: bytes) -> str | None:
    """What the leader says against a change; None if it proposes it."""
    answers: list = []
    sim.core("a").submit(envelope, wait="effective", timeout_ms=3000, done=answers.append)
    sim.core("a").settle()
    if not answers:
        return None
    assert isinstance(answers[0], AvailabilityError)
    assert (answers[0].code, answers[0].definite) == ("voters_silent", True)
    return str(answers[0])


def other_key(name: str) -> NodeIdentity:
    return NodeIdentity.create(name)


def rotate(sim: ChangingArena, name: str) -> bytes:
    return sim.rotate(name, other_key(name))


def add(sim: ChangingArena, name: str) -> bytes:
    sim.enlist(name)
    return sim.add(name)


def evict(sim: ChangingArena, name: str) -> bytes:
    identity, cluster = sim.nodes[name].identity, bytes.fromhex(sim.genesis.cluster_id)

    def ack(root: bytes) -> str:
        body = Checkpoint(sim.genesis.origin, 1, root).encode()
        said = Ack(
            probe=b"p" * 32,
            round=1,
            seq=1,
            root=root,
            node=name,
            nonce=b"n" * NONCE_BYTES,
            outstanding=(),
            time_s=1,
            cosignature=identity.sign(cosigned_message(body, 1)),
        )
        return text(sign(Kind.ACK, said.encode(), signer=name, cluster=cluster, signing=identity.sign).encode())

    return sim.sealed(MemberEvict(**sim.head(), id=name, first=ack(b"1" * 32), second=ack(b"2" * 32)))


def ballot(sim: ChangingArena, name: str) -> bytes:
    """One root key is the threshold here: whoever opens the proposal executes it."""
    head = sim.head()
    fields = {"command": "member.remove", "body": {"id": name, "reason": "test"}, "author": ROOT}
    return sim.sealed(ProposalOpen(**head, **fields, epoch=1, sequence=1, expires=head["not_after"]))


BYZANTINE = {"quorum": QuorumRule.BYZANTINE}


@pytest.mark.parametrize(
    ("nodes", "silent", "make", "target", "options"),
    [
        (3, "c", rotate, "b", {}),
        (3, "c", lambda sim, name: sim.remove(name), "b", {}),
        (3, "c", lambda sim, name: sim.remove(name), "a", {}),
        (3, "c", evict, "b", {}),
        (3, "c", ballot, "b", {}),
        (3, "bc", lambda sim, name: sim.remove(name), "c", {}),
        (3, "bc", add, "d", {}),
        (4, "d", rotate, "b", BYZANTINE),
        (4, "d", lambda sim, name: sim.remove(name), "b", BYZANTINE),
        (5, "de", rotate, "b", {}),
        (5, "de", lambda sim, name: sim.remove(name), "b", {}),
    ],
)
def test_a_change_that_the_living_cannot_certify_is_refused(nodes, silent, make, target, options):
    sim = with_silent(nodes, *silent, **options)
    said = refusal(sim, make(sim, target))
    assert said is not None
    named = said.split(" not answered")[0]
    assert [name for name in sim.nodes if f"`{name}`" in named] == list(silent)
    assert "certify" in said


@pytest.mark.parametrize(
    ("nodes", "silent", "make", "target", "options"),
    [
        (3, "", rotate, "b", {}),
        (3, "c", lambda sim, name: sim.remove(name), "c", {}),
        (3, "c", rotate, "c", {}),
        (3, "c", evict, "c", {}),
        (3, "c", ballot, "c", {}),
        (3, "c", add, "d", {}),
        (4, "d", lambda sim, name: sim.remove(name), "d", BYZANTINE),
        (5, "e", rotate, "b", {}),
        (5, "e", lambda sim, name: sim.remove(name), "b", {}),
        (5, "de", lambda sim, name: sim.remove(name), "d", {}),
        (1, "", add, "d", {}),
    ],
)
def test_one_that_they_can_certify_is_proposed(nodes, silent, make, target, options):
    sim = with_silent(nodes, *silent, **options)
    assert refusal(sim, make(sim, target)) is None


def test_a_promotion_counts_the_new_voter():
    """Three of four must certify what makes a fourth voter: its key is there already, and answers."""
    sim = with_silent(3, "c")
    sim.enlist("d")
    sim.commit_envelopes(sim.add("d"))
    sim.lead("a", "b", "d")
    sim.run_until(lambda: sim.serving("d"), limit_ms=3_000)
    assert refusal(sim, sim.promote("d")) is None


def test_it_is_proposed_once_they_are_back():
    sim = with_silent(3, "c")
    envelope = sim.remove("b")
    assert refusal(sim, envelope) is not None
    sim.lead("a", "b", "c")
    sim.step(500)
    assert refusal(sim, envelope) is None
