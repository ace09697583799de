"""Links between nodes: each direction of each pair is a link of its own, as in production.

=========  ====================================  ============================================================
link       event                                 then
=========  ====================================  ============================================================
up         blocked, and the sender notices       down; `on_link(False)` at the sender; what waits is lost
up         either end dies                       down, soon after
down       unblocked, both ends alive            up after the back-off, a new session; `on_link(True)`
=========  ====================================  ============================================================

A *stream* link behaves as TCP does: in order, at most once, nothing lost while it lasts. Frames of an earlier session
may still come in after the link fell, and even after the sender's next life began, until the receiver has admitted
the next session; after that they are dropped, as the production listener drops them.

A link that is no stream is harsher than production: it loses, doubles and reorders, and a frame may arrive in any
later session or life. The protocol and the engine claim to bear that; a transport that kept less than it promises
would look like this.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from govraft.core.model.limits import PEER_QUEUE_FRAMES
from govraft.core.model.units import NS_PER_MS
from govraft.testing.simulation.agenda import Agenda
from govraft.testing.simulation.plan import Configuration, stream

__all__ = ["Link", "Network", "Weather"]

NS_PER_US = 1_000
BACKOFF_MS = (10, 1_000)
NOTICED_MS = ((0, 20), (100, 900), (2_500, 3_500))
RETRANSMIT_MS = (200, 600)
LATE_MS = (50, 6_000)


class Weather:
    """What befalls every frame at present. Percentages and milliseconds."""

    def __init__(self) -> None:
        self.loss = self.duplication = self.late = 0
        self.delay_ms = self.reorder_ms = 0


class _Frame(NamedTuple):
    """On its way: of which session, to which life of the receiver, shown under what."""

    session: int
    life: int
    shown: bytes
    channel: int
    payload: bytes


class Link:
    """One direction between two nodes.

    Attributes:
        blocks: Numbers of the faults that hold it closed.
        lag_ms: Added to each frame's delay.
    """

    def __init__(self, source: str, target: str, rng: random.Random) -> None:
        self.source, self.target, self.rng = source, target, rng
        self.is_up = False
        self.session = 0
        self.blocks: list[int] = []
        self.lag_ms = 0
        self.held: list[_Frame] = []
        self.last_arrival = 0
        self.changes = 0


class Network:
    """All links of one run.

    Args:
        deliver: `(target, source, channel, payload)`, to a node that runs.
        notify: `(source, target, is_up)`.
        life: The number of a node's present life, 0 while it is down.
        identity: With what a node shows that it is itself, at present.
        knows: Whether a node takes another one that shows this for a member.
    """

    def __init__(
        self,
        configuration: Configuration,
        agenda: Agenda,
        *,
        deliver: Callable[[str, str, int, bytes], None],
        notify: Callable[[str, str, bool], None],
        life: Callable[[str], int],
        identity: Callable[[str], bytes] = lambda _: b"",
        knows: Callable[[str, str, bytes], bool] = lambda _node, _other, _shown: True,
    ) -> None:
        self._agenda = agenda
        self._deliver, self._notify, self._life = deliver, notify, life
        self._identity, self._knows = identity, knows
        self.is_stream = configuration.is_stream
        self._delay_us = configuration.delay_us
        self.weather = Weather()
        self.dropped = 0
        self.late = 0
        names = configuration.names
        self.links = {
            (source, target): Link(source, target, stream(configuration.seed, f"link {source} {target}"))
            for source in names
            for target in names
            if source != target
        }

    # Frames.

    def send(self, source: str, target: str, channel: int, payload: bytes) -> bool:
        """Send one frame, or lose it. Whether it was taken: the link is up, as far as the source knows."""
        link = self.links[source, target]
        if not link.is_up:
            self.dropped += 1
            return False
        frame = _Frame(link.session, self._life(target), self._identity(source), channel, payload)
        if link.blocks:
            self._hold(link, frame)
            return True
        weather, rng = self.weather, link.rng
        copies = 1
        if not self.is_stream:
            if weather.loss and rng.random() * 100 < weather.loss:
                self.dropped += 1
                return True
            copies += weather.duplication > 0 and rng.random() * 100 < weather.duplication
        for _ in range(copies):
            self._launch(link, frame)
        return True

    def _launch(self, link: Link, frame: _Frame) -> None:
        weather, rng = self.weather, link.rng
        delay = rng.randint(*self._delay_us) * NS_PER_US + link.lag_ms * NS_PER_MS
        if weather.delay_ms:
            delay += rng.randrange(weather.delay_ms * NS_PER_MS)
        if self.is_stream:
            if weather.loss and rng.random() * 100 < weather.loss:
                delay += rng.randint(*RETRANSMIT_MS) * NS_PER_MS
            link.last_arrival = max(link.last_arrival, self._agenda.now + delay)
            delay = link.last_arrival - self._agenda.now
        else:
            if weather.reorder_ms:
                delay += rng.choice((0, 0, 1)) * weather.reorder_ms * NS_PER_MS
            if weather.late and rng.random() * 100 < weather.late:
                delay += rng.randint(*LATE_MS) * NS_PER_MS
        self._agenda.after(delay, self._arrive, link, frame)

    def _arrive(self, link: Link, frame: _Frame) -> None:
        if link.blocks:
            self._hold(link, frame)
            return
        now_alive = self._life(link.target)
        if self.is_stream and (frame.session != link.session or frame.life != now_alive):
            self.dropped += 1
            return
        if not now_alive or not self._knows(link.target, link.source, frame.shown):
            self.dropped += 1
            return
        if frame.session != link.session or not link.is_up:
            self.late += 1
        self._deliver(link.target, link.source, frame.channel, frame.payload)

    def _hold(self, link: Link, frame: _Frame) -> None:
        """Keep a frame that cannot pass now; whether it ever will is decided when the link falls or opens."""
        if len(link.held) < PEER_QUEUE_FRAMES:
            link.held.append(frame)
        else:
            self.dropped += 1

    # Faults.

    def block(self, fault: int, pairs: list[tuple[str, str]], *, is_noticed: bool = True) -> None:
        """Let nothing pass on these links. A sender notices soon, late, or only if told so never."""
        for pair in pairs:
            link = self.links[pair]
            link.blocks.append(fault)
            if is_noticed and link.is_up:
                notice_ms = link.rng.randint(*link.rng.choice(NOTICED_MS))
                self._agenda.after(notice_ms * NS_PER_MS, self._notice, link, link.session)

    def unblock(self, fault: int) -> None:
        """Undo what `block` did for this fault."""
        for link in self.links.values():
            if fault in link.blocks:
                link.blocks = [number for number in link.blocks if number != fault]
                if not link.blocks:
                    self._open(link)

    def fall(self, link: Link, redial_ms: int | None = None) -> None:
        """Tear a link down; frames that wait are lost, those under way may still arrive."""
        link.held.clear()
        if link.is_up:
            link.is_up = False
            self._notify(link.source, link.target, False)
        self._redial(link, redial_ms)

    def node_started(self, name: str) -> None:
        """Dial from and to a node that runs from now on."""
        for link in self._links_of(name):
            self._redial(link, link.rng.randint(0, 60))

    def node_died(self, name: str) -> None:
        """Tear down what belongs to a process that is gone. The others' systems tell them at once, or nearly so."""
        for link in self._links_of(name):
            if link.source == name:
                link.is_up = False
                link.held.clear()
            else:
                self._agenda.after(link.rng.randrange(5 * NS_PER_MS), self._notice, link, link.session)

    def members_changed(self, name: str) -> None:
        """A node knows other members now, or shows something else: dial whom it knows, and drop whom it does not."""
        for link in self._links_of(name):
            is_admitted = self._is_admitted(link)
            if link.is_up and not is_admitted:
                self.fall(link)
            elif not link.is_up and is_admitted and not link.blocks:
                self._redial(link)

    def _is_admitted(self, link: Link) -> bool:
        """Each end takes the other one for a member."""
        ends = ((link.source, link.target), (link.target, link.source))
        return all(self._knows(node, other, self._identity(other)) for node, other in ends)

    def calm(self) -> None:
        """End every fault of the network."""
        self.weather = Weather()
        for link in self.links.values():
            link.blocks, link.lag_ms = [], 0
            self._open(link)

    @property
    def waiting(self) -> int:
        """Frames held on blocked links."""
        return sum(len(link.held) for link in self.links.values())

    def pairs(self, group: tuple[str, ...], others: tuple[str, ...]) -> list[tuple[str, str]]:
        """Both directions of every link between two groups."""
        return [(a, b) for a in group for b in others if a != b] + [(b, a) for a in group for b in others if a != b]

    def _links_of(self, name: str) -> Iterator[Link]:
        return (link for link in self.links.values() if name in (link.source, link.target))

    def _notice(self, link: Link, session: int) -> None:
        if link.is_up and link.session == session and (link.blocks or not self._life(link.target)):
            self.fall(link)

    def _open(self, link: Link) -> None:
        held, link.held = link.held, []
        if not link.is_up:
            self._redial(link)
        for frame in held:
            # What is no stream keeps nothing back: half of what waited is lost.
            if self.is_stream or link.rng.random() < 0.5:
                self._launch(link, frame)

    def _redial(self, link: Link, delay_ms: int | None = None) -> None:
        link.changes += 1
        wait = link.rng.randint(*BACKOFF_MS) if delay_ms is None else delay_ms
        self._agenda.after(wait * NS_PER_MS, self._rise, link, link.changes)

    def _rise(self, link: Link, change: int) -> None:
        if link.is_up or link.blocks or change != link.changes:
            return
        if self._life(link.source) and self._life(link.target) and self._is_admitted(link):
            link.is_up = True
            link.session += 1
            link.last_arrival = self._agenda.now
            self._notify(link.source, link.target, True)
