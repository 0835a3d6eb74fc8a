"""What a race is, and how it is run: peer, floor and rankbound in turn, in one process."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from types import MappingProxyType
from typing import Any

from benchmarks.rates import Rates

Work = Callable[[], Any]
SLOW = 10.0  # seconds of one run; what takes longer is run once
LEAST = 0.05  # seconds of a round; what takes less is run several times in it


class Seconds(float):
    """What work returns that measures itself: its seconds are these."""


@dataclass(frozen=True)
class Wanted:
    """What a race should show, as a number read off one round.

    Attributes
    ----------
    value : float
        The bound on that number.
    kind : str
        Of KINDS: which number, and on which side of the bound it should be.
    """

    value: float
    kind: str = "times"

    def read(self, ours: float, peer: float | None) -> float:
        """The number of one round, from its seconds."""
        return KINDS[self.kind].read(ours, float("nan") if peer is None else peer)

    def is_met(self, number: float) -> bool:
        """Whether a number is on the right side."""
        return number >= self.value if KINDS[self.kind].at_least else number <= self.value

    def words(self, number: float | None = None) -> str:
        """The bound, or a number that was measured, as a table shows it."""
        return KINDS[self.kind].words.format(self.value if number is None else number)


@dataclass(frozen=True)
class Kind:
    """A number read off a round: whether a large one is good, and how it is shown."""

    read: Callable[[float, float], float]
    at_least: bool
    words: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "times": Kind(lambda ours, peer: peer / ours, True, "{:.3g} ×"),
        "growth": Kind(lambda ours, peer: ours / peer, False, "{:.3g} × as long"),
        "seconds": Kind(lambda ours, peer: ours, False, "{:.2g} s"),
        "more": Kind(lambda ours, peer: ours - peer, False, "{:.3f} s more"),
    }
)


@dataclass(frozen=True)
class Entries:
    """The sides of a race, once their input is there.

    Attributes
    ----------
    ours : callable
        The work done by rankbound.
    peer : callable, optional
        What it is beside.
    floor : callable, optional
        What any way of doing it must do: a routine.
    least : callable, optional
        Instead of `floor`: seconds from the rates measured in this run.
    verdict : callable, optional
        Given what each side returned last: whether the answer is right, None where there is none,
        and facts worth keeping.
    """

    ours: Work
    peer: Work | None = None
    floor: Work | None = None
    least: Callable[[Rates], float] | None = None
    verdict: Callable[[Mapping[str, Any]], tuple[bool | None, Mapping[str, Any]]] | None = None


@dataclass(frozen=True)
class Race:
    """One row of the table.

    Attributes
    ----------
    name : str
        To ask for it at the command line.
    work, beside, floor : str
        What is done, with its sizes; beside what; and what no way can do without.
    wanted : Wanted
        What it should show.
    entries : callable
        Makes the input and returns the sides.
    clock : {"cpu", "wall"}
        By which it is judged. Seconds of the processor, children included, hang less on what else
        a machine does; the wall is for work on several cores.
    rounds : int
        How often each side is run, but for those that are slow.
    needs : tuple of str
        Packages without which it is skipped.
    """

    name: str
    work: str
    beside: str
    floor: str
    wanted: Wanted
    entries: Callable[[], Entries]
    clock: str = "cpu"
    rounds: int = 5
    needs: Sequence[str] = ()


@dataclass
class Side:
    """The rounds of one side."""

    work: Work
    number: int = 1  # of runs in a round
    is_slow: bool = False  # whether the last run took too long to be repeated
    result: Any = None
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self, number: int) -> tuple[float, float]:
        """Seconds of one of so many runs: of the processor, and on the wall."""
        before, start = processor(), time.perf_counter()
        for _ in range(number):
            self.result = self.work()
        taken = (time.perf_counter() - start) / number
        self.is_slow = taken > SLOW
        if isinstance(self.result, Seconds):
            self.is_slow |= self.result > SLOW
            return float(self.result), float(self.result)
        return (processor() - before) / number, taken

    def warm(self) -> None:
        """Run to load what is loaded on first use, and again to see how many fill a round.

        What takes long is not repeated, and its time is kept.
        """
        cpu, wall = self.run(1)
        if not self.is_slow:
            cpu, wall = self.run(1)
        self.number = max(1, min(100, ceil(LEAST / max(cpu, 1e-6))))
        if self.is_slow:
            self.keep(cpu, wall)

    def once_more(self) -> None:
        """Run a round, unless one was enough."""
        if not (self.cpu and self.is_slow):
            self.keep(*self.run(self.number))

    def keep(self, cpu: float, wall: float) -> None:
        """Keep the times of a round."""
        self.cpu.append(cpu)
        self.wall.append(wall)


def processor() -> float:
    """Seconds of the processor that this process used, and those it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def quartiles(values: Sequence[float]) -> list[float]:
    """The median between the quartiles; one value is all three."""
    if len(values) == 1:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def run(race: Race, rates: Rates) -> dict[str, Any]:
    """Run a race; return its row as plain data."""
    entries = race.entries()
    works = {"rankbound": entries.ours, "peer": entries.peer, "floor": entries.floor}
    sides = {name: Side(work) for name, work in works.items() if work is not None}
    for side in sides.values():
        side.warm()
    for _ in range(race.rounds):
        for side in sides.values():
            side.once_more()
    times = {name: getattr(side, race.clock) for name, side in sides.items()}
    ours, peer = times["rankbound"], times.get("peer", [None])
    numbers = [  # a side that was run once stands beside each round of the other
        race.wanted.read(ours[min(i, len(ours) - 1)], peer[min(i, len(peer) - 1)])
        for i in range(max(len(ours), len(peer)))
    ]
    number = quartiles(numbers)
    last = {name: side.result for name, side in sides.items()}
    right, facts = (True, {}) if entries.verdict is None else entries.verdict(last)
    floor = entries.least(rates) if entries.least is not None else None
    if "floor" in times:
        floor = quartiles(times["floor"])[1]
    return {
        "name": race.name,
        "clock": race.clock,
        "wanted": race.wanted.value,
        "kind": race.wanted.kind,
        "number": number,
        "met": bool(right and race.wanted.is_met(number[1])),
        "right": None if right is None else bool(right),
        "seconds": {name: quartiles(values) for name, values in times.items()},
        "wall": {name: quartiles(side.wall) for name, side in sides.items()},
        "rounds": {name: len(side.cpu) for name, side in sides.items()},
        "over_floor": None if floor is None else quartiles(ours)[1] / floor,
        "facts": dict(facts),
    }
