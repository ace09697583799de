from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer

from govraft.adapters.authority_key import AuthorityKeyError, load_authority_key
from govraft.core.crypto.keys import verify
from govraft.errors import InputError


def ask_nobody(what: str) -> str:
    raise InputError(f"nobody to ask for the {what}")


def store(path: Path, key, encryption=None) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("scheme", ["file", "file2"])
def test_a_key_file_signs(tmp_path: Path, scheme: str) -> None:
    key = Ed25519PrivateKey.generate()
    opened = load_authority_key(f"{scheme}:{store(tmp_path / 'k', key)}", public_key=None, ask_passphrase=ask_nobody)
    assert opened.public_key == key.public_key().public_bytes_raw()
    assert verify(opened.public_key, opened.sign(b"message"), b"message")
    assert "private" not in repr(opened).lower()


def test_an_encrypted_key_asks_once(tmp_path: Path) -> None:
    asked: list[str] = []
    path = store(tmp_path / "k", Ed25519PrivateKey.generate(), BestAvailableEncryption(b"pw"))
    load_authority_key(f"file2:{path}", public_key=None, ask_passphrase=lambda what: asked.append(what) or "pw")
    assert len(asked) == 1
    with pytest.raises(AuthorityKeyError, match="passphrase"):
        load_authority_key(f"file2:{path}", public_key=None, ask_passphrase=lambda _: "wrong")
    with pytest.raises(InputError, match="nobody"):
        load_authority_key(f"file2:{path}", public_key=None, ask_passphrase=ask_nobody)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_readable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = store(tmp_path / "k", Ed25519PrivateKey.generate())
    path.chmod(mode)
    with pytest.raises(AuthorityKeyError, match="chmod 600"):
        load_authority_key(f"file2:{path}", public_key=None, ask_passphrase=ask_nobody)


def test_unusable_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "junk").chmod(0o600)
    curve = store(tmp_path / "p256", generate_private_key(SECP256R1()))
    for uri in (
        f"file2:{tmp_path}/none",
        f"file2:{tmp_path}/junk",
        f"file2:{curve}",
        "nosuch:x",
        "",
        "/path",
        "awskms:x",
    ):
        with pytest.raises(AuthorityKeyError):
            load_authority_key(uri, public_key=None, ask_passphrase=ask_nobody)


def test_another_key_than_named_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path / "k", Ed25519PrivateKey.generate())
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(AuthorityKeyError, match="genesis"):
        load_authority_key(f"file2:{path}", public_key=other, ask_passphrase=ask_nobody)


class TokenSigner(Signer):
    """A token that says that it holds the wanted key."""

    key = Ed25519PrivateKey.generate()

    def __init__(self, public_key) -> None:
        self._public_key = public_key

    @property
    def public_key(self):
        return self._public_key

    def sign(self, payload: bytes):
        return CryptoSigner(self.key).sign(payload)

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri, public_key, secrets_handler=None):
        if "broken" in priv_key_uri:
            raise OSError("no such token")
        return cls(public_key)


@pytest.fixture
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "token", TokenSigner)


@pytest.mark.usefixtures("_token")
def test_other_schemes_go_through_the_registry() -> None:
    public = TokenSigner.key.public_key().public_bytes_raw()
    opened = load_authority_key("token:1", public_key=public, ask_passphrase=ask_nobody)
    assert verify(public, opened.sign(b"m"), b"m")
    with pytest.raises(AuthorityKeyError, match="no such token"):
        load_authority_key("token:broken", public_key=public, ask_passphrase=ask_nobody)


@pytest.mark.usefixtures("_token")
def test_a_signer_with_another_key_is_refused() -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    opened = load_authority_key("token:1", public_key=other, ask_passphrase=ask_nobody)
    with pytest.raises(AuthorityKeyError, match="another key"):
        opened.sign(b"m")
