"""Asking for certificates of epochs, and giving them: how a node that was away comes to know who may cosign now.

Whoever hears of a later epoch than it knows asks who said so; whoever has waited long for the certificate of a change,
or for a lease, asks everybody. The answer carries a few consecutive changes with their proofs, and who can use them
asks again for more. Both are bounded in time: one request to a member a heartbeat, one answer to each.
"""

from __future__ import annotations

from collections.abc import Iterable

from govraft.core.convergence.messages import EPOCHS_PER_MESSAGE, EpochRequest, Epochs, Kind
from govraft.core.model.units import BoottimeNs
from govraft.node.effects import Effects
from govraft.node.epochs import Epochs as KnownEpochs
from govraft.node.voice import Voice

__all__ = ["EpochExchange"]


class EpochExchange:
    """The requests and answers of one node.

    Args:
        epochs: What it knows.
        voice: Its own.
        pause_ns: Between two requests to one member, and between two answers to one.
        silence_ns: Who has lacked a certificate or a lease for that long asks everybody.
    """

    def __init__(self, epochs: KnownEpochs, voice: Voice, pause_ns: int, silence_ns: int) -> None:
        self._node_id, self._epochs, self._voice = epochs.node_id, epochs, voice
        self._pause_ns, self._silence_ns = pause_ns, silence_ns
        self._asked: dict[str, BoottimeNs] = {}
        self._answered: dict[str, BoottimeNs] = {}
        self._silent_since: BoottimeNs | None = None

    def turn(self, now: BoottimeNs, *, has_lease: bool, effects: Effects) -> None:
        """Ask everybody after a long silence: those who lead now may be strangers to this node, and it to them."""
        if has_lease and self._epochs.uncertified is None:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since >= self._silence_ns:
            self._silent_since = now
            self._ask(self._epochs.member_ids, now, effects)

    def ask(self, peer: str, now: BoottimeNs, effects: Effects) -> None:
        """Ask a member that seems to know more, unless it was just asked."""
        self._ask((peer,), now, effects)

    def asks_on(self, peer: str, now: BoottimeNs, effects: Effects) -> None:
        """Ask the member whose answer was of use for more at once."""
        self._asked.pop(peer, None)
        self._ask((peer,), now, effects)

    def answer(self, peer: str, request: EpochRequest, now: BoottimeNs, effects: Effects) -> None:
        """Send a member what it asked for."""
        if now - self._answered.get(peer, -self._pause_ns) < self._pause_ns // 2:
            return
        changes = self._epochs.proofs(request.first, EPOCHS_PER_MESSAGE)
        if changes:
            self._answered[peer] = now
            self._voice.send(peer, Kind.EPOCHS, Epochs(request.first, changes).encode(), effects)

    def _ask(self, peers: Iterable[str], now: BoottimeNs, effects: Effects) -> None:
        body = EpochRequest(self._epochs.certified.epoch + 1).encode()
        for peer in peers:
            if peer != self._node_id and now - self._asked.get(peer, -self._pause_ns) >= self._pause_ns:
                self._asked[peer] = now
                self._voice.send(peer, Kind.EPOCH_REQUEST, body, effects)
