"""The Unix-socket server: where applications on this host ask.

The socket file appears with its final permissions in one step: it is bound under another name, given its mode and
group, and then renamed. A file left by a dead node is replaced; one on which somebody listens, or which is no socket,
is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from govraft.api.peer_credentials import PeerRules
from govraft.api.service import Service
from govraft.api.socket_connection import ClientConnection
from govraft.api.socket_office import Office, OnDenial, SocketLimits, ignore_denial
from govraft.core.model.limits import SOCKET_PATH_BYTES
from govraft.errors import AvailabilityError, InputError, InvariantViolation

__all__ = ["SocketServer"]

_PROBE_TIMEOUT_S = 0.5


def _raise_violation(violation: InvariantViolation) -> None:
    raise violation


class SocketServer:
    """Serves one `Service` on one Unix socket, in the running loop."""

    def __init__(
        self,
        service: Service,
        *,
        path: Path,
        rules: PeerRules,
        node: str,
        cluster: str,
        on_error: Callable[[Exception], None],
        on_violation: Callable[[InvariantViolation], None] = _raise_violation,
        on_denial: OnDenial = ignore_denial,
        mode: int = 0o660,
        group: int | None = None,
        limits: SocketLimits | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            service: Who decides.
            path: Of the socket file; its directory must exist.
            rules: Who may ask. Checked besides the file's permissions.
            node: Node id, told to clients.
            cluster: Cluster id, hex, told to clients.
            on_error: Called with each exception that should not have happened; log it. Must not raise.
            on_denial: Called with each denial that the service did not give; records it. Must not raise.
            on_violation: Called with a broken invariant; must halt the process. Without it, it is raised into the loop.
            mode: Of the socket file. Others never get access: bits of "others" are refused.
            group: Group of the socket file; None leaves it.
            limits: What clients may use.

        Raises:
            InputError: The path is too long for a socket, or the mode lets everybody in.
        """
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise InputError(f"socket path `{path}` is too long: use at most {SOCKET_PATH_BYTES} bytes")
        if mode & ~0o770:
            raise InputError(f"socket mode {mode:o} is not usable: use 660 or 600")
        self._path = path
        self._mode = mode
        self._group = group
        self._office = Office(
            service=service,
            rules=rules,
            node=node,
            cluster=cluster,
            limits=limits or SocketLimits(),
            on_error=on_error,
            on_violation=on_violation,
            on_denial=on_denial,
        )
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def path(self) -> Path:
        """Of the socket file."""
        return self._path

    def stats(self) -> dict[str, int]:
        """Totals since the start, and what is open and buffered now."""
        office = self._office
        return {
            **dataclasses.asdict(office.counts),
            "open": len(office.connections),
            "inbound_bytes": office.inbound_bytes,
            "outbound_bytes": office.outbound_bytes(),
        }

    async def start(self) -> None:
        """Open the socket.

        Raises:
            AvailabilityError: Somebody listens there already.
            InputError: The path holds something that is no socket, or cannot be used.
        """
        listener = self._bind()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: ClientConnection(self._office), sock=listener, backlog=self._office.limits.clients
        )
        self._provisional_path.replace(self._path)
        self._sweep()

    async def stop(self) -> None:
        """Stop listening, drop all clients, remove the socket file if it is still this server's."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        with contextlib.suppress(FileNotFoundError):
            if self._inode == _inode_of(self._path):
                self._path.unlink()
        connections = list(self._office.connections)
        if self._server is not None:
            self._server.close()
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.finish()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    @property
    def _provisional_path(self) -> Path:
        return self._path.with_name(self._path.name + ".new")

    def _bind(self) -> socket.socket:
        self._check_path_is_free()
        provisional = self._provisional_path
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            provisional.unlink(missing_ok=True)
            # Honoured by Linux at bind: not even for a moment is the file open to others.
            os.fchmod(listener.fileno(), self._mode)
            listener.bind(os.fspath(provisional))
            if self._group is not None:
                os.chown(provisional, -1, self._group)
            provisional.chmod(self._mode)
            self._inode = _inode_of(provisional)
        except OSError as error:
            listener.close()
            raise InputError(f"cannot open socket `{self._path}`: {error.strerror}: check its directory") from error
        return listener

    def _check_path_is_free(self) -> None:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"cannot use socket path `{self._path}`: {error.strerror}") from error
        if not stat.S_ISSOCK(found.st_mode):
            raise InputError(f"`{self._path}` is not a socket: remove it or choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            try:
                probe.connect(os.fspath(self._path))
            except (ConnectionRefusedError, FileNotFoundError):
                return  # Nobody listens.
            except OSError as error:
                # A full backlog, say. Whoever it is, somebody may listen: leave the file alone.
                raise AvailabilityError(f"cannot tell whether `{self._path}` is in use: {error}") from error
        raise AvailabilityError(f"`{self._path}` is in use by another process: stop it first", code="socket_in_use")

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self._office.connections):
            connection.sweep(loop.time())
        self._sweeper = loop.call_later(self._office.limits.sweep_s, self._sweep)


def _inode_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
