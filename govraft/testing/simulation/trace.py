"""One digest over everything that happened in a run.

Two runs of one seed must give one digest, in any process: it is how a simulator proves that what it finds can be found
again. So nothing that differs between processes may reach it: no `hash()`, no order of a set, no address, no real time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

__all__ = ["Trace"]


class Trace:
    """Digests events in their order.

    Attributes:
        count: Events so far.
        show: Given each event as one line, if anybody wants to read it.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.count = 0
        self.show: Callable[[str], None] | None = None

    def note(self, now: int, kind: str, node: str, payload: bytes = b"") -> None:
        """Add one event."""
        self.count += 1
        head = f"{now}|{kind}|{node}|{len(payload)}|".encode()
        self._hash.update(head)
        self._hash.update(payload)
        if self.show is not None:
            digest = hashlib.blake2b(payload, digest_size=6).hexdigest() if payload else ""
            self.show(f"{now / 1e9:12.6f} s  {node:<10} {kind} {digest}".rstrip())

    @property
    def digest(self) -> str:
        """Hexadecimal, over all events so far."""
        return self._hash.hexdigest()
