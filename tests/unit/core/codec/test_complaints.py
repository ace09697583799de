"""What a decoder refuses is told in words: never with its patterns."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from govraft.core.codec.complaints import in_words


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+\Z")]


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    n: Annotated[int, msgspec.Meta(ge=1, le=5)]
    inner: list[Inner] = []
    kind: Literal["a", "b"] = "a"
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=3)] | None = None
    blob: bytes = b""
    flag: bool = False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "`n` is missing"),
        ('{"n": 1, "m": 2}', "`m` is not known here"),
        ('{"n": 1, "inner": [{}]}', "`inner[0].id` is missing"),
        ('{"n": 1, "inner": [{"id": "a", "x": 1}]}', "`inner[0].x` is not known here"),
        ('{"n": 1, "inner": [{"id": "A"}]}', "`inner[0].id` has a character that it must not have, or is too short or too long"),
        ('{"n": "1"}', "`n` must be a whole number, not text"),
        ('{"n": 1, "flag": 0}', "`flag` must be true or false, not a whole number"),
        ('{"n": 1, "text": []}', "`text` must be text or null, not a list"),
        ('{"n": 0}', "`n` must be 1 or more"),
        ('{"n": 9}', "`n` must be 5 or less"),
        ('{"n": 1, "text": ""}', "`text` must have a length of 1 or more"),
        ('{"n": 1, "text": "long"}', "`text` must have a length of 3 or less"),
        ('{"n": 1, "kind": "c"}', "`kind` cannot be 'c'"),
        ('{"n": 1, "blob": "!"}', "`blob` is not base64"),
        ("[]", "it must be an object, not a list"),
        ('{"n": 1', "it ends too early"),
        ("x", "JSON is malformed: invalid character (byte 0)"),
    ],
)  # fmt: skip
def test_each_complaint(text: str, words: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(text.encode(), type=Outer)
    assert in_words(caught.value) == words


def test_what_is_not_known_is_passed_on() -> None:
    problem: Any = ValueError("something - at `$.x[1]`")
    assert in_words(problem) == "something in `x[1]`"
