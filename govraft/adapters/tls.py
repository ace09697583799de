"""TLS between members: version 1.3, both sides present a certificate, and only pinned certificates count.

OpenSSL checks that the peer owns the key of a certificate in the trust store, which holds the pinned ones and nothing
else. `pinned_member` then compares the whole certificate with the pin: names and chains are never asked. OpenSSL does
ask for the dates: a certificate that has expired is refused at the next handshake (those that `init` makes never do).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from govraft.adapters.node_key import NodeIdentity
from govraft.core.model.electorate import Member
from govraft.errors import InputError, SignatureError, require

__all__ = ["client_context", "pinned_member", "server_context"]


def server_context(identity: NodeIdentity, members: Iterable[Member]) -> ssl.SSLContext:
    """A context that accepts connections of `members`.

    Raises:
        InputError: A certificate cannot be used, or there is no member.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity, members)
    # A resumed session would skip the certificates.
    context.num_tickets = 0
    return context


def client_context(identity: NodeIdentity, *pins: Member) -> ssl.SSLContext:
    """A context for dialling one member and nobody else; `pins` are its entries, two while its key is being rotated.

    Raises:
        InputError: A certificate cannot be used.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, pins)


def pinned_member(connection: object, members: Iterable[Member]) -> Member:
    """The member at the other end of a connection whose handshake is complete.

    Args:
        connection: `ssl_object` of the transport.
        members: Whose certificates are acceptable; for a dialler only the one it meant.

    Raises:
        SignatureError: No certificate, one that is not pinned, or not TLS 1.3.
    """
    if not isinstance(connection, (ssl.SSLObject, ssl.SSLSocket)) or connection.version() != "TLSv1.3":
        raise SignatureError("the connection is not TLS 1.3; upgrade the peer")
    certificate = connection.getpeercert(binary_form=True)
    # SAFETY: the whole certificate equals the pin; test_peer_network.py::test_another_members_certificate_is_refused
    for member in members:
        if certificate and certificate == member.certificate:
            return member
    raise SignatureError("the peer's certificate is not pinned; compare it with the genesis")


def _context(protocol: int, identity: NodeIdentity, members: Iterable[Member]) -> ssl.SSLContext:
    pins = b"".join(member.certificate for member in members)
    # An empty trust store must not become "no check".
    if not pins:
        raise InputError("no member certificate to trust")
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    # SAFETY: without it a peer need not present any certificate;
    # test_tls.py::test_both_sides_must_present_a_certificate
    context.verify_mode = ssl.CERT_REQUIRED
    # The certificate itself is looked for among the trusted ones, not an issuer of its name: while a member's key is
    # being rotated there are two of one name.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    try:
        context.load_verify_locations(cadata=pins)
        _load_identity(context, identity)
    except ssl.SSLError as error:
        raise InputError(f"a node certificate cannot be used for tls: {error.reason}") from error
    require(context.verify_mode is ssl.CERT_REQUIRED, "tls must demand a certificate")
    return context


def _load_identity(context: ssl.SSLContext, identity: NodeIdentity) -> None:
    """Hand key and certificate to OpenSSL, which takes only files: one in memory that no other process can open."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        content = identity.pem_chain()
        require(os.write(descriptor, content) == len(content), "the identity was written in part")
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
