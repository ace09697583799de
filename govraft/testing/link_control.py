"""Cut and heal the links that a `link_proxy` process carries."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from govraft.errors import AvailabilityError, InputError
from govraft.testing.link_proxy import Mode

__all__ = ["LinkControl", "LinkState", "link_name"]

_TIMEOUT_S = 5.0


class LinkState(msgspec.Struct, frozen=True):
    """How a directed link is. `port`: where its proxy listens on 127.0.0.1."""

    port: int
    mode: Mode
    delay_ms: int
    loss: float


class _Answer(msgspec.Struct, frozen=True):
    ok: bool
    message: str = ""
    links: dict[str, LinkState] = {}


def link_name(source: str, target: str) -> str:
    """The name of the link on which `source` dials `target`."""
    return f"{source}>{target}"


class LinkControl:
    """Speaks to one `link_proxy` process. Blocking; a connection a call."""

    def __init__(self, path: Path) -> None:
        """Prepare to speak to the control socket at `path`."""
        self._path = path

    def states(self) -> dict[str, LinkState]:
        """How all links are, by name.

        Raises:
            AvailabilityError: The process does not answer.
        """
        return self._ask({})

    def cut(self, node: str, mode: Mode = Mode.CUT) -> dict[str, LinkState]:
        """Set all links from and to `node` to `mode`.

        Raises:
            InputError: No link knows that node.
            AvailabilityError: The process does not answer.
        """
        return self._change(self._of(node), mode, 0)

    def cut_link(self, source: str, target: str, mode: Mode = Mode.CUT) -> dict[str, LinkState]:
        """Set the one link on which `source` dials `target`; the other direction stays as it is.

        Raises:
            InputError: There is no such link.
            AvailabilityError: The process does not answer.
        """
        return self._change([link_name(source, target)], mode, 0)

    def delay(self, node: str, delay_ms: int) -> dict[str, LinkState]:
        """Open all links from and to `node`, and delay what passes.

        Raises:
            InputError: No link knows that node, or the delay is too long.
            AvailabilityError: The process does not answer.
        """
        return self._change(self._of(node), Mode.OPEN, delay_ms)

    def change(
        self, links: Iterable[tuple[str, str]], mode: Mode, *, delay_ms: int = 0, loss: float = 0.0
    ) -> dict[str, LinkState]:
        """Set these links, each from who dials to who is dialled, all at once.

        Raises:
            InputError: There is no such link, the delay is too long or the loss too high.
            AvailabilityError: The process does not answer.
        """
        return self._change([link_name(*pair) for pair in links], mode, delay_ms, loss)

    def heal(self, node: str | None = None) -> dict[str, LinkState]:
        """Open the links from and to `node`, or all of them, without delay.

        Raises:
            InputError: No link knows that node.
            AvailabilityError: The process does not answer.
        """
        return self._change(self.states() if node is None else self._of(node), Mode.OPEN, 0)

    def _of(self, node: str) -> list[str]:
        found = [name for name in self.states() if node in name.split(">")]
        if not found:
            raise InputError(f"`{node}` has no links", code="link_unknown")
        return found

    def _change(self, names: Iterable[str], mode: Mode, delay_ms: int, loss: float = 0.0) -> dict[str, LinkState]:
        return self._ask({name: {"mode": mode.value, "delay_ms": delay_ms, "loss": loss} for name in names})

    def _ask(self, changes: Mapping[str, Any]) -> dict[str, LinkState]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(json.dumps({"links": changes}).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    answer = msgspec.json.decode(stream.readline(), type=_Answer)
        except (OSError, msgspec.DecodeError) as error:
            raise AvailabilityError(f"the link proxy at `{self._path}` does not answer: {error}") from error
        if not answer.ok:
            raise InputError(f"the link proxy refused: {answer.message}", code="link_refused")
        return answer.links
