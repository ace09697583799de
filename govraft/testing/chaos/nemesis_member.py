"""Somebody has the key of one member, and speaks to the others in its name, over TLS of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Sequence

from govraft.adapters.engine.frames import TERM_MAX, AppendEntries
from govraft.adapters.engine.frames import encode_frame as encode_message
from govraft.adapters.engine.terms import TERM_STEP
from govraft.adapters.frames import encode_frame
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_hello import encode_hello
from govraft.adapters.tls import client_context
from govraft.core.model.genesis import Genesis
from govraft.node.config import load_config
from govraft.node.core import RAFT_CHANNEL
from govraft.testing.chaos.nemesis import Hit, Nemesis, names
from govraft.testing.local_cluster import LocalNode

__all__ = ["TermLift", "lift", "say"]

_TIMEOUT_S = 5.0


def say(bearer: LocalNode, victim: LocalNode, genesis: Genesis, messages: Sequence[bytes]) -> None:
    """Send frames of Raft to `victim`, as `bearer` over a connection of its own.

    Raises:
        OSError: The victim does not take the connection.
    """
    member = next(item for item in genesis.members if item.id == victim.id)
    identity = NodeIdentity.load(bearer.home / f"{bearer.id}.key.pem", bearer.home / f"{bearer.id}.cert.pem")
    with (
        socket.create_connection(load_config(victim.config).peer_listen, _TIMEOUT_S) as plain,
        client_context(identity, member).wrap_socket(plain) as link,
    ):
        link.sendall(encode_hello(genesis.cluster_id, bearer.id, os.urandom(16)))
        if not link.recv(1):
            raise ConnectionResetError(f"`{victim.id}` does not welcome `{bearer.id}`")
        link.sendall(b"".join(encode_frame(RAFT_CHANNEL, message) for message in messages))
        link.shutdown(socket.SHUT_WR)
        # What was sent has arrived once the other side has seen its end: it hangs up, in good order or not.
        with contextlib.suppress(OSError):
            while link.recv(4096):
                pass


def lift(steps: int = 2, epoch: int = 1) -> list[bytes]:
    """Frames, each true to form, that name terms one step after the other above those of the others, and the last."""
    terms = [*(1 + step * TERM_STEP for step in range(1, steps + 1)), TERM_MAX]
    return [encode_message(AppendEntries(term, 0, 0, 0, (), epoch)) for term in terms]


class TermLift(Nemesis):
    """Frames in one member's name lift the term of another one, again and again."""

    kind, explanation = "term-lift", "frames in a member's name lift the term of another one by 2^32, again and again"
    needs = frozenset({"loopback"})

    def start(self) -> Hit:
        self._bearer, self._victim = self.dice.sample(self.take(2), 2)
        self._told, self._again = 0, 0.0
        return Hit(names([self._victim]), f"in the name of {self._bearer.id}")

    def tick(self) -> None:
        if time.monotonic() < self._again:
            return
        self._again = time.monotonic() + self.dice.uniform(0.1, 1.5)
        with contextlib.suppress(OSError):
            say(self._bearer, self._victim, self.cluster.genesis, lift())
            self._told += 1

    def end(self) -> None:
        # It heals by itself: the run waits until all serve.
        if not self._told:
            self.findings.append(f"{self.kind}: {self._victim.id} took no frame in the name of {self._bearer.id}")
