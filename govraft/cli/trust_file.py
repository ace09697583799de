"""Where the trust state of offline proofs is: given by an option, the environment, or one file for each cluster."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from govraft.cli.new_file import open_new
from govraft.core.evidence.trust import Trust
from govraft.core.evidence.trust_state import TRUST_BYTES_MAX, not_shown
from govraft.core.model.genesis import Genesis
from govraft.errors import AvailabilityError, InputError

__all__ = ["TRUSTED_VARIABLE", "TRUST_WORDS", "TrustPlace", "find_trust", "trusted_option"]

TRUSTED_VARIABLE = "GOVRAFT_TRUSTED"
TRUST_WORDS = {
    "genesis": "by the founders' keys alone",
    "state": "by the trust state",
    "not_shown": str(not_shown()),
}
"""What stands for a proof, in words."""

_NONE = "none"


def trusted_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--trusted` of a command that judges evidence."""
    return click.option(
        "--trusted",
        metavar="FILE|none",
        help="Trust state to judge by, or `none`; env GOVRAFT_TRUSTED, default the one of `govraft trust set`.",
    )(command)


class TrustPlace(NamedTuple):
    """Where a trust state is, or would be.

    Attributes:
        path: None for nowhere.
        is_named: It was asked for, so it must be there.
        name: For output: the path, `none` if that was asked for, None if there is no such file.
    """

    path: Path | None
    is_named: bool
    name: str | None

    def read(self) -> bytes | None:
        """The bytes of the file; None if there is none and nobody named one.

        Raises:
            InputError: It is missing though it was named, or it is there and cannot be read.
        """
        if self.path is None:
            return None
        try:
            # A pipe would block, and a device never end.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise self._unusable("it is no regular file")
            with self.path.open("rb") as file:
                return file.read(TRUST_BYTES_MAX + 2)
        except FileNotFoundError as error:
            # SAFETY: a dangling link is a damaged file: never silently the founders' keys alone
            # (test_trust_commands.py::test_a_damaged_default_file_judges_nothing).
            if self.is_named or os.path.lexists(self.path):
                raise self._unusable("No such file or directory") from error
            return None
        except (OSError, ValueError) as error:
            raise self._unusable(getattr(error, "strerror", None) or str(error)) from error

    def load(self, genesis: Genesis) -> Trust | None:
        """The trust state; None for the genesis alone.

        Raises:
            InputError: As `read`, or it is damaged or of another cluster. Then nothing may be judged.
        """
        data = self.read()
        return None if data is None else self.decode(data, genesis)

    def decode(self, data: bytes, genesis: Genesis) -> Trust:
        """The trust state in these bytes of the file. Raises `InputError`."""
        try:
            return Trust.decode(data, genesis)
        except InputError as error:
            raise self._unusable(str(error), error.code) from error

    def _unusable(self, why: str, code: str = "file_unreadable") -> InputError:
        message = f"trust state `{self.path}` cannot be used: {why}; nothing was judged"
        return InputError(f"{message} (give `--trusted` another file, or `none`)", code=code)

    def replace(self, before: bytes | None, data: bytes) -> None:
        """Write the file anew, whole or not at all.

        Args:
            before: What was read, and what the question was asked about.
            data: The new bytes.

        Raises:
            AvailabilityError: Somebody else is writing it, or has written it since.
            InputError: It cannot be written.
        """
        if self.path is None:
            raise InputError("there is no file to write: give `--trusted FILE`, or set GOVRAFT_TRUSTED or HOME")
        path = Path(os.path.realpath(self.path))
        try:
            if not self.is_named:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (path.parent / f"{path.name}.lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # SAFETY: what nobody was asked about is not overwritten
                # (test_trust_commands.py::test_what_changed_meanwhile_is_not_overwritten).
                if (path.read_bytes() if path.exists() else None) != before:
                    raise _busy(path)
                with open_new(path) as file:
                    file.write(data)
        except BlockingIOError as error:
            raise _busy(path) from error
        except OSError as error:
            raise InputError(f"`{path}` cannot be written: {error.strerror}", code="file_unwritable") from error


def _busy(path: Path) -> AvailabilityError:
    return AvailabilityError(f"`{path}` is being set by somebody else; look at it with `trust show` and try again")


def find_trust(option: str | None, genesis: Genesis) -> TrustPlace:
    """Where the trust state for this cluster is, by the option, then the environment, then the home directory.

    Raises:
        InputError: The option names nothing.
    """
    if option == "":
        raise InputError("`--trusted` names a file, or `none`")
    named = option or os.environ.get(TRUSTED_VARIABLE) or None
    if named == _NONE:
        return TrustPlace(None, True, _NONE)
    if named is not None:
        return TrustPlace(Path(named), True, named)
    home = _data_home()
    if home is None:
        return TrustPlace(None, False, None)
    path = home / "govraft" / "trust" / f"{genesis.cluster_id}.json"
    return TrustPlace(path, False, str(path) if os.path.lexists(path) else None)


def _data_home() -> Path | None:
    """`XDG_DATA_HOME`, which must be absolute to count, else below the home directory; None without one."""
    data_home = Path(os.environ.get("XDG_DATA_HOME", ""))
    if data_home.is_absolute():
        return data_home
    try:
        home = Path(os.environ["HOME"]) if "HOME" in os.environ else Path.home()
    except RuntimeError:
        return None
    return home / ".local" / "share" if home.is_absolute() else None
