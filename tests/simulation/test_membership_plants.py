"""Planted bugs in the rules of epochs and permits: seeds that know nothing of a rule find that it is missing."""

from __future__ import annotations

import msgspec
import pytest

from govraft.core.codec.canonical import pack
from govraft.core.machine.permit_view import PermitsView
from govraft.node import convergence
from govraft.node.authorization import Attempt
from govraft.node.core import NodeCore
from govraft.node.cosigner_view import CosignerView
from govraft.node.cosigning import PERMIT_CHANNEL, PermitCosigner
from govraft.node.effects import Send
from govraft.node.epochs import Epochs
from govraft.node.gate import Gate, Standing
from govraft.node.permits import Permits
from govraft.node.probed import Probed
from govraft.ports.store import WriteBatch
from govraft.testing.simulation import draw_plan, simulate
from govraft.testing.simulation.run import Outcome

SECONDS = 16.0


def first_broken(rule: str, seeds: int = 16) -> Outcome | None:
    """The first seed that breaks this rule. Permits grow stale where commands are many."""
    profile = "commands" if rule == "stale_permit" else "membership"
    for seed in range(1, seeds + 1):
        outcome = simulate(draw_plan(seed, profile, SECONDS), keep_history=False)
        if any(finding.rule == rule for finding in outcome.findings):
            return outcome
    return None


def the_change_is_certified_by_the_new_alone(patch):
    """As every later seq."""

    def electorates(self, seq):
        known = [electorate for change, electorate in _changes(self) if change <= seq]
        return (known[-1],)

    patch.setattr(Epochs, "electorates", electorates)


def nobody_waits_for_the_certificate_of_a_change(patch):
    """Leaders probe their newest state; whoever holds it acks."""
    the_change_is_certified_by_the_new_alone(patch)

    def probed(machine, epochs):
        return Probed(machine.seq, machine.root, machine.sections, epochs.electorates(machine.seq))

    made = CosignerView.__init__

    def view(self, *arguments, **named):
        made(self, *arguments, **named)
        self.uncertified = None

    patch.setattr(convergence, "probed", probed)
    patch.setattr(CosignerView, "__init__", view)


def _changes(epochs):
    changes = [(epochs.history.newest_seq, epochs.certified)]
    return [*changes, *((item.seq, item.electorate) for item in epochs.waiting)]


def epochs_are_not_written(patch):
    patch.setattr(WriteBatch, "add_epoch", lambda self, *arguments: None)


def epochs_are_written_with_the_proof_of_another(patch):
    add = WriteBatch.add_epoch

    def altered(self, epoch, seq, lease, records, leaf, proof):
        add(self, epoch, seq, lease, records, leaf[:-1] + b"\x00", proof)

    patch.setattr(WriteBatch, "add_epoch", altered)


def the_engine_counts_by_another_electorate(patch):
    """One voter of the certified ones is enough for it."""

    def change(self, led_term):
        self._effects.members = self.pinned_members
        certified = self.epochs.certified
        voters = [voter.id for voter in certified.voters]
        self.sequencer.set_voters(voters[:1], voters[1:], certified.epoch, led_term=led_term)

    patch.setattr(NodeCore, "_on_epoch", change)


def a_removed_node_helps_itself(patch):
    """What it knows by now it takes for certified, under the last lease that it had."""
    standing = Gate.standing

    def found(self, at_least=0):
        told = standing(self, at_least)
        if told.lease is not None:
            self.kept = told.lease
        elif "since seq" in self._convergence.epochs.absence and hasattr(self, "kept"):
            machine = self._machine
            return Standing(msgspec.structs.replace(self.kept, seq=machine.seq, root=machine.root))
        return told

    patch.setattr(Gate, "standing", found)


def permits_leave_whatever_has_happened_since(patch):
    """And voters sign whatever they are asked for."""

    def judge(self, held, effects, *, is_last=False):
        answer = {"permit": held.statement.permit, "signature": self._signer.sign_permit(held.statement)}
        effects.sends.append(Send(held.peer, PERMIT_CHANNEL, pack(answer)))
        return True

    lease_of = Permits._lease_of

    def kept(self, statement):
        self.kept = lease_of(self, statement) or getattr(self, "kept", None)
        return self.kept

    patch.setattr(PermitCosigner, "_judge", judge)
    patch.setattr(Permits, "_lease_of", kept)


def one_signature_makes_a_permit(patch):
    patch.setattr(Attempt, "is_complete", property(lambda self: bool(self.signatures)))


def used_permits_are_forgotten(patch):
    patch.setattr(PermitsView, "used", property(lambda self: {}))


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (the_change_is_certified_by_the_new_alone, "unverified_lease"),
        (nobody_waits_for_the_certificate_of_a_change, "acked_beyond"),
        (nobody_waits_for_the_certificate_of_a_change, "epoch_skipped"),
        (epochs_are_not_written, "acked_beyond"),
        (epochs_are_written_with_the_proof_of_another, "epoch_chain"),
        (the_engine_counts_by_another_electorate, "voter_set"),
        (a_removed_node_helps_itself, "stranger_allows"),
        (permits_leave_whatever_has_happened_since, "stale_permit"),
        (one_signature_makes_a_permit, "permit_unproven"),
        (used_permits_are_forgotten, "permit_used_twice"),
    ],
    ids=lambda item: getattr(item, "__name__", item),
)
def test_a_missing_rule_of_epochs_or_permits_is_found(monkeypatch, plant, rule):
    plant(monkeypatch)
    assert first_broken(rule) is not None
