"""One blocking connection to a node's socket, one call at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import weakref
from typing import Any, TypeVar

from govraft.api.wire import FrameReader, frame
from govraft.client.greeting import Greeting, ask_first_protocol, ask_greeting
from govraft.client.questions import Question
from govraft.core.model.limits import RESPONSE_BYTES
from govraft.errors import AvailabilityError, GovraftError, InputError

__all__ = ["Connection", "StaleConnectionError", "deadline_in", "remaining_until"]

_RECEIVE_BYTES = 64 * 1024
_BACKLOG_PAUSE_S = 0.005

T = TypeVar("T")

_open: weakref.WeakSet[Connection] = weakref.WeakSet()


class StaleConnectionError(AvailabilityError):
    """The node closed the connection before it answered: it may have been restarted since the last call."""


def deadline_in(timeout_s: float) -> float:
    """The point in monotonic time, seconds, that lies `timeout_s` ahead."""
    return time.monotonic() + timeout_s


class Connection:
    """A connection that has greeted its node. Whoever holds it has it alone; after any error it is closed."""

    def __init__(self, path: str, deadline: float) -> None:
        """Connect and greet.

        Raises:
            AvailabilityError: Nobody listens, the node refuses, or it is too slow. Definite: nothing was asked.
            GovraftError: What listens is not a node.
        """
        self._pid = os.getpid()
        self._next_id = 1
        self._reader = FrameReader(RESPONSE_BYTES)
        self.greeting = Greeting()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _open.add(self)
        try:
            self._connect(path, deadline)
            self.greeting = self.ask(ask_greeting(), deadline) or self.ask(ask_first_protocol(), deadline)
        except GovraftError as error:
            self.close()
            error.definite = True  # A greeting changes nothing.
            raise
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        """Close without a warning: a client that is dropped takes its connections along."""
        with contextlib.suppress(AttributeError):
            self.close()

    @property
    def is_usable(self) -> bool:
        """Open, nothing left over from an earlier answer, and not inherited from a parent process."""
        return self._socket.fileno() >= 0 and self._reader.buffered_bytes == 0 and self._pid == os.getpid()

    def close(self) -> None:
        """Close. May be called twice."""
        self._socket.close()

    def ask(self, question: Question[T], deadline: float) -> T:
        """Send one question and wait for its answer until `deadline`, monotonic seconds.

        Raises:
            StaleConnectionError: The node has closed the connection without an answer.
            AvailabilityError: Too slow, the connection failed, or this node cannot be asked that.
            GovraftError: What the node reports, or an answer that is not usable.
        """
        call_id = self.send(question, deadline)
        payload = self.receive(deadline)
        if self._reader.buffered_bytes:
            self.close()
            raise GovraftError("the node sent more than it was asked for", code="answer_invalid", definite=False)
        return question.judge(payload, call_id)

    def send(self, question: Question[Any], deadline: float) -> int:
        """Send one question; its id.

        Raises:
            AvailabilityError: The connection failed, or this node cannot be asked that.
        """
        self.greeting.admit(question)
        call_id = self._next_id
        self._next_id += 1
        payload = question.call(call_id)
        try:
            self._socket.settimeout(remaining_until(deadline))
            self._socket.sendall(frame(payload))
        except OSError as error:
            self.close()
            raise _failure(error) from error
        except BaseException:
            self.close()
            raise
        return call_id

    def receive(self, deadline: float | None) -> bytes:
        """The next payload. `deadline` None waits for ever."""
        try:
            while (payload := self._reader.next_frame()) is None:
                self._socket.settimeout(None if deadline is None else remaining_until(deadline))
                data = self._socket.recv(_RECEIVE_BYTES)
                if not data:
                    raise ConnectionResetError
                self._reader.feed(data)
        except OSError as error:
            self.close()
            raise _failure(error) from error
        except InputError as error:
            self.close()
            raise GovraftError(f"the node's answer is not usable: {error}", code=error.code, definite=False) from error
        except BaseException:
            # A signal's exception, say: an answer may still be on its way, and must never meet another question.
            self.close()
            raise
        return payload

    def _connect(self, path: str, deadline: float) -> None:
        try:
            while not self._reached(path, deadline):
                time.sleep(min(_BACKLOG_PAUSE_S, remaining_until(deadline)))
        except OSError as error:
            raise AvailabilityError(
                f"no node answers at `{path}`: {error.strerror or 'timed out'}", code="node_unreachable"
            ) from error

    def _reached(self, path: str, deadline: float) -> bool:
        try:
            self._socket.settimeout(remaining_until(deadline))
            self._socket.connect(path)
        except BlockingIOError:
            return False  # The node's backlog is full: Linux says so at once, instead of waiting.
        return True


def remaining_until(deadline: float) -> float:
    """Seconds until `deadline`.

    Raises:
        TimeoutError: It has passed.
    """
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _failure(error: OSError) -> AvailabilityError:
    if isinstance(error, TimeoutError):
        return AvailabilityError("the node did not answer in time", code="timed_out", definite=False)
    return StaleConnectionError("the node closed the connection", code="node_unreachable", definite=False)


def _close_inherited() -> None:
    for connection in list(_open):
        connection.close()


# A child that kept its parent's connections open would hide from the node that the parent has gone.
os.register_at_fork(after_in_child=_close_inherited)
