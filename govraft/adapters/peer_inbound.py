"""Receiving from members: accept, TLS handshake, pin, hello, welcome, then frames.

=========== ======================================== =======================================
state       event                                    next
=========== ======================================== =======================================
admitting   handshake, pin and hello good            open; an older link of the member closes
admitting   anything else, or the time is over       closed
open        whole frame                              open, frame handed on
open        malformed frame, loss, newer link        closed, nothing more handed on
open        its certificate is pinned no longer      closed, nothing more handed on
=========== ======================================== =======================================

A stranger can hold one of a bounded number of admissions for a bounded time. When they are used up, the oldest of the
address that holds most is evicted: an honest peer needs milliseconds and one connection, so it is rarely the one.

A member that sends without end is read in turns of `LINK_TURN_S`, and meanwhile not read from: it gets its share of
the node's time and no more, and the kernel's buffers hold back the rest.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter, deque
from collections.abc import Callable, Sequence
from time import perf_counter

from govraft.adapters import peer_sockets
from govraft.adapters.frames import CONTROL_CHANNEL, Frame, FrameDecoder
from govraft.adapters.peer_events import PeerEvent, PeerEvents
from govraft.adapters.peer_hello import HELLO_BYTES_MAX, Hello, accept_hello, encode_hello
from govraft.adapters.tls import pinned_member
from govraft.core.model.electorate import Member
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import DecodeError, GovraftError, VerificationError
from govraft.turns import Turns

__all__ = ["InboundListener"]

ADMISSIONS_MAX = 64
ADMISSION_TIMEOUT_S = 3.0
ACCEPT_PAUSE_S = 0.1
SESSIONS_REMEMBERED = 16
LINK_TURN_S = 0.001
LINKS_LOOP_S = 0.005


class InboundListener:
    """Accepts the connections of the members, one of each at a time. There are none before `set_members`.

    Args:
        hello: Own cluster id, node id and session.
        events: Where trouble is counted.
        on_frame: Given each frame: member id, channel, payload. Must not raise.
    """

    def __init__(
        self,
        hello: tuple[str, str, bytes],
        events: PeerEvents,
        on_frame: Callable[[str, int, bytes], None],
    ) -> None:
        self.members: Sequence[Member] = ()
        self.cluster_id = hello[0]
        self.welcome = encode_hello(*hello)
        self.events = events
        self.on_frame = on_frame
        self._context: ssl.SSLContext | None = None
        # Nothing of a link is ever charged: any number will do.
        self.turns = Turns(LINKS_LOOP_S, charges=1)
        self._admissions: dict[asyncio.Task[None], str] = {}
        self._links: dict[str, _InboundLink] = {}
        self._sessions: dict[str, bytes] = {}
        self._old_sessions: dict[str, deque[bytes]] = {}
        self._is_closed = False

    @property
    def connected(self) -> frozenset[str]:
        """The members whose link is open."""
        return frozenset(self._links)

    def set_members(self, members: Sequence[Member], context: ssl.SSLContext | None) -> None:
        """Accept exactly these from now on, and close the links of whoever is not among them.

        Args:
            members: Who may connect; an id stands there twice while its certificate is being changed.
            context: From `tls.server_context` for exactly these members; None if there are none.
        """
        self.members, self._context = tuple(members), context
        for link in list(self._links.values()):
            # SAFETY: whoever is removed is heard no longer, though its connection was good when it was made;
            # test_peer_members.py::test_a_removed_members_connection_drops
            if not self._is_pinned(link):
                self.forget(link)
                link.retire()

    def _is_pinned(self, link: _InboundLink) -> bool:
        own = link.member
        return own is not None and any(
            (member.id, member.certificate) == (own.id, own.certificate) for member in self.members
        )

    async def serve(self, listener: socket.socket) -> None:
        """Accept on `listener` until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, most likely: the open links go on, and the next attempt may find one.
                self.events.record(PeerEvent.ACCEPT_FAILED, "", str(error))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            self._begin_admission(connection, str(address[0]))
            # A connection that waits is taken without a pause of the loop: make one, or a flood would have all of it.
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Close every connection and wait for the admissions to end."""
        self._is_closed = True
        admissions = list(self._admissions)
        for task in admissions:
            task.cancel()
        await asyncio.gather(*admissions, return_exceptions=True)
        for link in list(self._links.values()):
            link.retire()
        self._links.clear()

    def admit(self, link: _InboundLink, member: Member, hello: Hello) -> None:
        """Make `link` the one link of `member`.

        Raises:
            VerificationError: The hello is of an earlier life of the member.
        """
        if self._is_closed:
            raise VerificationError("the node is stopping")
        # SAFETY: it may have been removed since its handshake;
        # test_peer_members.py::test_a_member_that_is_removed_between_handshake_and_hello_is_refused
        if not self._is_pinned(link):
            raise VerificationError(f"`{member.id}` is no member any more")
        old_sessions = self._old_sessions.setdefault(member.id, deque(maxlen=SESSIONS_REMEMBERED))
        older = self._links.get(member.id)
        # SAFETY: a late connection of a dead process must not displace the living one's;
        # test_peer_network.py::test_a_late_connection_of_an_old_session_is_refused
        # But whoever held the member's key for a moment must not keep its node out for good.
        if older is not None and hello.session in old_sessions:
            raise VerificationError("the connection is of an earlier life of the peer")
        latest = self._sessions.get(member.id)
        if latest is not None and latest != hello.session:
            old_sessions.append(latest)
        self._sessions[member.id] = hello.session
        if older is not None:
            older.retire()
            self.events.record(PeerEvent.LINK_REPLACED, member.id, "the peer connected again")
        self._links[member.id] = link

    def forget(self, link: _InboundLink) -> None:
        """Note that `link` is closed."""
        if link.member is not None and self._links.get(link.member.id) is link:
            del self._links[link.member.id]

    def _begin_admission(self, connection: socket.socket, source: str) -> None:
        if len(self._admissions) >= ADMISSIONS_MAX:
            # SAFETY: one host cannot keep the members of all others out;
            # test_abuse_peer_port.py::test_strangers_of_one_address_make_room_for_another
            ((crowd, _),) = Counter(self._admissions.values()).most_common(1)
            oldest = next(task for task, address in self._admissions.items() if address == crowd)
            del self._admissions[oldest]
            oldest.cancel()
            self.events.record(PeerEvent.ADMISSION_EVICTED, "", "too many connections without a hello")
        task = asyncio.get_running_loop().create_task(self._admission(connection))
        self._admissions[task] = source
        task.add_done_callback(lambda done: self._admissions.pop(done, None))

    async def _admission(self, connection: socket.socket) -> None:
        """Bring one accepted connection to its welcome, or close it."""
        link = _InboundLink(self)
        try:
            if self._context is None:
                raise VerificationError("this node has no other member to talk to")
            peer_sockets.tune(connection)
            async with asyncio.timeout(ADMISSION_TIMEOUT_S):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: link, connection, ssl=self._context, ssl_handshake_timeout=ADMISSION_TIMEOUT_S
                )
                await link.admitted
        except TimeoutError:
            self.events.record(PeerEvent.ADMISSION_TIMED_OUT, "", "a connection sent no hello in time")
        except OSError as error:  # TLS errors are OSErrors.
            self.events.record(PeerEvent.HANDSHAKE_FAILED, "", str(error))
        except GovraftError as error:
            self.events.record(PeerEvent.HELLO_REFUSED, link.member.id if link.member else "", str(error))
        finally:
            if not link.is_open:
                link.retire()
                connection.close()


class _InboundLink(asyncio.Protocol):
    """One connection of a member, once TLS is up."""

    def __init__(self, listener: InboundListener) -> None:
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.member: Member | None = None
        self.is_open = False
        self._is_retired = False
        self._is_in_line = False
        self._listener = listener
        self._decoder = FrameDecoder(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None

    def retire(self) -> None:
        """Close, and hand on nothing more of what was received."""
        self._is_retired = True
        self.is_open = False
        if not self.admitted.done():
            self.admitted.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by the protocol's kind
        if self._is_retired:
            transport.abort()  # type: ignore[attr-defined]
            return
        try:
            # SAFETY: test_peer_network.py::test_an_unpinned_certificate_is_refused
            self.member = pinned_member(transport.get_extra_info("ssl_object"), self._listener.members)
        except GovraftError as error:
            self._refuse(error)

    def data_received(self, data: bytes) -> None:
        if self._is_retired or self.member is None:
            return
        self._decoder.receive(data)
        if self._is_in_line:
            return
        if self._listener.turns.has_room():
            self._take_turn()
        else:
            self._stand_in_line()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        if not self.admitted.done():
            self.admitted.set_exception(ConnectionResetError(str(exc) if exc else "closed before the hello"))
        self.retire()

    def _stand_in_line(self) -> None:
        if self._transport is not None:
            self._is_in_line = True
            # SAFETY: what a member sends meanwhile stays in the kernel's buffers, and makes it wait;
            # test_abuse_peer_port.py::test_an_honest_member_is_heard_through_a_flood
            self._transport.pause_reading()
            self._listener.turns.request(self._called_up)

    def _called_up(self) -> None:
        self._is_in_line = False
        if not self._is_retired and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._take_turn()

    def _take_turn(self) -> None:
        """Hand on some frames, then let the other members have their turn."""
        end = perf_counter() + LINK_TURN_S
        try:
            # Asked before each frame: handing one on may have closed this link.
            while not self._is_retired and (frame := self._decoder.next_frame()) is not None:
                self._take(frame)
                if perf_counter() > end and not self._is_retired:
                    self._stand_in_line()
                    return
        except GovraftError as error:
            self._refuse(error)

    def _take(self, frame: Frame) -> None:
        if self.member is None:
            return
        if not self.is_open:
            self._welcome(
                self.member, accept_hello(frame, cluster_id=self._listener.cluster_id, node_id=self.member.id)
            )
        elif frame.channel == CONTROL_CHANNEL:
            raise DecodeError("a second hello")
        else:
            self._listener.on_frame(self.member.id, frame.channel, frame.payload)

    def _welcome(self, member: Member, hello: Hello) -> None:
        self._listener.admit(self, member, hello)
        self.is_open = True
        self._decoder.frame_bytes_max = FRAME_BYTES
        if self._transport is not None:
            self._transport.write(self._listener.welcome)
        if not self.admitted.done():
            self.admitted.set_result(None)

    def _refuse(self, error: GovraftError) -> None:
        if self.is_open and self.member is not None:
            self._listener.events.record(PeerEvent.FRAME_MALFORMED, self.member.id, str(error))
        elif not self.admitted.done():
            self.admitted.set_exception(error)
        self._listener.forget(self)
        self.retire()
