"""TLS in memory: who gets through a handshake, and who does not."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.tls import client_context, pinned_member, server_context
from govraft.core.model.electorate import Member
from govraft.errors import InputError, SignatureError

IDENTITIES = {node_id: NodeIdentity.create(node_id) for node_id in ("a", "b", "c")}


def member(node_id: str, identity: NodeIdentity | None = None) -> Member:
    identity = identity or IDENTITIES[node_id]
    return Member(node_id, identity.public_key, identity.certificate, voter=True, address="")


A, B, C = member("a"), member("b"), member("c")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after the handshake and one byte each way; raises what either end met."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server, server_side=False)
    steps: list[Callable[[], object]] = [client_end.do_handshake, server_end.do_handshake] * 3
    steps += [lambda: client_end.write(b"x"), lambda: server_end.write(b"y"), lambda: client_end.read(1)]
    steps += [lambda: server_end.read(1)]
    for step in steps:
        try:
            step()
        except ssl.SSLWantReadError:
            continue
    return server_end, client_end


def test_members_recognise_each_other() -> None:
    server_end, client_end = handshake(server_context(IDENTITIES["a"], [B, C]), client_context(IDENTITIES["b"], A))
    assert pinned_member(server_end, [B, C]) is B
    assert pinned_member(client_end, [A]) is A
    assert client_end.version() == "TLSv1.3"
    assert not server_end.session_reused


def test_two_certificates_of_one_name_are_told_apart() -> None:
    new = NodeIdentity.create("b")
    new_b = member("b", new)
    for order in ([B, new_b], [new_b, B]):
        for identity, expected in ((IDENTITIES["b"], B), (new, new_b)):
            server_end, _ = handshake(server_context(IDENTITIES["a"], order), client_context(identity, A))
            assert pinned_member(server_end, order) is expected
            _, client_end = handshake(server_context(identity, [A]), client_context(IDENTITIES["a"], *order))
            assert pinned_member(client_end, order) is expected


def test_both_sides_must_present_a_certificate() -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        handshake(server_context(IDENTITIES["a"], [B]), bare)


@pytest.mark.clause("8 cryptographic member verification")
def test_a_stranger_is_refused_by_the_handshake() -> None:
    stranger = NodeIdentity.create("b")
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        handshake(server_context(IDENTITIES["a"], [B]), client_context(stranger, A))
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        handshake(server_context(stranger, [B]), client_context(IDENTITIES["b"], A))


def test_another_member_is_not_the_one_that_was_dialled() -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        handshake(server_context(IDENTITIES["c"], [B]), client_context(IDENTITIES["b"], A))


def test_the_pin_decides_whatever_openssl_accepted() -> None:
    server_end, client_end = handshake(server_context(IDENTITIES["a"], [B, C]), client_context(IDENTITIES["b"], A))
    with pytest.raises(SignatureError, match="not pinned"):
        pinned_member(server_end, [C])
    with pytest.raises(SignatureError, match="not pinned"):
        pinned_member(client_end, [])
    with pytest.raises(SignatureError, match=r"not TLS 1.3"):
        pinned_member(None, [A])


def test_a_key_without_its_own_certificate_is_refused() -> None:
    """Whoever copies a pinned certificate does not have its key."""
    with pytest.raises(InputError, match="for another key"):
        NodeIdentity(NodeIdentity.create("b")._private_key, B.certificate)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
def test_older_versions_are_refused(version: ssl.TLSVersion) -> None:
    client = client_context(IDENTITIES["b"], A)
    client.minimum_version = version
    client.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
        handshake(server_context(IDENTITIES["a"], [B]), client)


def test_an_empty_trust_store_is_refused() -> None:
    with pytest.raises(InputError, match="no member certificate"):
        server_context(IDENTITIES["a"], [])


def test_a_damaged_pin_is_refused() -> None:
    broken = Member("b", B.public_key, b"no certificate", voter=True, address="")
    with pytest.raises(InputError, match="cannot be used for tls"):
        client_context(IDENTITIES["a"], broken)
