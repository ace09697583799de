"""Which of the known keys signed a message: the rule that every count of signatures rests on.

Unknown keys are ignored, so that an envelope may carry signatures meant for another verifier. A *known* key with a bad
signature refuses everything: counting around it would hide corruption or forgery. One key counts once, however
often and under whatever name it appears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from govraft.core.crypto.keys import verify
from govraft.errors import SignatureError

__all__ = ["KEY_DUPLICATE", "verified_keys"]

KEY_DUPLICATE = "key_duplicate"
"""The `code` of a `SignatureError` for two signatures of one key; otherwise it is `signature_invalid`."""


def verified_keys(
    message: bytes,
    signatures: Sequence[tuple[str, bytes]],
    known: Mapping[str, bytes],
    is_valid: Callable[[bytes, bytes, bytes], bool] = verify,
) -> list[str]:
    """The ids of the known keys that signed `message`, each once, in the order of the signatures.

    Args:
        message: The exact signed bytes.
        signatures: (key id, signature) pairs.
        known: Trusted public keys by key id.
        is_valid: `(public_key, signature, message) -> bool`; must not raise.

    Raises:
        SignatureError: A key id or a public key appears twice (code `key_duplicate`), or a known key's signature
            does not verify.
    """
    names = [name for name, _ in signatures]
    keys = [known[name] for name in names if name in known]
    # SAFETY: a key that signs twice is still one signer. test_threshold.test_one_key_counts_once
    if len(set(names)) != len(names) or len(set(keys)) != len(keys):
        raise SignatureError("one key signed twice, send one signature for each key", code=KEY_DUPLICATE)
    for name, signature in signatures:
        # SAFETY: a forged signature of an authority is never skipped. test_threshold.test_known_bad_refuses_all
        if name in known and not is_valid(known[name], signature, message):
            raise SignatureError(f"the signature of key `{name[:64]}` does not verify, sign the envelope again")
    return [name for name in names if name in known]
