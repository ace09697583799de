"""Random faults while the electorate changes: nothing committed is lost, and no fault leaves the cluster stuck.

The members certify each change as the node does: the leader asks in its term, whoever has applied the change and holds
the certificate before it acks, and a majority of the voters before and of those after make the certificate.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from govraft.errors import AvailabilityError

SIZE = 5
ASK_S = 0.03
CHANGE = b"change to "


class Note(bytes):
    """A message about certificates, among the engine's frames."""


@dataclass
class Held:
    """A certificate, to be written."""

    epoch: int


def note(**fields: Any) -> Note:
    return Note(json.dumps(fields).encode())


def walk(rng: random.Random, names: list[str]) -> list[list[str]]:
    """Electorates, each with one voter more or less than the one before."""
    current = names[:3]
    plan = [[], current]
    for _ in range(40):
        if len(current) < len(names) and (len(current) == 1 or rng.random() < 0.5):
            current = [*current, rng.choice([name for name in names if name not in current])]
        else:
            leaving = rng.choice(current)
            current = [name for name in current if name != leaving]
        plan.append(current)
    return plan


def changing(base: type[Any]) -> type[Any]:  # noqa: C901 - two classes
    """The simulated cluster, with members whose electorate changes."""

    class KeepingDisk(base.disk_type):  # type: ignore[misc] # made by the fixture
        held = 1

        def write(self, ops: list[Any]) -> None:
            super().write([op for op in ops if not isinstance(op, Held)])
            self.held = max([self.held, *(op.epoch for op in ops if isinstance(op, Held))])

    class Changing(base.member_type):  # type: ignore[misc] # made by the fixture
        def __init__(self, simulation: Any, name: str) -> None:
            super().__init__(simulation, name)
            self.disk = KeepingDisk()
            self.held = 1
            self.acks: dict[tuple[int, int], set[str]] = {}
            self.asked_at = -1.0

        @property
        def state_epoch(self) -> int:
            epoch = 1
            for _, entry in self.applied:
                epoch += entry == CHANGE + b"%d" % (epoch + 1)
            return epoch

        def members_of(self, epoch: int) -> tuple[list[str], list[str]]:
            voters = self.simulation.plan[epoch]
            return voters, [name for name in self.simulation.voters if name not in voters]

        def electorate(self) -> dict[str, Any]:
            self.held = self.disk.held
            voters, observers = self.members_of(self.held)
            return {
                "voters": voters,
                "observers": observers,
                "epoch": self.held,
                "state_epoch": lambda: self.state_epoch,
            }

        def run(self, action: Callable[[Any], None]) -> None:
            super().run(action)
            if self.sequencer is not None:
                self.certify()
                self.flush()

        def _record(self, op: Any) -> None:
            # As the node does: a commit is written with the leaves that it brings, so never after a certificate.
            self._ops.append(op)

        def certify(self) -> None:
            """Ask for what is lacking, as leader for acks, else for the certificate."""
            if self.state_epoch <= self.held or self.simulation.now < self.asked_at + ASK_S:
                return
            self.asked_at = self.simulation.now
            epoch, term = self.held + 1, self.sequencer.term
            for name in self.simulation.voters:
                if name != self.id:
                    self._frames.append((name, note(kind="wanted", epoch=epoch)))
                    if self.sequencer.is_leader:
                        self._frames.append((name, note(kind="probe", epoch=epoch, term=term)))
            if self.sequencer.is_leader:
                self.take_ack(self.id, epoch, term)

        def hear(self, sender: str, message: dict[str, Any]) -> None:
            epoch, term = message["epoch"], message.get("term", 0)
            match message["kind"]:
                case "probe":
                    follows = (self.sequencer.leader_hint, self.sequencer.term) == (sender, term)
                    if follows and self.state_epoch >= epoch and self.held >= epoch - 1:
                        self._frames.append((sender, note(kind="ack", epoch=epoch, term=term)))
                case "ack":
                    self.take_ack(sender, epoch, term)
                case "wanted" if self.held >= epoch:
                    self._frames.append((sender, note(kind="certificate", epoch=epoch)))
                case "certificate" if self.held == epoch - 1:
                    self.hold(epoch, 0)

        def take_ack(self, sender: str, epoch: int, term: int) -> None:
            if self.held != epoch - 1 or not self.sequencer.is_leader or self.sequencer.term != term:
                return
            acks = self.acks.setdefault((epoch, term), set())
            acks.add(sender)
            sides = (self.simulation.plan[epoch - 1], self.simulation.plan[epoch])
            if all(2 * len(acks.intersection(side)) > len(side) for side in sides):
                self.hold(epoch, term)

        def hold(self, epoch: int, led_term: int) -> None:
            self.held = epoch
            self._ops.append(Held(epoch))
            self.sequencer.set_voters(*self.members_of(epoch), epoch, led_term=led_term)
            self.simulation.highest = max(self.simulation.highest, epoch)

    class ChangingSimulation(base):  # type: ignore[misc] # made by the fixture
        member_type = Changing

        def __init__(self, seed: int) -> None:
            names = [f"n{number}" for number in range(1, SIZE + 1)]
            self.plan = walk(random.Random(seed), names)
            self.is_changing = True
            self.highest = 1
            super().__init__(seed, SIZE)

        def transmit(self, sender: str, receiver: str, frame: bytes) -> None:
            if not isinstance(frame, Note):
                super().transmit(sender, receiver, frame)
            elif self.rng.random() >= self.loss:
                self.after(self.rng.uniform(*self.delay_s), lambda: self._pass_on(sender, receiver, frame))

        def _pass_on(self, sender: str, receiver: str, frame: Note) -> None:
            member = self.members[receiver]
            if (sender, receiver) not in self.blocked and self.now >= member.paused_until:
                member.run(lambda _sequencer: member.hear(sender, json.loads(frame)))

        def propose(self) -> None:
            super().propose()
            for member in self.leaders:
                if self.is_changing and self.now >= member.paused_until and self.rng.random() < 0.8:
                    self._change(member)

        def _change(self, member: Any) -> None:
            if member.held == member.state_epoch < len(self.plan) - 1:
                entry = CHANGE + b"%d" % (member.held + 1)
                try:
                    member.run(lambda sequencer: sequencer.propose(entry))
                except AvailabilityError:
                    return

        def calm_down(self) -> None:
            """Heal, and let the last change be certified everywhere."""
            self.heal()
            self.is_changing = False
            self.run_until(lambda: bool(self.leaders))
            self.propose()
            self.run_until(lambda: len({(m.held, m.state_epoch) for m in self.members.values()}) == 1)

    return ChangingSimulation


def torment(simulation: Any, seconds: float) -> None:
    simulation.elect()
    simulation.torment(seconds)
    simulation.calm_down()
    simulation.converge()


@pytest.mark.parametrize("seed", range(8))
def test_changes_under_random_faults_lose_nothing(simulate: type[Any], seed: int) -> None:
    simulation = changing(simulate)(seed)
    torment(simulation, 12.0)
    assert simulation.highest > 2


def test_changes_in_peace_follow_each_other_quickly(simulate: type[Any]) -> None:
    simulation = changing(simulate)(3)
    simulation.elect()
    simulation._load(simulation.now + 5.0)
    simulation.run(5.0)
    simulation.calm_down()
    simulation.converge()
    assert simulation.highest > 10
