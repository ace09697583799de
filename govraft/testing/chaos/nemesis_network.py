"""Faults of links: partitions of every shape, and links that are slow, lossy or half open."""

from __future__ import annotations

import itertools
from typing import ClassVar

from govraft.testing.chaos.nemesis import Hit, Nemesis, UnavailableFaultError, names
from govraft.testing.link_proxy import Mode
from govraft.testing.local_cluster import LocalNode
from govraft.testing.local_cluster_network import Condition, Pair

__all__ = [
    "Bridge",
    "Deaf",
    "Delay",
    "HalfOpen",
    "Halves",
    "IsolateFollower",
    "IsolateLeader",
    "Loss",
    "Mute",
    "Ring",
    "Swizzle",
]

_CUT = Condition(Mode.CUT)
_OPEN = Condition()


class _Links(Nemesis):
    """Sets links at the start, and opens the same ones at the end."""

    group = "network"
    condition: ClassVar[Condition] = _CUT

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.links: list[Pair] = []

    def all_links(self) -> list[Pair]:
        """Every directed link of the cluster."""
        return list(itertools.permutations(self.cluster.nodes, 2))

    def disturb(self, links: list[Pair], condition: Condition | None = None) -> None:
        """Set these links until the end."""
        self.links += links
        self.set_links(links, condition or self.condition)

    def one(self, role: str) -> LocalNode:
        """A node of that role; links may belong to a node that another fault has."""
        leader = self.arena.leader()
        nodes = list(self.cluster.nodes.values())
        if role == "leader":
            if leader is None:
                raise UnavailableFaultError("there is no leader now")
            return leader
        return self.dice.choice([node for node in nodes if role == "any" or node is not leader])

    def end(self) -> None:
        self.set_links(sorted(set(self.links)), _OPEN)


class IsolateFollower(_Links):
    """A follower cannot talk to anybody."""

    kind, explanation = "isolate-follower", "all links of a follower are cut"
    role: ClassVar[str] = "follower"

    def start(self) -> Hit:
        node = self.one(self.role)
        self.disturb([link for link in self.all_links() if node.id in link])
        return Hit((node.id,), "all its links cut")


class IsolateLeader(IsolateFollower):
    """The leader cannot talk to anybody."""

    kind, explanation, role = "isolate-leader", "all links of the leader are cut", "leader"


class Mute(_Links):
    """A node hears, and nobody hears it."""

    kind, explanation = "mute", "one way: nothing that a node sends arrives"

    def start(self) -> Hit:
        node = self.one("any")
        self.disturb([link for link in self.all_links() if link[0] == node.id])
        return Hit((node.id,), "what it sends is lost")


class Deaf(_Links):
    """A node is heard, and hears nobody."""

    kind, explanation = "deaf", "one way: nothing that is sent to a node arrives"

    def start(self) -> Hit:
        node = self.one("any")
        self.disturb([link for link in self.all_links() if link[1] == node.id])
        return Hit((node.id,), "what is sent to it is lost")


class Halves(_Links):
    """Two sides that cannot talk; at most one of them is a quorum."""

    kind, explanation = "halves", "two sides that cannot talk to each other"

    def start(self) -> Hit:
        nodes = sorted(self.cluster.nodes)
        count = self.dice.randint(1, len(nodes) // 2)
        side = set(self.dice.sample(nodes, count))
        self.disturb([(a, b) for a, b in self.all_links() if (a in side) != (b in side)])
        rest = sorted(set(nodes) - side)
        return Hit(tuple(sorted(side)), f"{', '.join(sorted(side))} | {', '.join(rest)}")


class Bridge(_Links):
    """Two sides that only meet through one node which sees both."""

    kind, explanation = "bridge", "two sides that only one node can talk to"

    def start(self) -> Hit:
        nodes = self.dice.sample(sorted(self.cluster.nodes), len(self.cluster.nodes))
        middle, rest = nodes[0], nodes[1:]
        left, right = set(rest[: len(rest) // 2]), set(rest[len(rest) // 2 :])
        if not left or not right:
            raise UnavailableFaultError("a bridge needs three nodes")
        self.disturb([(a, b) for a, b in self.all_links() if (a in left and b in right) or (a in right and b in left)])
        return Hit(tuple(sorted(left | right)), f"{middle} between {sorted(left)} and {sorted(right)}")


class Ring(_Links):
    """Every node talks to its two neighbours on a ring only; of three nodes, to the next one and not back."""

    kind, explanation = "ring", "each node can only talk to its neighbours on a ring"

    def start(self) -> Hit:
        nodes = self.dice.sample(sorted(self.cluster.nodes), len(self.cluster.nodes))
        following = {(node, nodes[(place + 1) % len(nodes)]) for place, node in enumerate(nodes)}
        kept = following if len(nodes) <= 3 else following | {(b, a) for a, b in following}
        self.disturb([link for link in self.all_links() if link not in kept])
        return Hit(tuple(sorted(nodes)), " > ".join([*nodes, nodes[0]]))


class Swizzle(_Links):
    """Links are cut one by one and healed one by one, in random order."""

    kind, explanation = "swizzle", "links are cut and healed one by one, in random order"
    hold_ms = (4000, 7000)

    def start(self) -> Hit:
        self._order = self.dice.sample(self.all_links(), len(self.all_links()))
        self.tick()
        return Hit(tuple(sorted(self.cluster.nodes)), "links in random order")

    def tick(self) -> None:
        link = self.dice.choice(self._order)
        if link in self.links:
            self.links.remove(link)
            self.set_links([link], _OPEN)
        else:
            self.disturb([link])


class Delay(_Links):
    """Everything that a node sends and gets is late."""

    kind, explanation = "delay", "what one node, or all, send is late"
    needs = frozenset({"slow-links"})
    hold_ms = (2500, 5000)

    def start(self) -> Hit:
        delay_ms = self.dice.choice([20, 80, 250, 600])
        node = self.one("any") if self.dice.random() < 0.6 else None
        links = [link for link in self.all_links() if node is None or node.id in link]
        self.disturb(links, Condition(delay_ms=delay_ms))
        hit = tuple(sorted(self.cluster.nodes)) if node is None else (node.id,)
        return Hit(hit, f"{delay_ms} ms each way")


class Loss(_Links):
    """A share of what is sent is lost, and sent again as TCP does."""

    kind, explanation = "loss", "a share of what is sent is lost, and sent again by TCP"
    needs = frozenset({"slow-links"})
    hold_ms = (2500, 5000)

    def start(self) -> Hit:
        share = self.dice.choice([0.02, 0.1, 0.3])
        self.disturb(self.all_links(), Condition(loss=share))
        return Hit(tuple(sorted(self.cluster.nodes)), f"{share:.0%} of the pieces")


class HalfOpen(_Links):
    """Connections of which one end is gone, and the other has not noticed."""

    kind, explanation = "half-open", "receiving ends are reset, sending ends are not told"
    needs = frozenset({"slow-links"})
    condition = Condition(Mode.HALF_OPEN)

    def start(self) -> Hit:
        node = self.one("any")
        self.disturb([link for link in self.all_links() if node.id in link])
        return Hit(names([node]), "its connections are half open")
