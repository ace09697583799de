"""The picture of a run: faults above, each node's verdicts below, a band a minute. SVG, no script.

Colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart; what matters most is
also told by form: a bar for the leader, ticks for commands, a dashed line for a violation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from html import escape

import msgspec

from govraft.core.model.reasons import Reason
from govraft.testing.chaos.catalogue import GROUPS
from govraft.testing.checkers import Violation
from govraft.testing.history import Check, CommandTried, Event, FaultEnded, FaultStarted, NodeState

__all__ = ["FAULT_COLOURS", "STATES", "State", "timeline"]

_S = 1_000_000_000
_BAND_S = 60
_COLUMN_MS = 100
_UNKNOWN_COLUMNS_MAX = 5
_GRID_S = 5
_LEFT, _WIDTH, _RIGHT = 84, 1190, 20
_FAULT_H, _NODE_H, _GAP, _AXIS_H, _TICKS_H = 18, 20, 6, 16, 14
_CHAR_W = 6.3
_LANES_MAX = 4


class State(msgspec.Struct, frozen=True):
    """What a node answers, as a colour and in words."""

    colour: str
    words: str


STATES = {
    "serves": State("#56b4e9", "allows (or denies for a reason of its policies or marks)"),
    "mixed": State("#a6dcef", "allows and denies within a tenth of a second"),
    "no_lease": State("#e69f00", "denies: no lease, no leader or no quorum in reach"),
    "catching_up": State("#f0e442", "denies: starting or synchronizing"),
    "unsafe": State("#cc79a7", "denies: clock unsafe, isolated, or another finding"),
    "silent": State("#b5b5b5", "does not answer (frozen, cut off or starting)"),
    "down": State("#333333", "does not run"),
}
"""In the order of the legend."""

FAULT_COLOURS = {"node": "#d55e00", "network": "#0072b2", "cluster": "#8a2be2"}
"""By group of the fault."""

_OF_REASON = {
    "allow": "serves",
    "lease_expired": "no_lease",
    "leader_unconfirmed": "no_lease",
    "partition_ambiguous": "no_lease",
    "quorum_unverifiable": "no_lease",
    "synchronizing": "catching_up",
    "governance_desynchronized": "catching_up",
    "node_starting": "catching_up",
    "node_unreachable": "silent",
    "down": "down",
    **{reason.value: "serves" for reason in Reason if reason.step is not None},
}


class _Picture:
    """What is drawn, sorted by what it belongs to. Times in columns since the start."""

    def __init__(self, events: Sequence[Event], violations: Iterable[Violation]) -> None:
        self.start = events[0].at
        self.end = events[-1].at
        # A short run fills the width; a longer one goes on below.
        self.band_s = min(_BAND_S, -(-(self.end - self.start) // (_GRID_S * _S)) * _GRID_S or _GRID_S)
        self.columns = self.band_s * 1000 // _COLUMN_MS
        self.nodes = sorted({event.node for event in events if isinstance(event, NodeState)})
        self.cells: dict[str, dict[int, Counter[str]]] = {node: defaultdict(Counter) for node in self.nodes}
        self.standing: dict[str, dict[int, str]] = {node: {} for node in self.nodes}
        self.leads: dict[str, set[int]] = {node: set() for node in self.nodes}
        self.effective: list[int] = []
        self.unknown: list[int] = []
        self.faults: list[tuple[FaultStarted, int]] = []
        ended = {event.fault: event.at for event in events if isinstance(event, FaultEnded)}
        for event in events:
            self._sort(event, ended)
        self.broken = sorted({item.events[-1].at for item in violations if item.events})

    def column(self, at: int) -> int:
        """Which tenth of a second a time falls into."""
        return (at - self.start) // (_COLUMN_MS * 1_000_000)

    def from_ns(self, band: int) -> int:
        """When a band begins."""
        return self.start + band * self.band_s * _S

    def x(self, at: int, band: int) -> float:
        """Where a time lies in a band."""
        return _LEFT + min(max((at - self.from_ns(band)) / _S / self.band_s, 0.0), 1.0) * _WIDTH

    def is_in(self, at: int, band: int) -> bool:
        """Whether a time lies in a band."""
        return 0 <= at - self.from_ns(band) < self.band_s * _S

    def state(self, node: str, column: int) -> tuple[str, str]:
        """State and words of a node in a column; a moment of which nobody knows is like the one before it."""
        for back in range(_UNKNOWN_COLUMNS_MAX + 1):
            found = self._known(node, column - back)
            if found[0]:
                return found
        return "", ""

    def _known(self, node: str, column: int) -> tuple[str, str]:
        """What clients heard counts more than what the node says of itself."""
        seen = self.cells.get(node, {}).get(column)
        if not seen:
            standing = self.standing[node].get(column, "")
            return (_OF_REASON.get(standing, "unsafe"), standing) if standing else ("", "")
        words = ", ".join(f"{reason} {count}" for reason, count in seen.most_common(3))
        states: Counter[str] = Counter()
        for reason, count in seen.items():
            states[_OF_REASON.get(reason, "unsafe")] += count
        if states["silent"] and self.standing[node].get(column) == "down":
            return "down", words
        if states["serves"] and len(states) > 1:
            return "mixed", words
        return states.most_common(1)[0][0], words

    def _sort(self, event: Event, ended: dict[int, int]) -> None:
        if isinstance(event, Check) and event.node in self.cells:
            self.cells[event.node][self.column(event.at)]["allow" if event.allowed else event.reason] += 1
        elif isinstance(event, NodeState):
            column = self.column(event.at)
            self.standing[event.node][column] = event.standing
            if event.leader_hint == event.node and event.standing != "down":
                self.leads[event.node].update((column, column + 1))
        elif isinstance(event, CommandTried) and event.outcome != "rejected":
            (self.effective if event.outcome == "effective" else self.unknown).append(event.at)
        elif isinstance(event, FaultStarted):
            self.faults.append((event, ended.get(event.fault, self.end)))


def timeline(events: Sequence[Event], violations: Iterable[Violation]) -> str:
    """The whole picture; an empty string for an empty history."""
    if not events:
        return ""
    picture = _Picture(events, violations)
    bands = (picture.end - picture.start) // (picture.band_s * _S) + 1
    parts, top = [], 0.0
    for band in range(bands):
        drawn, height = _band(picture, band)
        parts.append(f'<g transform="translate(0 {top:.0f})">{drawn}</g>')
        top += height
    width = _LEFT + _WIDTH + _RIGHT
    return (
        f'<svg viewBox="0 0 {width} {top:.0f}" width="100%" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>Faults, verdicts of each node, and commands, over time</title>{''.join(parts)}</svg>"
    )


def _band(picture: _Picture, band: int) -> tuple[str, float]:
    """One minute, and its height."""
    faults, lanes = _faults(picture, band)
    parts, y = [faults], 4.0 + lanes * (_FAULT_H + 2) + _GAP
    top = y
    for node in picture.nodes:
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 14:.0f}" class="label">{escape(node)}</text>')
        parts.append(_strip(picture, node, band, y))
        y += _NODE_H + _GAP
    parts.append(f'<text x="{_LEFT - 8}" y="{y + 11:.0f}" class="label">commands</text>')
    for times, kind, offset in ((picture.effective, "effective", 0), (picture.unknown, "unknown", 7)):
        path = "".join(f"M{picture.x(at, band):.1f} {y + offset:.0f}v7" for at in times if picture.is_in(at, band))
        parts.append(f'<path d="{path}" class="{kind}"/>' if path else "")
    y += _TICKS_H
    parts.append(_axis(picture, band, y, top))
    for at in picture.broken:
        if picture.is_in(at, band):
            path = f"M{picture.x(at, band):.1f} 0V{y:.0f}"
            parts.append(f'<path d="{path}" class="broken"><title>violation</title></path>')
    return "".join(parts), y + _AXIS_H + 22


def _faults(picture: _Picture, band: int) -> tuple[str, int]:
    """Bars with their names, in as many lanes as overlap."""
    parts: list[str] = []
    free: list[float] = []
    for fault, until in picture.faults:
        if until < picture.from_ns(band) or fault.at >= picture.from_ns(band + 1):
            continue
        x, end = picture.x(fault.at, band), picture.x(until, band)
        whom = ", ".join(node.removeprefix("node-") for node in fault.nodes)
        name = f"{fault.kind} {whom if len(fault.nodes) < len(picture.nodes) else 'all'}"
        # Near the right edge the name ends there, and may begin before its bar.
        written = len(name) * _CHAR_W
        at_end = x + written > _LEFT + _WIDTH
        begins = min(x, _LEFT + _WIDTH - written)
        taken = max(end, begins + written + 4) + 3
        lane = next((number for number, edge in enumerate(free) if edge <= begins), len(free))
        lane = min(lane, _LANES_MAX - 1)
        if lane == len(free):
            free.append(taken)
        free[lane] = max(free[lane], taken)
        y, colour = 2 + lane * (_FAULT_H + 2), FAULT_COLOURS[GROUPS[fault.kind]]
        seconds = (until - fault.at) / _S
        title = f"{fault.fault}. {fault.kind} on {', '.join(fault.nodes)}: {fault.detail} ({seconds:.1f} s)"
        parts.append(
            f'<g><title>{escape(title)}</title><rect x="{x:.1f}" y="{y}" width="{max(end - x, 2):.1f}" '
            f'height="{_FAULT_H}" fill="{colour}" fill-opacity=".22" stroke="{colour}"/>'
            f'<text x="{(_LEFT + _WIDTH) if at_end else x + 3:.1f}" y="{y + 13}" '
            f'class="fault{" end" if at_end else ""}">{escape(name)}</text></g>'
        )
        if len(fault.nodes) < len(picture.nodes):
            parts += [_underline(picture.nodes.index(node), x, end, colour) for node in fault.nodes]
    lanes = max(len(free), 1)
    return "".join(parts).replace("{TOP}", str(4 + lanes * (_FAULT_H + 2) + _GAP)), lanes


def _underline(place: int, x: float, end: float, colour: str) -> str:
    """Marks in the node's own strip when it was the one that was hit."""
    y = place * (_NODE_H + _GAP) + _NODE_H + 1
    width = max(end - x, 2)
    return (
        f'<rect transform="translate(0 {{TOP}})" x="{x:.1f}" y="{y}" width="{width:.1f}" height="3" fill="{colour}"/>'
    )


def _strip(picture: _Picture, node: str, band: int, y: float) -> str:
    """What a node answered, columns of one colour joined; above it a bar where it leads."""
    parts: list[str] = []
    count, first = picture.columns, band * picture.columns
    width = _WIDTH / count
    begun, before, words = first, "", ""
    for column in range(first, first + count + 1):
        state, said = picture.state(node, column) if column < first + count else ("", "")
        if state != before:
            if before:
                x, span = _LEFT + (begun - first) * width, (column - begun) * width
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.0f}" width="{span:.1f}" height="{_NODE_H}" '
                    f'fill="{STATES[before].colour}"><title>{escape(node)}: {escape(words)}</title></rect>'
                )
            begun, before, words = column, state, said
    parts += _leading(picture.leads[node], first, count, y)
    return "".join(parts)


def _leading(columns: set[int], first: int, count: int, y: float) -> list[str]:
    parts: list[str] = []
    width, begun = _WIDTH / count, None
    for column in range(first, first + count + 1):
        inside = column in columns and column < first + count
        if inside and begun is None:
            begun = column
        if not inside and begun is not None:
            x, span = _LEFT + (begun - first) * width, (column - begun) * width
            parts.append(f'<rect x="{x:.1f}" y="{y + 7:.0f}" width="{span:.1f}" height="6" class="leader"/>')
            begun = None
    return parts


def _axis(picture: _Picture, band: int, y: float, top: float) -> str:
    parts = []
    for second in range(0, picture.band_s + 1, _GRID_S):
        x, total = _LEFT + second / picture.band_s * _WIDTH, band * picture.band_s + second
        parts.append(f'<path d="M{x:.1f} {top:.0f}V{y + 3:.0f}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 14:.0f}" class="time">{total // 60}:{total % 60:02d}</text>')
    return "".join(parts)
