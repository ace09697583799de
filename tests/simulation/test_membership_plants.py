"""Planted bugs in the rules of epochs: seeds that know nothing of a rule find that it is missing."""

from __future__ import annotations

import pytest

from govraft.core.model.electorate import Electorate
from govraft.node import convergence
from govraft.node.core import NodeCore
from govraft.node.cosigner_view import CosignerView
from govraft.node.epochs import Epochs
from govraft.node.probed import Probed
from govraft.ports.store import WriteBatch
from govraft.testing.simulation import draw_plan, simulate
from govraft.testing.simulation.run import Outcome

SECONDS = 20.0


def first_broken(rule: str, seeds: int = 16) -> Outcome | None:
    """The first seed that breaks this rule."""
    for seed in range(1, seeds + 1):
        outcome = simulate(draw_plan(seed, "membership", SECONDS), keep_history=False)
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


def the_engine_hears_of_no_change(patch):
    def deaf(self, led_term):
        self._effects.members = self.pinned_members
        certified = self.epochs.certified
        if certified.epoch % 2:
            observers = [member.id for member in certified.members if not member.voter]
            voters = [voter.id for voter in certified.voters]
            self.sequencer.set_voters(voters[:1], observers, certified.epoch, led_term=led_term)

    patch.setattr(NodeCore, "_on_epoch", deaf)


def whoever_was_a_member_stays_one(patch):
    """Leaders grant to it, voters count that, and it serves: as if nobody had looked at the electorate."""
    absence = property(lambda self: "", lambda self, value: None)
    patch.setattr(Epochs, "absence", absence, raising=False)
    find = Electorate.find
    left: dict[tuple[str, str], object] = {}

    def found(self, identifier):
        member = find(self, identifier)
        if member is not None:
            left.setdefault(("", identifier), member)
        return member or left.get(("", identifier))

    patch.setattr(Electorate, "find", found)
    patch.setattr("govraft.core.convergence.round._is_of", lambda node, electorates: True)
    patch.setattr("govraft.core.convergence.certificate._is_member", lambda member, electorate: True)


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (the_change_is_certified_by_the_new_alone, "unverified_lease"),
        (nobody_waits_for_the_certificate_of_a_change, "acked_beyond"),
        (nobody_waits_for_the_certificate_of_a_change, "epoch_skipped"),
        (epochs_are_not_written, "acked_beyond"),
        (epochs_are_written_with_the_proof_of_another, "epoch_chain"),
        (the_engine_hears_of_no_change, "voter_set"),
    ],
    ids=lambda item: getattr(item, "__name__", item),
)
def test_a_missing_rule_of_epochs_is_found(monkeypatch, plant, rule):
    plant(monkeypatch)
    assert first_broken(rule) is not None
