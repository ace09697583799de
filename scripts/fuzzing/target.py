"""What is fuzzed: one decoder, a property of it, and seeds that it accepts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["SECONDS_MAX", "Finding", "Shape", "Target", "execute", "expect", "refuses"]

SECONDS_MAX = 5.0
"""Processor time that one input may take. The slowest honest one takes a twentieth of it."""

Shape = Literal["json", "msgpack", "lines", "text", "bytes"]


class Finding(AssertionError):  # noqa: N818 - it is what a fuzzer is after, not an error of it
    """A property does not hold for an input."""


@dataclass(frozen=True)
class Target:
    """One decoder under test.

    Attributes:
        name: For `--target`.
        about: One line for `--list`.
        run: Decodes one input and checks the property. True: accepted; False: refused as documented. Whatever it
            raises is a finding.
        seeds: Real values as the code itself encodes them; the first is accepted.
        shape: How inputs are changed without losing their form at once.
        covers: Modules whose lines the corpus is measured by.
        prefix: How many leading bytes are not of that shape.
        length_max: Longest input tried, in bytes.
        words: Short strings that help, given to the fuzzer as a dictionary.
    """

    name: str
    about: str
    run: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]
    shape: Shape
    covers: tuple[str, ...]
    prefix: int = 0
    length_max: int = 8192
    words: tuple[bytes, ...] = ()


def execute(target: Target, data: bytes) -> bool:
    """Try one input.

    Raises:
        Finding: The property does not hold, or the input took too long. Anything else that escapes is a finding too.
    """
    started = time.process_time()
    accepted = target.run(data)
    spent = time.process_time() - started
    if spent > SECONDS_MAX:
        raise Finding(f"{target.name}: {len(data)} bytes took {spent:.1f} s of processor time")
    return accepted


def expect(condition: object, message: str) -> None:
    """Raise a `Finding` unless `condition` holds."""
    if not condition:
        raise Finding(message)


def refuses(errors: type[BaseException] | Iterable[type[BaseException]], call: Callable[[], object]) -> bool:
    """Whether `call` refuses by raising one of `errors`. Anything else that it raises goes through."""
    allowed = errors if isinstance(errors, type) else tuple(errors)
    try:
        call()
    except allowed:
        return True
    return False
