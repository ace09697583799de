"""Keys that a command brings in: sound, of nobody else, never used before, and held by whoever brings them."""

from __future__ import annotations

from govraft.core.codec.base64_text import from_base64
from govraft.core.crypto.keys import is_sound_key, key_id
from govraft.core.machine.state import Context, State
from govraft.core.model.outcome import Rejected, Rejection

__all__ = ["check_possession", "decode_new_key"]


def decode_new_key(state: State, text: str) -> bytes | Rejected:
    """The 32 bytes of a new public key.

    Args:
        state: Says which keys are or were in use.
        text: The key in standard base64.
    """
    key = from_base64(text)
    if key is None or not is_sound_key(key):
        return Rejected(Rejection.KEY_INVALID, f"`{text[:64]}` is not a usable Ed25519 key, make another one")
    name = key_id(key)
    # SAFETY: a key in two places would count twice, and a retired one may be in wrong hands.
    # test_authorities.py::test_new_keys
    if name in state.keys or name in state.authorities.retired or name in state.members.retired:
        return Rejected(Rejection.KEY_IN_USE, f"key `{text}` is or was in use, make another one")
    return key


def check_possession(context: Context, key: bytes) -> Rejected | None:
    """Refuse a new key that has not signed the very command which brings it in."""
    signature = context.foreign.get(key_id(key))
    # SAFETY: nobody is given a key that nobody holds, or that somebody else holds.
    # test_authorities.py::test_new_keys_prove_possession
    if signature is None or not context.is_valid(key, signature, context.signed_bytes):
        return Rejected(Rejection.POSSESSION_UNPROVEN, f"new key `{key_id(key)[:12]}…` must sign the command too")
    return None
