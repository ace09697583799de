"""TCP ports of this host on which nobody listens."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from govraft.errors import AvailabilityError

__all__ = ["find_free_ports"]

_LOWEST = 10_240
_EPHEMERAL_USUAL = 32_768
_TRIES = 2_000


def find_free_ports(count: int) -> list[int]:
    """Find `count` distinct ports on which this host could listen now.

    They lie below the ports that outgoing connections use: one of those could take a port while its node is down.

    Raises:
        AvailabilityError: There are not enough.
    """
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(found) == count:
                return found
            port = random.SystemRandom().randrange(_LOWEST, _highest())
            try:
                # Held until all are found, so that no port is found twice.
                listener = held.enter_context(socket.socket())
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise AvailabilityError(f"no {count} free ports found; choose them with `--base-port`")


def _highest() -> int:
    try:
        lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_USUAL
    return lowest_ephemeral if lowest_ephemeral > _LOWEST + _TRIES else _EPHEMERAL_USUAL
