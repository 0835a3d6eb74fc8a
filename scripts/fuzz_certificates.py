"""Search for a wrong certificate: small adversarial matrices against exact elimination.

Each matrix is drawn from its own seed. Without an error the bounds of ``rb.certified_rank``, of the
matrix and of a batch that holds it, must contain its rank over the rationals. With an error, the
lower bound must not exceed the rank of a deficient matrix within that error: the one that the
matrix was rounded from, or one that was moved, exactly, to where a determinant vanishes, with the
error as tight as float64 can state it. Of a fraction of the bounds the certificate is checked, and
then one number of it is changed: what is accepted then must still be true
(``tests/certificates/truth.py``). As often the KL lower bound of a small context is certified, and
its certificate changed likewise. Nothing may raise or warn.

Run as ``python scripts/fuzz_certificates.py --count 100000 --seed 0``; prints each
counterexample with what repeats it, and exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rankbound as rb
from rankbound.theory.divergence import kl_certificate
from tests.certificates.truth import holds, matrix

Exact = list[list[Fraction]]
Floats = list[list[float]]

LARGEST = 6  # rows and columns
SAMPLED = 0.01  # of the bounds, whose certificates are looked at
CHANGES = 4  # of one number, a certificate
FLOAT_MAX = sys.float_info.max
TINY = 5e-324
COMMON = (0.0, 1.0, -1.0, 2.0, 3.0, 0.5, 0.1, 1 / 3)
NEAR_ONE = (1 + 2.0**-52, 1 - 2.0**-53, 1 - 2.0**-52)
FAR = (TINY, 3 * TINY, 2.0**-1022, 1e-310, 1e-300, 1e300, 1e-160, 1e160, 1e-8, 1e8 + 1, FLOAT_MAX)
WEIGHTS = (1, -1, 2, Fraction(1, 3), Fraction(1e-8), Fraction(1, 2**52), 10**9)


class Counterexample(Exception):
    """What was found, in words."""


# ---- exact arithmetic, which shares nothing with the package


def rank(rows: Exact) -> int:
    """The rank over the rationals, by elimination."""
    left = [row for row in map(_primitive, rows) if row]
    found = 0
    for j in range(len(rows[0])):
        pivot = next((row for row in left if row[j]), None)
        if pivot is None:
            continue
        found += 1
        cleared = [
            [pivot[j] * x - row[j] * y for x, y in zip(row, pivot, strict=True)]
            for row in left
            if row is not pivot
        ]
        left = [row for row in map(_primitive, cleared) if row]
    return found


def _primitive(row: list[Any]) -> list[int]:
    """The integers without a common factor in the same ratios; empty for zeros."""
    below = math.lcm(*(x.denominator for x in row))
    integers = [x.numerator * (below // x.denominator) for x in row]
    common = math.gcd(*integers)
    return [x // common for x in integers] if common else []


def inverse(A: Exact) -> Exact | None:
    """The inverse, or None where there is none."""
    n = len(A)
    rows = [[*row, *(Fraction(int(i == j)) for j in range(n))] for i, row in enumerate(A)]
    for j in range(n):
        place = next((i for i in range(j, n) if rows[i][j]), None)
        if place is None:
            return None
        rows[j], rows[place] = rows[place], rows[j]
        pivot = rows[j][j]
        rows[j] = [x / pivot for x in rows[j]]
        for i in range(n):
            if i != j and rows[i][j]:
                factor = rows[i][j]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[j], strict=True)]
    return [row[n:] for row in rows]


def exact(A: Floats) -> Exact:
    """The floats as the rationals they are."""
    return [[Fraction(x) for x in row] for row in A]


def rounded(B: Exact) -> Floats:
    """Each entry to the nearest float."""
    return [[float(x) for x in row] for row in B]


def upward(x: Fraction) -> float:
    """The least float that is at least x >= 0."""
    near = float(x)
    return near if Fraction(near) >= x else math.nextafter(near, math.inf)


# ---- matrices


def _number(draw: Random) -> float:
    kind, sign = draw.randrange(10), draw.choice((-1, 1))
    if kind < 4:
        return draw.choice(COMMON)
    if kind < 6:
        return sign * draw.choice(FAR)
    if kind < 7:
        return sign * draw.choice(NEAR_ONE)
    if kind < 8:
        return sign * math.ldexp(1.0, draw.randint(-1074, 1023))
    return float(draw.randint(-9, 9)) if kind < 9 else draw.uniform(-1, 1)


def _shape(draw: Random) -> tuple[int, int]:
    n = draw.randint(1, LARGEST)
    return (n, n) if draw.random() < 0.5 else (draw.randint(1, LARGEST), n)


def palette(draw: Random) -> Exact:
    """Entries from very few numbers: determinants vanish often, and nearly."""
    m, n = _shape(draw)
    numbers = [Fraction(_number(draw)) for _ in range(draw.randint(1, 4))]
    return [[draw.choice(numbers) for _ in range(n)] for _ in range(m)]


def product(draw: Random) -> Exact:
    """A product of thin integer or rational factors, rows and columns times powers of two."""
    m, n = _shape(draw)
    inner = draw.randint(1, max(1, min(m, n) - 1))
    most, below = draw.choice((1, 3, 2**20, 2**26)), draw.choice((1, 1, 3, 7))
    reach = draw.choice((0, 0, 3, 60, 480))
    left, right = (
        [[Fraction(draw.randint(-most, most), below) for _ in range(inner)] for _ in range(size)]
        for size in (m, n)
    )
    down, across = (
        [Fraction(2) ** draw.randint(-reach, reach) for _ in range(size)] for size in (m, n)
    )
    return [
        [
            sum((a * b for a, b in zip(u, v, strict=True)), Fraction(0)) * e * f
            for v, f in zip(right, across, strict=True)
        ]
        for u, e in zip(left, down, strict=True)
    ]


def dependent(draw: Random) -> Exact:
    """A column that is a combination of the others, exactly."""
    rows = (palette if draw.random() < 0.5 else product)(draw)
    n = len(rows[0])
    weights = [draw.choice(WEIGHTS) for _ in range(n)]
    place = draw.randrange(n)
    for row in rows:
        others = (w * x for j, (w, x) in enumerate(zip(weights, row, strict=True)) if j != place)
        row[place] = sum(others, Fraction(0))
    return rows


def graded(draw: Random) -> Exact:
    """Powers of a step by max(i, j) or i j, which have full rank but hardly so."""
    m, n = _shape(draw)
    step, greatest = Fraction(draw.choice((0.1, 0.5, 1e-5, 1e-40))), draw.random() < 0.5
    return [[step ** (max(i, j) if greatest else i * j) for j in range(n)] for i in range(m)]


FAMILIES: tuple[Callable[[Random], Exact], ...] = (palette, product, dependent, graded)


def drawn(draw: Random, families: tuple[Callable[[Random], Exact], ...] = FAMILIES) -> Exact:
    """A matrix of one of the families, times a power of two that keeps it within float64."""
    rows = draw.choice(families)(draw)
    most = max(abs(x) for row in rows for x in row)
    while most > Fraction(FLOAT_MAX):
        rows, most = [[x / 2**64 for x in row] for row in rows], most / 2**64
    return rows


def disturbed(draw: Random, A: Floats) -> Floats:
    """A few entries moved by a unit in the last place or by a relative gap; often none."""
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        row, sign = draw.choice(A), draw.choice((-1, 1))
        j, gap = draw.randrange(len(row)), 10.0 ** -draw.randint(1, 16)
        moved = math.nextafter(row[j], sign * math.inf) if gap > 1e-8 else row[j] * (1 + sign * gap)
        row[j] = moved if math.isfinite(moved) else row[j]
    return A


# ---- deficient neighbours: a float matrix, an error, and the rank of a matrix within it

Neighbour = tuple[Floats, Floats, int]


def rounded_from(draw: Random) -> Neighbour:
    """The matrix was rounded and disturbed from a deficient one; the error is the difference."""
    B = drawn(draw, (product, dependent, palette))
    A = disturbed(draw, rounded(B))
    E = [
        [upward(abs(Fraction(a) - b)) for a, b in zip(*rows, strict=True)]
        for rows in zip(A, B, strict=True)
    ]
    return A, E, rank(B)


def moved_to_singular(draw: Random) -> Neighbour | None:
    """Where the determinant vanishes along one entry, or along a matrix of signs; n <= 4."""
    A = disturbed(draw, rounded([row[:4] for row in drawn(draw)[:4]]))
    n = min(len(A), len(A[0]))
    A = [row[:n] for row in A[:n]]
    R = inverse(exact(A))
    if R is None:
        return None
    s, t = ([Fraction(draw.choice((-1, 1))) for _ in range(n)] for _ in range(2))
    if draw.random() < 0.5:
        places = draw.choices(range(n), k=2)
        s, t = ([Fraction(int(i == place)) for i in range(n)] for place in places)
    # det(A - d s t^T) = det A (1 - d t^T A^-1 s)
    slope = sum((t[i] * R[i][j] * s[j] for i in range(n) for j in range(n)), Fraction(0))
    if slope == 0 or abs(1 / slope) > Fraction(FLOAT_MAX):
        return None
    B = [[Fraction(A[i][j]) - s[i] * t[j] / slope for j in range(n)] for i in range(n)]
    E = [[upward(abs(s[i] * t[j] / slope)) for j in range(n)] for i in range(n)]
    return A, E, rank(B)


def neighbour(draw: Random) -> Neighbour:
    """Either kind, the error sometimes larger than it need be."""
    found = moved_to_singular(draw) if draw.random() < 0.5 else None
    A, E, r = found or rounded_from(draw)
    factor = draw.choice((1, 1, 1, Fraction(1 + 2.0**-52), Fraction(3, 2)))
    larger = [[upward(min(Fraction(e) * factor, Fraction(FLOAT_MAX))) for e in row] for row in E]
    return A, larger, r


# ---- what must hold


def without_error(draw: Random, tally: Counter[str], look: bool) -> None:
    """The bounds of a matrix, and of a batch of one, contain its rank."""
    A = disturbed(draw, rounded(drawn(draw)))
    true = rank(exact(A))
    for bounds in (rb.certified_rank(A), rb.certified_rank([A])[0]):
        if not bounds.lower <= true <= bounds.upper:
            raise Counterexample(f"rank {true} in [{bounds.lower}, {bounds.upper}]: {_hex(A)}")
        tally["undecided"] += int(bounds.lower < bounds.upper)
        if look:
            certificate(draw, tally, bounds, A, None)


def with_error(draw: Random, tally: Counter[str], look: bool) -> None:
    """The lower bound is at most the rank of a matrix within the error."""
    A, E, r = neighbour(draw)
    same = len({e for row in E for e in row}) == 1
    bounds = rb.certified_rank(A, E[0][0] if same and draw.random() < 0.5 else E)
    if bounds.lower > r:
        raise Counterexample(f"lower {bounds.lower}, rank {r} within {_hex(E)} of {_hex(A)}")
    tally["sharp"] += int(bounds.lower == r)
    if look:
        certificate(draw, tally, bounds, A, E)


def certificate(
    draw: Random, tally: Counter[str], bounds: rb.RankBounds, A: Floats, E: Floats | None
) -> None:
    """It is accepted and states the bounds; with one number changed it is rejected, or true."""
    try:
        found: Any = bounds.certify().certificate
    except rb.Undecided:
        tally["without"] += 1
        return
    document = json.loads(found.to_json())
    outcome, statement = rb.check(document), document["statement"]
    if not outcome.accepted:
        raise Counterexample(f"rejected: {outcome.reason} {found.to_json()}")
    sides = statement["lower"], statement.get("upper", bounds.upper)
    about = [matrix(statement[name]) for name in ("matrix", "error") if name in statement]
    if sides != (bounds.lower, bounds.upper) or about != [exact(M) for M in (A, E) if M]:
        raise Counterexample(f"another statement: {found.to_json()}")
    tally["certificates"] += 1
    spoilt(draw, tally, document)


def spoilt(draw: Random, tally: Counter[str], document: Any) -> None:
    """With one number changed it is rejected, or what it states is true all the same."""
    for _ in range(CHANGES):
        other = copy.deepcopy(document)
        change(draw, other)
        if not rb.check(other).accepted:
            tally["rejected"] += 1
        elif not holds(other["statement"]):
            raise Counterexample(f"accepted, though false: {json.dumps(other)}")
        else:
            tally["still true"] += 1


def divergence(draw: Random, tally: Counter[str]) -> None:
    """The bound of a small context is certified, and a larger one only where it is true."""
    n, spread = draw.randint(3, 4), draw.choice((0.1, 1.0, 4.0))
    P = rb.column_softmax([[spread * draw.gauss(0, 1) for _ in range(n)] for _ in range(n)])
    found: Any = kl_certificate(P, draw.randint(1, n - 2))
    document = json.loads(found.to_json())
    outcome = rb.check(document)
    if not outcome.accepted:
        raise Counterexample(f"rejected: {outcome.reason} {found.to_json()}")
    tally["KL certificates"] += 1
    for factor in (1 + 2.0**-20, 1.5, 3.0):
        document["statement"]["bound"] = (factor * found.statement.bound).hex()
        if rb.check(document).accepted and not holds(document["statement"]):
            raise Counterexample(f"accepted, though false: {json.dumps(document)}")
    spoilt(draw, tally, json.loads(found.to_json()))


def change(draw: Random, document: Any) -> None:
    """Change one leaf of the tree."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
            elif key not in ("schema", "kind", "type"):
                places.append((node, key))
    node, key = draw.choice(places)
    node[key] = _changed(draw, node[key])


def _changed(draw: Random, value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return draw.choice([x for x in (True, False, None) if x is not value])
    if isinstance(value, int):
        return draw.choice((value - 1, value + 1, 2 * value + 1, -value - 1))
    if "p" in value and draw.random() < 0.5:
        number = float.fromhex(value)
        near = math.nextafter(number, draw.choice((-math.inf, math.inf)))
        return float(draw.choice((near, -number, 0.0, number / 2, 1.0))).hex()
    place = draw.choice([i for i, digit in enumerate(value) if digit in "0123456789abcdef"])
    digit = draw.choice([x for x in "0123456789abcdef" if x != value[place]])
    return f"{value[:place]}{digit}{value[place + 1 :]}"


def _hex(A: Floats) -> str:
    return str([[x.hex() for x in row] for row in A])


def trial(seed: int, index: int, tally: Counter[str], sampled: float = SAMPLED) -> None:
    """One matrix without an error and one with; whatever is raised is a counterexample."""
    draw = Random(f"{seed}:{index}")
    look = draw.random() < sampled
    try:
        without_error(draw, tally, look)
        with_error(draw, tally, look)
        if look:
            divergence(draw, tally)
    except Counterexample:
        raise
    except Exception as error:
        raise Counterexample(f"{type(error).__name__}: {error}") from error


def main() -> int:
    """Search, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="matrices; 100000 unless given")
    parser.add_argument("--seed", type=int, default=0, help="0 unless given")
    parser.add_argument("--start", type=int, default=0, help="the first one; 0 unless given")
    options = parser.parse_args()
    tally: Counter[str] = Counter()
    warnings.simplefilter("error")
    started, found = time.process_time(), 0
    for index in range(options.start, options.start + options.count):
        try:
            trial(options.seed, index, tally)
        except Counterexample as error:
            found += 1
            print(f"counterexample: {error}")
            print(
                f"repeat: {sys.argv[0]} --seed {options.seed} --start {index} --count 1", flush=True
            )
    counts = ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
    seconds = time.process_time() - started
    done = f"{options.count} matrices, seed {options.seed}: {found} counterexamples"
    print(f"{done} ({counts}; {seconds:.0f} s)")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
