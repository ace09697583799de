"""A private copy of pysyncobj's engine, verified, with every outside dependency taken away.

The subclass in `contained.py` overrides private methods, so only the exact source it was written against will do:
`syncobj.py` is hashed, and the code object is compiled from the very bytes that were hashed (never from a cached
`.pyc`). The copy lives outside `sys.modules`; an application that uses pysyncobj itself is not affected.

What is injected into the copy:

========================  =====================================================================================
`monotonicTime`           the time of the call in progress (`engine_time`); outside a call there is no time
`random`                  refused; the subclass draws from its own generator
`pickle`                  refused, both ways: nothing is ever pickled or unpickled (H9)
`createJournal`           hands back the journal object that stands in `conf.journalFile` (H10, H23)
`createPoller`            polls nothing: there are no sockets
`Serializer`              holds nothing: snapshots do not go through the engine (H15, H27)
`globalDnsResolver`       resolves nothing
`PIPE_NOTIFIER_ENABLED`   False: no pipe, no file descriptor
========================  =====================================================================================
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

from govraft.errors import CorruptionError, InvariantViolation

__all__ = [
    "ENGINE_SHA256",
    "Node",
    "SyncObj",
    "SyncObjConf",
    "Transport",
    "engine_time",
    "load_engine",
    "verify_source",
]

ENGINE_SHA256 = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"
"""SHA-256 of `syncobj.py` of pysyncobj 0.3.17."""

_now: ContextVar[float] = ContextVar("govraft_engine_time")


@contextmanager
def engine_time(now: float) -> Iterator[None]:
    """Let the engine read `now`, in seconds, while the block runs.

    One call sees one time, so that no loop inside the engine depends on how fast the machine is.
    """
    token = _now.set(now)
    try:
        yield
    finally:
        _now.reset(token)


def verify_source(source: bytes, path: str) -> None:
    """Refuse any other engine than the pinned one.

    Raises:
        CorruptionError: `source` does not hash to `ENGINE_SHA256`.
    """
    found = hashlib.sha256(source).hexdigest()
    # SAFETY: overriding private methods of another version would silently lose containments
    # (test_pinned.py::test_other_source_is_refused).
    if found != ENGINE_SHA256:
        raise CorruptionError(
            f"`{path}` has sha256 `{found}`, not the pinned `{ENGINE_SHA256}`: install pysyncobj 0.3.17 unchanged"
        )


class _Refusing:
    """Stands for a module that the engine must not use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> NoReturn:
        raise InvariantViolation(f"the engine reached for `{self._name}.{attribute}`, which is contained")


class _NoPoller:
    def poll(self, _timeout: float) -> None:
        """Poll nothing."""


class _NoResolver:
    def setTimeouts(self, *_timeouts: float) -> None:  # noqa: N802 - the engine's name
        """Resolve nothing."""

    def setPreferredAddrFamily(self, _family: str) -> None:  # noqa: N802 - the engine's name
        """Resolve nothing."""


def _no_serializer(*_configuration: object) -> _Refusing:
    return _Refusing("Serializer")


class _VerifiedLoader(SourceFileLoader):
    """Compiles the verified bytes, bypassing the bytecode cache."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        verify_source(source, path)
        code: CodeType = self.source_to_code(source, path)
        return code


def load_engine() -> ModuleType:
    """Load a fresh, contained copy of pysyncobj's `syncobj` module.

    Raises:
        CorruptionError: pysyncobj is missing or its source is not the pinned one.
    """
    package = importlib.util.find_spec("pysyncobj")
    if package is None or not package.submodule_search_locations:
        raise CorruptionError("pysyncobj is not installed: install govraft with its `node` extra")
    path = str(Path(next(iter(package.submodule_search_locations))) / "syncobj.py")
    # The name only has to lie inside the package, so that the engine's relative imports work.
    loader = _VerifiedLoader("pysyncobj.contained_by_govraft", path)
    module = importlib.util.module_from_spec(ModuleSpec(loader.name, loader, origin=path))
    loader.exec_module(module)
    injections: dict[str, object] = {
        "monotonicTime": _now.get,
        "random": _Refusing("random"),
        "pickle": _Refusing("pickle"),
        "createJournal": lambda journal: journal,
        "createPoller": lambda _kind: _NoPoller(),
        "Serializer": _no_serializer,
        "globalDnsResolver": _NoResolver,
        "PIPE_NOTIFIER_ENABLED": False,
    }
    for name, value in injections.items():
        if not hasattr(module, name):
            raise CorruptionError(f"`{path}` has no `{name}` to replace: install pysyncobj 0.3.17 unchanged")
        setattr(module, name, value)
    return module


_MODULE = load_engine()
SyncObj: Any = _MODULE.SyncObj
SyncObjConf: Any = _MODULE.SyncObjConf
Node: Any = _MODULE.Node
Transport: Any = _MODULE.Transport
