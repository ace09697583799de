"""Properties of what nodes tell each other, and what a client and a node tell each other."""

from __future__ import annotations

import msgspec

from fuzzing.target import Finding, Target, expect
from fuzzing.world import world
from govraft.adapters.engine import frames as engine_frames
from govraft.adapters.frames import CONTROL_CHANNEL, Frame, FrameDecoder, encode_frame
from govraft.adapters.peer_hello import accept_hello, encode_hello
from govraft.api import wire
from govraft.api.greeting import Hello, Hello2
from govraft.client import answers, greeting, questions
from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Ack, EpochRequest, Epochs, Kind, Lease, Probe, Signed, decode_kind
from govraft.core.crypto.keys import verify
from govraft.core.model.request import Request
from govraft.core.model.verdict import Allow, Deny
from govraft.errors import CertificateError, DecodeError, GovraftError, InputError, VerificationError

__all__ = ["TARGETS"]

_FRAME_BYTES = 300
_NOW = 10**12
_BODIES = {
    Kind.PROBE: Probe,
    Kind.ACK: Ack,
    Kind.LEASE: Lease,
    Kind.EPOCHS: Epochs,
    Kind.EPOCH_REQUEST: EpochRequest,
}
_ASKED = b"\x01" * 32


def _message(data: bytes) -> bool:
    try:
        signed = Signed.decode(data, decode_kind(data))
        expect(signed.encode() == data, "encodes again to other bytes")
        body = _BODIES[signed.kind].decode(signed.body)
    except InputError:
        return False
    expect(body.encode() == signed.body, "its body encodes again to other bytes")
    return True


def _lease(data: bytes) -> bool:
    """First as if every signature held, for the rules behind it; then with the real ones."""
    first = world()
    try:
        signed = Signed.decode(data, Kind.LEASE)
    except InputError:
        return False
    for is_valid in (lambda _key, _signature, _message: True, verify):
        try:
            proven = verify_lease(
                signed, first.electorate, first.origin, first.cluster, first.timing, is_valid=is_valid
            )
        except CertificateError:
            return False
        lease = Lease.decode(signed.body)
        silent = {name for item in lease.acks for name in Ack.decode(item.body).outstanding}
        silent -= {Ack.decode(item.body).node for item in lease.acks}
        expect(len(proven.voters) >= first.electorate.quorum_count, "a lease without a quorum")
        if len(lease.acks) == len(proven.voters):
            expect(not silent, f"holders {silent} were left out")
    expect(proven.probe == Probe.decode(first.probe().body), "a lease that nobody granted")
    return True


def _engine(data: bytes) -> bool:
    try:
        message = engine_frames.decode_frame(data)
    except DecodeError:
        return False
    expect(engine_frames.encode_frame(message) == data, "encodes again to other bytes")
    return True


def _peer_stream(data: bytes) -> bool:
    """However the bytes arrive, the frames are the same, and little is buffered."""
    outcomes = []
    for size in (max(1, len(data)), 1, 7):
        decoder, found, failed = FrameDecoder(_FRAME_BYTES), [], False
        for start in range(0, len(data), size):
            decoder.receive(data[start : start + size])
            try:
                while (frame := decoder.next_frame()) is not None:
                    found.append(frame)
            except DecodeError:
                failed = True
                break
            expect(decoder.buffered_bytes < _FRAME_BYTES + 4, "buffers more than a frame")
        outcomes.append((found, failed))
    expect(outcomes[0] == outcomes[1] == outcomes[2], "the frames depend on how the bytes arrive")
    if not outcomes[0][1]:
        whole = b"".join(encode_frame(*frame) for frame in outcomes[0][0])
        expect(data.startswith(whole), "frames of other bytes than came")
    return not outcomes[0][1]


def _client_stream(data: bytes) -> bool:
    outcomes = []
    for size in (max(1, len(data)), 1, 7):
        reader, found, failed = wire.FrameReader(_FRAME_BYTES), [], False
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
            try:
                while (payload := reader.next_frame()) is not None:
                    found.append(payload)
            except InputError:
                failed = True
                break
            expect(reader.buffered_bytes < _FRAME_BYTES + 4, "buffers more than a frame")
        outcomes.append((found, failed))
    expect(outcomes[0] == outcomes[1] == outcomes[2], "the frames depend on how the bytes arrive")
    if not outcomes[0][1]:
        expect(data.startswith(b"".join(map(wire.frame, outcomes[0][0]))), "frames of other bytes than came")
    return not outcomes[0][1]


def _hello(data: bytes) -> bool:
    frame = Frame(data[0] if data else 0, data[1:])
    try:
        hello = accept_hello(frame, cluster_id=world().genesis.cluster_id, node_id="n1")
    except (DecodeError, VerificationError):
        return False
    expect((hello.v, hello.node_id, len(hello.session)) == (2, "n1", 16), "a hello of somebody else")
    return True


def _call(data: bytes) -> bool:
    """The node's side. What it understands, the client's side of the same bytes says too."""
    name = wire.call_id_of(data)
    try:
        call = wire.decode_call(data)
    except DecodeError:
        return False
    expect(call.id == name, "a call under two ids")
    again = wire.encode(call)
    expect(wire.encode(wire.decode_call(again)) == again, "another call after encoding it again")
    if isinstance(call, wire.CheckCall):
        try:
            request = wire.decode_request(call.request)
        except DecodeError:
            return False
        _same_question(request, call.at_least)
    return True


def _same_question(request: Request, at_least: int) -> None:
    try:
        asked = questions.ask_check(
            request.principal, request.action, request.resource, request.context, at_least=at_least, explain=False
        )
        again = wire.decode_call(asked.call(7))
    except InputError:
        # A client refuses to ask some of what a node would read: more than REQUEST_BYTES, for one.
        return
    # By their text: a NaN in the context, which the gate denies later, is not even equal to itself.
    if not isinstance(again, wire.CheckCall) or repr(wire.decode_request(again.request)) != repr(request):
        raise Finding("what a client asks is not what the node reads")


def _answer(data: bytes) -> bool:
    """The client's side: an allow comes out only for the question that was asked, while it holds."""
    try:
        answer = answers.decode_answer(answers.check_decoder, data)
        answers.match(answer, 7, _ASKED)
    except GovraftError:
        return False
    if answer.result is None:
        return False
    verdict = answers.vet(answer.result, 3, _NOW)
    if isinstance(verdict, Allow):
        other = msgspec.msgpack.decode(data)
        held = _NOW < other["result"]["valid_until"] <= _NOW + 600_000 * 10**6
        expect(other["result"]["verdict"] == "allow" and held, "an allow that a second reader does not see")
        expect((other["id"], other["ok"], other["request"]) == (7, True, _ASKED), "an answer to another question")
        expect(other["result"]["seq"] >= 3 and "error" not in {key for key in other if other[key]}, "a stale allow")
    return True


def _answers(data: bytes) -> bool:
    """All other answers, by the functions that judge them; the first byte chooses the question."""
    kinds = (
        greeting.ask_greeting(),
        questions.ask_submit(b"{}", wait="effective", timeout_s=1.0, retry=False),
        questions.ask_submit(b"{}", wait="none", timeout_s=1.0, retry=False),
        questions.ask_read("status", {}),
        questions.ask_watch(),
        next(questions.ask_many([("a", "b", "c"), ("a", "b", "d")], at_least=0, explain=False)),
    )
    place = data[0] % (len(kinds) + 1) if data else 0
    try:
        answers.id_in(data[1:])
        if place == len(kinds):
            answers.event_in(data[1:], 7)
            return True
        result = kinds[place].judge(data[1:], 7)
    except GovraftError:
        return False
    if place == 1 and isinstance(result, wire.Receipt):
        effective = result.outcome == "applied" and result.certified_seq >= result.seq >= 1 and result.certificate
        expect(effective, "effective without a certificate")
    return True


def _answer_seeds() -> list[bytes]:
    allow = Allow(5, "a" * 64, _NOW + 10**9, ["p"], "d-1", "n1")
    deny = Deny("policy_denied", "no", 5, "a" * 64, ["p"], ["e"], "d-1", "n1")  # type: ignore[arg-type]
    error = wire.WireError("lease_expired", "over", True, "unavailable")
    good: list[object] = [wire.Success(7, allow, _ASKED), wire.Success(7, deny, _ASKED)]
    return [wire.encode(item) for item in [*good, wire.Failure(7, error), wire.Failure(0, error)]]


def _answers_seeds() -> list[bytes]:
    receipt = wire.Receipt("c1", "applied", 2, 9, b"leaf", [bytes(32)], world().certificate)
    asked = wire.request_digest(b"{}")
    batch = wire.encode(
        [msgspec.Raw(wire.encode({"principal": "a", "action": "b", "resource": end, "context": {}})) for end in "cd"]
    )
    deny = _deny()
    frames = (
        (0, wire.Success(7, Hello(1, "n1", "c"))),
        (0, wire.Success(7, Hello2(2, "n1", "c", ["x"], "0" * 36, 1))),
        (1, wire.Success(7, receipt, asked)),
        (2, wire.Success(7, wire.Receipt("c1", "pending"), asked)),
        (3, wire.Success(7, {"any": [1, None, b"x"]})),
        (4, wire.Success(7, None)),
        (5, wire.Success(7, [deny, deny], wire.request_digest(batch))),
        (6, wire.EventFrame(7, {"seq": 3})),
        (1, wire.Failure(7, wire.WireError("wrong_cluster", "no", True, "rejected"))),
    )
    return [bytes([place]) + wire.encode(item) for place, item in frames]


def _deny() -> Deny:
    return msgspec.convert({"verdict": "deny", "reason": "policy_denied"}, Deny)


def _call_seeds() -> list[bytes]:
    ask = questions.ask_check('A::"a"', 'Action::"b"', 'C::"c"', {"x": [1, {"y": "z"}]}, at_least=3, explain=True)
    many = next(questions.ask_many([("a", "b", "c")], at_least=0, explain=False))
    submit = questions.ask_submit(world().envelopes[4], wait="committed", timeout_s=1.0, retry=True)
    return [
        item.call(7)
        for item in (
            ask,
            many,
            submit,
            greeting.ask_greeting(),
            greeting.ask_first_protocol(),
            questions.ask_read("x", {"y": 1}),
            questions.ask_watch(),
        )
    ]


def _engine_seeds() -> list[bytes]:
    entry = engine_frames.REGULAR + world().entries[4]
    messages = (
        engine_frames.AppendEntries(3, 1, 1, 1, ((2, engine_frames.NO_OP), (3, entry))),
        engine_frames.PreVote(3, 1, 1),
        engine_frames.PreVoteResponse(3, True),
        engine_frames.RequestVote(3, 0, 0),
        engine_frames.ResponseVote(3),
        engine_frames.NextNodeIndex(3, 1, 2, False, True),
    )
    return [engine_frames.encode_frame(message) for message in messages]


def _message_seeds() -> list[bytes]:
    first = world()
    return [item.encode() for item in (first.probe(), first.ack("n1"), first.ack("n2", ("n3",)), first.lease())]


def _hello_seeds() -> list[bytes]:
    return [bytes([CONTROL_CHANNEL]) + encode_hello(world().genesis.cluster_id, "n1", bytes(16))[5:]]


TARGETS = (
    Target(
        "message",
        "probes, acks and leases",
        _message,
        _message_seeds,
        "msgpack",
        ("govraft.core.convergence.messages",),
    ),
    Target(
        "lease",
        "whole leases: the rules behind the signatures, then with the signatures",
        _lease,
        lambda: [world().lease(names).encode() for names in ((), ("n1",), ("n3",), ("n1", "n2", "x"))],
        "msgpack",
        ("govraft.core.convergence.certificate",),
    ),
    Target(
        "engine-frame", "frames of the engine", _engine, _engine_seeds, "msgpack", ("govraft.adapters.engine.frames",)
    ),
    Target(
        "peer-stream",
        "a peer's bytes, cut anywhere",
        _peer_stream,
        lambda: [encode_frame(1, b"abc") + encode_frame(255, b"") + encode_frame(0, bytes(295))],
        "bytes",
        ("govraft.adapters.frames",),
        length_max=1200,
    ),
    Target(
        "client-stream",
        "a client's bytes, cut anywhere",
        _client_stream,
        lambda: [wire.frame(b"abc") + wire.frame(bytes(300)) + wire.frame(b"x")],
        "bytes",
        ("govraft.api.wire",),
        length_max=1200,
    ),
    Target(
        "hello",
        "the first frame of a peer",
        _hello,
        _hello_seeds,
        "msgpack",
        ("govraft.adapters.peer_hello",),
        prefix=1,
    ),
    Target(
        "call",
        "calls of clients, as the node and as the client reads them",
        _call,
        _call_seeds,
        "msgpack",
        ("govraft.api.wire",),
    ),
    Target(
        "verdict",
        "answers to a check: no allow that must not be believed",
        _answer,
        _answer_seeds,
        "msgpack",
        ("govraft.client.answers",),
    ),
    Target(
        "answer",
        "answers to everything else",
        _answers,
        _answers_seeds,
        "msgpack",
        ("govraft.client.answers", "govraft.client.greeting", "govraft.client.questions"),
        prefix=1,
    ),
)
