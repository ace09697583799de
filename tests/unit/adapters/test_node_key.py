"""Node keys: made, kept, and refused when they are not safe."""

from __future__ import annotations

import datetime as dt
import os
import pickle
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from govraft.adapters.node_key import NodeIdentity
from govraft.errors import ConfigError, InputError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "node.key", tmp_path / "node.crt"


def test_the_certificate_says_what_it_should() -> None:
    identity = NodeIdentity.create("node-1")
    certificate = x509.load_der_x509_certificate(identity.certificate)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "node-1"
    assert certificate.issuer == certificate.subject
    assert certificate.not_valid_after_utc == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert certificate.not_valid_before_utc < dt.datetime.now(dt.UTC)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    certificate.verify_directly_issued_by(certificate)


def test_signatures_verify_under_the_public_key() -> None:
    identity = NodeIdentity.create("node-1")
    public_key = Ed25519PublicKey.from_public_bytes(identity.public_key)
    signature = identity.sign(b"message")
    public_key.verify(signature, b"message")
    with pytest.raises(InvalidSignature):
        public_key.verify(signature, b"another message")


def test_every_identity_is_new() -> None:
    first, second = NodeIdentity.create("node-1"), NodeIdentity.create("node-1")
    assert first.public_key != second.public_key
    assert first.certificate != second.certificate


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_saved_identity_is_the_same_when_loaded(files: tuple[Path, Path], passphrase: bytes | None) -> None:
    identity = NodeIdentity.create("node-1")
    identity.save(*files, passphrase)
    loaded = NodeIdentity.load(*files, passphrase)
    assert (loaded.public_key, loaded.certificate) == (identity.public_key, identity.certificate)
    assert loaded.sign(b"m") == identity.sign(b"m")
    assert files[0].stat().st_mode & 0o777 == 0o600
    expected = b"-----BEGIN ENCRYPTED PRIVATE KEY" if passphrase else b"-----BEGIN PRIVATE KEY"
    assert files[0].read_bytes().startswith(expected)


def test_saving_overwrites_nothing(files: tuple[Path, Path]) -> None:
    NodeIdentity.create("node-1").save(*files)
    before = files[0].read_bytes()
    with pytest.raises(ConfigError, match="not overwritten"):
        NodeIdentity.create("node-1").save(*files)
    assert files[0].read_bytes() == before
    with pytest.raises(ConfigError, match="cannot be written"):
        NodeIdentity.create("node-1").save(files[0].parent / "missing" / "key", files[1])


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o620, 0o601])
def test_a_key_readable_by_others_is_refused(files: tuple[Path, Path], mode: int) -> None:
    NodeIdentity.create("node-1").save(*files)
    files[0].chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o} lets others read the key; run `chmod 600"):
        NodeIdentity.load(*files)
    files[0].chmod(0o400)
    NodeIdentity.load(*files)


@pytest.mark.parametrize(
    ("saved", "given", "message"),
    [(b"right", b"wrong", "is the passphrase right"), (b"right", None, "give its"), (None, b"right", "give none")],
)
def test_a_wrong_passphrase_is_refused(
    files: tuple[Path, Path], saved: bytes | None, given: bytes | None, message: str
) -> None:
    NodeIdentity.create("node-1").save(*files, saved)
    with pytest.raises(ConfigError, match=message):
        NodeIdentity.load(*files, given)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_rubbish_files_are_refused(files: tuple[Path, Path], which: int, content: bytes) -> None:
    NodeIdentity.create("node-1").save(*files)
    files[which].write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        NodeIdentity.load(*files)
    assert caught.value.file == str(files[which])


@pytest.mark.parametrize("which", [0, 1])
def test_missing_files_are_refused(files: tuple[Path, Path], which: int) -> None:
    NodeIdentity.create("node-1").save(*files)
    files[which].unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        NodeIdentity.load(*files)


def test_a_certificate_of_another_key_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    NodeIdentity.create("node-1").save(*files)
    other = tmp_path / "other.key", tmp_path / "other.crt"
    NodeIdentity.create("node-1").save(*other)
    with pytest.raises(ConfigError, match="for another key"):
        NodeIdentity.load(files[0], other[1])


def test_another_kind_of_key_is_refused(files: tuple[Path, Path]) -> None:
    NodeIdentity.create("node-1").save(*files)
    key = ec.generate_private_key(ec.SECP256R1())
    files[0].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(ConfigError, match="not Ed25519"):
        NodeIdentity.load(*files)


@pytest.mark.parametrize("node_id", ["", "n" * 65])
def test_an_impossible_name_is_refused(node_id: str) -> None:
    with pytest.raises(InputError, match="must have 1 to 64"):
        NodeIdentity.create(node_id)


def test_the_private_key_does_not_slip_out() -> None:
    identity = NodeIdentity.create("node-1")
    assert identity.public_key.hex() in repr(identity)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(identity)


def test_the_key_is_private_whatever_the_umask(files: tuple[Path, Path]) -> None:
    umask = os.umask(0)
    try:
        NodeIdentity.create("node-1").save(*files)
    finally:
        os.umask(umask)
    assert files[0].stat().st_mode & 0o777 == 0o600
