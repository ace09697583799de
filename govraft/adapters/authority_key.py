"""Private keys of authorities, by URI: files, and whatever securesystemslib can reach (HSM, cloud KMS, Vault).

    file2:PATH, file:PATH   PKCS#8 PEM, Ed25519, readable by its owner only; may be encrypted with a passphrase
    anything else           handed to securesystemslib together with the public key that genesis names

Every signature is verified here before it is used: a token that holds another key is noticed at once, not by the
cluster.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import (  # type: ignore[attr-defined]
    SIGNER_FOR_URI_SCHEME,
    CryptoSigner,
    Signer,
    SSlibKey,
)

from govraft.core.crypto.keys import verify
from govraft.errors import InputError

__all__ = ["FILE_SCHEMES", "AskPassphrase", "AuthorityKey", "AuthorityKeyError", "load_authority_key"]

FILE_SCHEMES = ("file", "file2")
_KEY_FILE_BYTES_MAX = 64 * 1024

AskPassphrase = Callable[[str], str]
"""What the secret is for -> the secret. Raises `InputError` when there is nobody to ask."""


class AuthorityKeyError(InputError):
    """A key that cannot be used, or a signer that does not sign."""

    default_code = "key_invalid"


class AuthorityKey:
    """A key that signs.

    Attributes:
        public_key: Ed25519, 32 bytes.
    """

    def __init__(self, signer: Signer, public_key: bytes, uri: str) -> None:
        self._signer = signer
        self._uri = uri
        self.public_key = public_key

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`.

        Raises:
            AuthorityKeyError: The signer failed, or signed with another key.
        """
        try:
            signature = bytes.fromhex(self._signer.sign(message).signature)
        except Exception as error:
            # Signers raise whatever their libraries raise.
            raise AuthorityKeyError(f"key `{self._uri}` did not sign: {_one_line(error)}") from error
        # SAFETY: test_authority_key.py::test_a_signer_with_another_key_is_refused
        if not verify(self.public_key, signature, message):
            raise AuthorityKeyError(f"key `{self._uri}` made a signature of another key: check the URI")
        return signature

    def __repr__(self) -> str:
        """Names the public key only."""
        return f"AuthorityKey({self.public_key.hex()})"


def load_authority_key(uri: str, *, public_key: bytes | None, ask_passphrase: AskPassphrase) -> AuthorityKey:
    """Open the key of that URI.

    Args:
        uri: See the module's description.
        public_key: The key it must be, 32 bytes; None for any key in a file.
        ask_passphrase: Called only if the key needs one.

    Raises:
        AuthorityKeyError: It cannot be opened, is not Ed25519, or is another key.
    """
    scheme = uri.partition(":")[0]
    if scheme in FILE_SCHEMES:
        signer = _open_file(uri, ask_passphrase)
    elif scheme not in SIGNER_FOR_URI_SCHEME:
        known = ", ".join(sorted({*SIGNER_FOR_URI_SCHEME, *FILE_SCHEMES}))
        raise AuthorityKeyError(f"key `{uri}` has no known scheme: use one of {known}")
    elif public_key is None:
        raise AuthorityKeyError(f"key `{uri}` needs the authority it belongs to: write `ID={uri}`")
    else:
        signer = _open_signer(uri, public_key, ask_passphrase)
    opened = _raw_public_key(signer)
    if opened is None:
        raise AuthorityKeyError(f"key `{uri}` is not Ed25519: authorities sign with Ed25519 only")
    if public_key is not None and opened != public_key:
        raise AuthorityKeyError(f"key `{uri}` is not the key that genesis names for this authority")
    return AuthorityKey(signer, opened, uri)


def _open_file(uri: str, ask_passphrase: AskPassphrase) -> Signer:
    path = Path(unquote(urlsplit(uri).path))
    pem = _read_private(path)
    key: object
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        key = _decrypt(pem, path, ask_passphrase)
    except (ValueError, UnsupportedAlgorithm, InternalError) as error:
        # InternalError: of OpenSSL, for a key whose length does not fit its kind.
        raise AuthorityKeyError(f"`{path}` holds no PKCS#8 private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AuthorityKeyError(f"`{path}` is not Ed25519: authorities sign with Ed25519 only")
    return CryptoSigner(key)


def _decrypt(pem: bytes, path: Path, ask_passphrase: AskPassphrase) -> object:
    passphrase = ask_passphrase(f"passphrase of `{path}`").encode()
    try:
        return load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise AuthorityKeyError(f"`{path}` does not open: is the passphrase right?") from error


def _open_signer(uri: str, public_key: bytes, ask_passphrase: AskPassphrase) -> Signer:
    try:
        key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public_key))
        return Signer.from_priv_key_uri(uri, key, ask_passphrase)
    except InputError:
        raise
    except Exception as error:
        raise AuthorityKeyError(f"key `{uri}` does not open: {_one_line(error)}") from error


def _raw_public_key(signer: Signer) -> bytes | None:
    key = signer.public_key
    try:
        raw = bytes.fromhex(key.keyval["public"]) if key.keytype == "ed25519" else b""
    except (KeyError, TypeError, ValueError):
        return None
    return raw or None


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Asked of the open file, so that it cannot be exchanged in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            # SAFETY: test_authority_key.py::test_a_key_readable_by_others_is_refused
            if mode & 0o077:
                raise AuthorityKeyError(f"mode {mode:04o} lets others read the key: run `chmod 600 {path}`")
            return file.read(_KEY_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        # ValueError: a zero byte in the path.
        reason = getattr(error, "strerror", None) or error
        raise AuthorityKeyError(f"key file `{path}` cannot be read: {reason}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
