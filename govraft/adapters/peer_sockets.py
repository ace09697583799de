"""TCP sockets between peers: opened, bound and tuned in one place."""

from __future__ import annotations

import asyncio
import socket

__all__ = ["connect", "listen", "tune"]

CONNECT_TIMEOUT_S = 1.0
LISTEN_BACKLOG = 128
# A peer that acknowledges nothing for this long is taken for gone; without it a cut link is noticed after minutes.
USER_TIMEOUT_MS = 3_000
KEEPALIVE_IDLE_S = 1
KEEPALIVE_INTERVAL_S = 1
KEEPALIVE_COUNT = 3


def tune(connection: socket.socket) -> None:
    """Send at once, and notice a peer that is gone.

    Raises:
        OSError: The connection is closed already.
    """
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


async def connect(address: tuple[str, int]) -> socket.socket:
    """A tuned connection to `address`, trying each address that its name has.

    Raises:
        OSError: The name is unknown, or nobody accepts there.
        TimeoutError: No answer within `CONNECT_TIMEOUT_S` per address.
    """
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"`{address[0]}` has no address")
    for family, kind, protocol, _, target in await loop.getaddrinfo(*address, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            tune(connection)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.sock_connect(connection, target)
        except OSError as error:  # TimeoutError is one.
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


async def listen(address: tuple[str, int]) -> socket.socket:
    """A listening socket on the first address that the name has.

    Raises:
        OSError: The name is unknown, or the address is taken.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, target = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(LISTEN_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
