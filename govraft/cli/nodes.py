"""Which node to talk to, and what it says."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from govraft.cli.settings import Settings, Target
from govraft.client.client import Client
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, DecodeError, GovraftError, require

__all__ = ["choose_client", "choose_target", "field_of", "read", "read_genesis", "read_links", "read_pages"]

_PROBE_S = 2.0


def choose_client(settings: Settings, *, able: bool = False) -> Client:
    """A client of the first target that answers; see `choose_target`."""
    return Client(choose_target(settings, able=able).endpoint, timeout=settings.timeout_s)


def choose_target(settings: Settings, *, able: bool = False, passed: Container[Target] = ()) -> Target:
    """The first target that answers.

    Args:
        settings: Names the targets.
        able: Prefer one that may allow right now: a node that is cut off answers, but brings no command through.
        passed: Prefer one that is none of these, as far as any of the others answers.

    Raises:
        GovraftError: None answers; the last one's error.
    """
    targets = settings.targets()
    if len(targets) == 1:
        return targets[0]
    reachable: Target | None = None
    failure: GovraftError | None = None
    for target in sorted(targets, key=lambda target: target in passed):
        if target in passed and reachable is not None:
            break
        try:
            with Client(target.endpoint, timeout=min(_PROBE_S, settings.timeout_s)) as probe:
                status = probe.status()
        except GovraftError as error:
            failure = error
            continue
        if not able or status.get("standing") == "allow":
            return target
        reachable = reachable or target
    if reachable is None:
        require(failure is not None, "there is at least one target")
        raise failure or GovraftError("no node answers")
    return reachable


def read(settings: Settings, what: str, **params: Any) -> Any:
    """Read governance state from the first target that answers. Raises `GovraftError`."""
    with choose_client(settings) as client:
        return client.read(what, **params)


def field_of(record: object, name: str, kind: type[Any]) -> Any:
    """A field of what a node answered.

    Raises:
        GovraftError: It is missing or of another type: what answers is newer, older, or no node.
    """
    value = record.get(name) if isinstance(record, Mapping) else None
    if not isinstance(value, kind):
        raise GovraftError(
            f"the node's answer has no usable `{name}`: are both of the same version?", code="answer_invalid"
        )
    return value


def read_genesis(settings: Settings) -> Genesis:
    """The genesis: of the cluster directory if one is given, else what the node says it is.

    Raises:
        ConfigError: The directory's file cannot be used.
        GovraftError: No node answers, or not with a genesis.
    """
    index = settings.cluster_index()
    if index is not None:
        try:
            return Genesis.decode(index.read_genesis())
        except DecodeError as error:
            raise ConfigError(str(error), file=str(index.genesis)) from error
    data = read(settings, "genesis")
    try:
        return Genesis.decode(data if isinstance(data, bytes) else b"")
    except DecodeError as error:
        raise GovraftError(f"the node's answer is not a genesis: {error}", code="answer_invalid") from error


def read_links(client: Client) -> list[dict[str, Any]]:
    """The changes of the electorate, for evidence files. Nothing is verified.

    Raises:
        GovraftError: The node's answer is not usable.
    """
    links = client.read("epoch_links")
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise GovraftError("the node's answer lists no epochs", code="answer_invalid")
    return links


def read_pages(client: Client, what: str, items: str, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
    """All records of a kind that a node pages by their keys."""
    after = ""
    while True:
        page = client.read(what, after=after, limit=limit, **params)
        yield from field_of(page, items, list)
        following = page.get("next")
        # A page that leads nowhere new would be asked for without end.
        if not isinstance(following, str) or following <= after:
            return
        after = following
