"""A node's Ed25519 key and the self-signed certificate that the other members pin.

The key signs cosignatures and opens TLS connections; both are recognised by the same public key in genesis. Nothing
in the certificate is trusted but its bytes: members compare the whole DER.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from govraft.adapters.store_guard import sync_directory
from govraft.errors import ConfigError, InputError

__all__ = ["NodeIdentity"]

_KEY_FILE_BYTES_MAX = 64 * 1024
_COMMON_NAME_CHARS_MAX = 64
# Fixed, so that no host's clock decides whether a node may connect: the pin decides. The end is RFC 5280's "no
# well-defined expiration date".
_VALID_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_VALID_UNTIL = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


class NodeIdentity:
    """Private key and certificate of one node.

    Attributes:
        certificate: DER of the self-signed certificate.
    """

    def __init__(self, private_key: Ed25519PrivateKey, certificate: bytes) -> None:
        """Pair a key with its certificate.

        Raises:
            InputError: The certificate cannot be read, or is for another key.
        """
        try:
            certified = x509.load_der_x509_certificate(certificate).public_key()
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise InputError(f"the node certificate cannot be read: {error}") from error
        public_key = _raw(private_key.public_key())
        if not isinstance(certified, Ed25519PublicKey) or _raw(certified) != public_key:
            raise InputError("the node certificate is for another key; use the pair that was created together")
        self._private_key = private_key
        self._public_key = public_key
        self.certificate = certificate

    @classmethod
    def create(cls, node_id: str) -> NodeIdentity:
        """Make a new key and certificate, with `node_id` as common name.

        Raises:
            InputError: The id is empty, or longer than X.509 allows.
        """
        if not 0 < len(node_id) <= _COMMON_NAME_CHARS_MAX:
            raise InputError(f"node id `{node_id[:80]}` must have 1 to {_COMMON_NAME_CHARS_MAX} characters")
        private_key = Ed25519PrivateKey.generate()
        return cls(private_key, _self_signed(private_key, node_id))

    @classmethod
    def load(cls, key_path: Path, certificate_path: Path, passphrase: bytes | None = None) -> NodeIdentity:
        """Read what `save` wrote.

        Raises:
            ConfigError: A file is missing, unreadable or readable by others, the passphrase is wrong, or key and
                certificate do not belong together.
        """
        key_pem = _read_private(key_path)
        try:
            private_key = serialization.load_pem_private_key(key_pem, passphrase)
        except TypeError as error:
            # The library's way to say that a passphrase is missing or superfluous.
            message = "is encrypted: give its passphrase" if passphrase is None else "is not encrypted: give none"
            raise ConfigError(f"the key {message}", file=str(key_path)) from error
        except (ValueError, UnsupportedAlgorithm, InternalError) as error:
            # InternalError: of OpenSSL, for a key whose length does not fit its kind.
            message = "no PKCS#8 private key can be read; is the passphrase right?"
            raise ConfigError(message, file=str(key_path)) from error
        if not isinstance(private_key, Ed25519PrivateKey):
            raise ConfigError("the key is not Ed25519; create it with `govraft init`", file=str(key_path))
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            return cls(private_key, certificate.public_bytes(serialization.Encoding.DER))
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(certificate_path)) from error
        except (ValueError, x509.InvalidVersion) as error:
            raise ConfigError("no PEM certificate can be read", file=str(certificate_path)) from error
        except InputError as error:
            raise ConfigError(str(error), file=str(certificate_path)) from error

    def save(self, key_path: Path, certificate_path: Path, passphrase: bytes | None = None) -> None:
        """Write the key as PKCS#8 PEM, mode 0600, and the certificate as PEM. Overwrites nothing.

        Raises:
            ConfigError: A file exists already, or cannot be written.
        """
        _write_new(key_path, self._key_pem(passphrase), 0o600)
        _write_new(certificate_path, self._certificate_pem(), 0o644)

    @property
    def public_key(self) -> bytes:
        """Ed25519, 32 bytes."""
        return self._public_key

    def is_valid_at(self, now: dt.datetime) -> bool:
        """Whether the certificate's dates include `now`, which knows its time zone: other members' TLS asks for it."""
        certificate = x509.load_der_x509_certificate(self.certificate)
        return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""
        return self._private_key.sign(message)

    def pem_chain(self) -> bytes:
        """Unencrypted key and certificate, for a TLS library. Never write it to a disk."""
        return self._key_pem(None) + self._certificate_pem()

    def __repr__(self) -> str:
        """Names the public key only."""
        return f"NodeIdentity({self._public_key.hex()})"

    def __reduce__(self) -> NoReturn:
        """Refused: a private key must not end up in a pickle."""
        raise TypeError("a node identity cannot be pickled")

    def _key_pem(self, passphrase: bytes | None) -> bytes:
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase is not None
            else serialization.NoEncryption()
        )
        return self._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def _certificate_pem(self) -> bytes:
        return x509.load_der_x509_certificate(self.certificate).public_bytes(serialization.Encoding.PEM)


def _raw(public_key: Ed25519PublicKey) -> bytes:
    return public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _self_signed(private_key: Ed25519PrivateKey, node_id: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(private_key, algorithm=None).public_bytes(serialization.Encoding.DER)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Asked of the open file, so that it cannot be exchanged in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            # SAFETY: test_node_key.py::test_a_key_readable_by_others_is_refused
            if mode & 0o077:
                raise ConfigError(f"mode {mode:04o} lets others read the key; run `chmod 600 {path}`", file=str(path))
            return file.read(_KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except FileExistsError as error:
        raise ConfigError("exists already and is not overwritten; move it away first", file=str(path)) from error
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from error
