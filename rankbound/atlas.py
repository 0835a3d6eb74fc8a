"""The head-size atlas: what each class of patterns needs, in each sense.

Each entry is computed for one pattern of its class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import chain
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_int, check_real
from rankbound.attention.ensembles import random_context
from rankbound.attention.masks import Mask, causal_mask, prefix_mask
from rankbound.attention.softmax import column_softmax
from rankbound.errors import InputError, Interrupted, Undecided
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.records import Record, parsed, restored
from rankbound.table import Column, Table, finite
from rankbound.theory.approximation import stays_away
from rankbound.theory.argmax import argmaxable
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.selection import check_share, least_scale_bound, random_keys, selecting_head
from rankbound.theory.sign_rank import selection_head_size
from rankbound.theory.sparse import sparse_head
from rankbound.verdict import Verdict

Ints = npt.NDArray[np.int64]
LARGEST = 512  # tokens for which every entry takes seconds, not hours
MOST_CERTIFIED = 128  # tokens up to which certificates are built and checked
SPREAD = 1000  # of random integer logits and keys
STEP = 2**20  # how close the sequence that shows the causal closure is taken
ERROR = 1e-6  # to which sparse heads are built
SECTION = "section 5"

NOTIONS = MappingProxyType(
    {
        "exact": "some head has this context exactly",
        "closure": "heads come as close to it as wished",
        "bounded": "a head with bounded logits comes within a total variation",
        "sign": "some head prefers the same keys",
    }
)
PATTERNS = MappingProxyType(
    {
        "worst-positive": "worst positive context",
        "random-positive": "random positive context",
        "random-causal": "random causal context",
        "worst-causal": "worst causal context",
        "random-prefix": "random context, prefix of 3n/4",
        "hadamard": "Hadamard pattern, P ∝ 2^H",
        "one-hot": "one key per query, a permutation",
        "sparse": "three keys per query",
        "random-signs": "random signs",
        "orderings": "every order of the keys",
    }
)


@dataclass(frozen=True, repr=False)
class Entry(Record):
    """An interval that holds the least head size for a pattern, in one sense."""

    pattern: str  # of PATTERNS
    notion: str  # of NOTIONS
    n: int
    lower: float  # both sides are infinite where no head of any size will do
    upper: float
    lower_evidence: Verdict
    upper_evidence: Verdict
    how: str  # what was computed for each side
    theorem: str  # where it is proved
    claims: tuple[str, ...]  # registered claims that verify it on other instances

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS or self.notion not in NOTIONS:
            raise InputError(f"no entry {self.pattern!r}, {self.notion!r} in the atlas.")
        if not 0 <= self.lower <= self.upper:
            raise InputError(
                f"the least head size of {self.pattern}, {self.notion} would lie between "
                f"{self.lower} and {self.upper}; expected 0 <= lower <= upper."
            )

    @property
    def evidence(self) -> list[str]:
        """The words for both sides, below first; one where they agree."""
        return list(dict.fromkeys((str(self.lower_evidence), str(self.upper_evidence))))

    @property
    def interval(self) -> str:
        """The interval in a cell."""
        if math.isinf(self.lower):
            return "none"
        low, high = int(self.lower), self.upper
        if low == high:
            return str(low)
        return f"{low}–{'…' if math.isinf(high) else int(high)}"


@dataclass(frozen=True, repr=False)
class Atlas(Record):
    """The entries for sequences of n tokens; a pattern need not have one in every sense."""

    n: int
    seed: int  # of the random patterns
    scale: float  # in the bounded sense: the largest |q| |k|
    error: float  # in the bounded sense: the total variation per column
    entries: tuple[Entry, ...]

    def entry(self, pattern: str, notion: str) -> Entry | None:
        """The entry of a pattern in a sense, if there is one."""
        wanted = (pattern, notion)
        return next((e for e in self.entries if (e.pattern, e.notion) == wanted), None)

    def table(self) -> Table:
        """Return the intervals with their evidence, one row per pattern."""
        return self.grid(lambda e: f"{e.interval} ({', '.join(sorted(e.evidence))})", "≤")

    def grid(self, cell: Callable[[Entry], str], at_most: str) -> Table:
        """Return a cell for each entry, one row per pattern and one column per sense."""
        titles = {
            "exact": "exact",
            "closure": "to any precision",
            "bounded": f"|q||k| {at_most} {self.scale:g}, TV {at_most} {self.error:g}",
            "sign": "sign",
        }
        cells = {(entry.pattern, entry.notion): cell(entry) for entry in self.entries}
        return Table(
            [Column("pattern", f"n = {self.n}"), *(Column(name, titles[name]) for name in NOTIONS)],
            [
                (title, *(cells.get((pattern, notion)) for notion in NOTIONS))
                for pattern, title in PATTERNS.items()
                if any((pattern, notion) in cells for notion in NOTIONS)
            ],
        )

    def rows(self) -> list[dict[str, Any]]:
        """The entries as records of plain values; an infinite side is None."""
        names = [field.name for field in fields(Entry)]
        records: list[dict[str, Any]] = finite(Table.of(map(vars, self.entries), names).records())
        return records

    def to_json(self) -> str:
        """Return the settings and the entries as a JSON object."""
        settings = {"n": self.n, "seed": self.seed, "scale": self.scale, "error": self.error}
        return json.dumps({**settings, "entries": self.rows()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the atlas that :meth:`to_json` wrote; null stands for an infinite side."""
        data = parsed(text)
        entries = data.get("entries") if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise InputError("text is no atlas; expected the JSON that Atlas.to_json() wrote.")
        for entry in entries:
            for side in ("lower", "upper"):
                if side in entry and entry[side] is None:
                    entry[side] = math.inf
        atlas: Self = restored(cls, data, "the atlas")
        return atlas


def compute_atlas(n: int, seed: int = 0, *, scale: float = 50.0, error: float = 0.01) -> Atlas:
    """What head size each class of patterns of n tokens needs, in each sense.

    Every entry is computed for one pattern of its class: exact and certified ranks, KL bounds,
    heads that are built, and sign ranks. It is an interval where the two sides do not meet.

    Parameters
    ----------
    n, seed : int
        Tokens, from 3 to 512, and the seed of the random patterns.
    scale, error : float
        In the bounded sense: the largest ``|q| |k|``, and the total variation per column.

    Raises
    ------
    Interrupted
        A KeyboardInterrupt; its ``done`` is the atlas of the entries that were finished.

    References
    ----------
    docs/theory.md, sections 1, 3 and 5.

    Examples
    --------
    >>> atlas = compute_atlas(8)
    >>> atlas.entry("random-causal", "exact").interval
    '4'
    """
    why = f"patterns differ from 3 tokens on, and beyond {LARGEST} they take hours"
    n = check_int("n", n, least=3, most=LARGEST, why=why)
    seed = check_int("seed", seed, least=0)
    scale, error = check_real("scale", scale, above=0.0), check_share(error)
    computed = chain(
        _worst(n),
        _random(n, seed),
        _masked("random-causal", n, seed, causal_mask(n), "causal-generic"),
        _masked("random-prefix", n, seed, prefix_mask(n, 3 * n // 4), "prefix-generic"),
        _worst_causal(n, seed),
        _hadamard(n),
        _one_hot(n, seed),
        _at_a_scale(n, seed, scale, error),
        _sparse(n, seed),
        _signs(n, seed),
        _orderings(n, seed),
    )
    entries: list[Entry] = []
    try:
        entries.extend(computed)
    except KeyboardInterrupt:
        raise Interrupted(
            "the atlas was interrupted", Atlas(n, seed, scale, error, tuple(entries))
        ) from None
    return Atlas(n, seed, scale, error, tuple(entries))


def _entry(
    pattern: str,
    notion: str,
    n: int,
    sides: tuple[float, float],
    evidence: Verdict | tuple[Verdict, Verdict],
    how: str,
    theorem: str,
    *claims: str,
) -> Entry:
    below, above = evidence if isinstance(evidence, tuple) else (evidence, evidence)
    return Entry(pattern, notion, n, *sides, below, above, how, theorem, claims)


def _between(
    pattern: str, notion: str, n: int, bounds: RankBounds, theorem: str, *claims: str
) -> Entry:
    sides = int(bounds.lower), int(bounds.upper)
    return _entry(pattern, notion, n, sides, bounds.verdict, bounds.method, theorem, *claims)


# positive contexts: no zeros where they are visible


def _certified(P: Any = None, **given: Any) -> RankBounds:
    return _strongest(certified_log_rank(P, **given), len(given.get("logits", P)))


def _strongest(bounds: RankBounds, n: int) -> RankBounds:
    """The bounds with their certificate, where it is built in seconds; else rigorous."""
    if n > MOST_CERTIFIED:
        return bounds
    try:
        return bounds.certify()
    except Undecided:
        return bounds


def _closure(pattern: str, n: int, P: Array, exact: RankBounds, mask: Mask | None = None) -> Entry:
    """Below: the largest size at which every head keeps a positive KL divergence, plus 1."""
    most = int(exact.upper)
    below = next((k for k in range(most - 1, 0, -1) if stays_away(P, k, mask)), 0)
    return _entry(
        pattern,
        "closure",
        n,
        (min(below + 1, most), most),
        (Verdict.SUPPORTED, exact.verdict),
        f"lower: a positive KL bound at head size {below}; upper: the exact head",
        SECTION,
        "kl-lower-bound",
    )


def _worst(n: int) -> Iterator[Entry]:
    identity = np.eye(n, dtype=np.int64)
    exact, claims = _certified(logits=identity), ("sharp-necessary", "sharp-sufficient")
    yield _between("worst-positive", "exact", n, exact, "Theorem A", *claims)
    yield _closure("worst-positive", n, _base_two(identity), exact)


def _random(n: int, seed: int) -> Iterator[Entry]:
    P = random_context(n, seed)
    exact = _certified(P)
    yield _between("random-positive", "exact", n, exact, "Theorem A", "sharp-almost-every")
    yield _closure("random-positive", n, P, exact)


def _masked(pattern: str, n: int, seed: int, mask: Mask, claim: str) -> Iterator[Entry]:
    logits = _random_logits(n, seed)
    exact = _certified(logits=logits, mask=mask)
    yield _between(pattern, "exact", n, exact, "Theorem C", claim)
    # logits of the size of one, so that no weight vanishes; their rank is the same
    yield _closure(pattern, n, column_softmax(logits / SPREAD, mask=mask), exact, mask)


def _worst_causal(n: int, seed: int) -> Iterator[Entry]:
    """The identity needs n - 1; its neighbours I + G/2^20 need floor(n/2)."""
    mask, identity = causal_mask(n), np.eye(n, dtype=np.int64)
    exact = _certified(logits=identity, mask=mask)
    yield _between("worst-causal", "exact", n, exact, "Theorem C", "causal-worst")
    near = _certified(logits=STEP * identity + _random_logits(n, seed), mask=mask)
    bound = _closure("worst-causal", n, _base_two(identity, mask), near, mask)
    yield _entry(
        "worst-causal",
        "closure",
        n,
        (bound.lower, int(near.upper)),
        (Verdict.SUPPORTED, near.verdict),
        f"{bound.how.split(';')[0]}; upper: the size of I + G/t for random G, t = 2^20",
        "Theorem C",
        "causal-dense",
        "kl-lower-bound",
    )


def _hadamard(n: int) -> Iterator[Entry]:
    from scipy.linalg import hadamard

    size = 1 << (n.bit_length() - 1)
    H = hadamard(size, dtype=np.int64)
    exact = _certified(logits=H)
    yield _between("hadamard", "exact", size, exact, "Theorem A", "sharp-sufficient")
    yield _closure("hadamard", size, _base_two(H), exact)
    yield _preferred("hadamard", H, "forster-hadamard", "sign-changes")


def _preferred(pattern: str, H: Any, *claims: str) -> Entry:
    bounds = selection_head_size(H)
    return _between(pattern, "sign", len(H), bounds, "section 5, Forster 2002", *claims)


def _random_logits(n: int, seed: int) -> Ints:
    return np.random.default_rng([seed, n]).integers(-SPREAD, SPREAD, (n, n), endpoint=True)


def _base_two(logits: Any, mask: Mask | None = None) -> Array:
    return column_softmax(np.log(2.0) * logits, mask=mask)


# patterns of few keys, of signs, and of orders


def _no_head(pattern: str, n: int) -> Entry:
    sides, how = (math.inf, math.inf), "a softmax has no zeros"
    return _entry(pattern, "exact", n, sides, Verdict.PROVED, how, "section 1", "softmax-gauge")


def _built(pattern: str, n: int, P: Array, lower: int, below: str, *claims: str) -> Entry:
    size = sparse_head(P, error=ERROR).head_size
    sides = min(lower, size), size
    how = f"lower: {below}; upper: a head within {ERROR:g} in total variation, rounding bounded"
    return _entry(pattern, "closure", n, sides, Verdict.SUPPORTED, how, SECTION, *claims)


def _one_hot(n: int, seed: int) -> Iterator[Entry]:
    P = random_context(n, seed, law="permutation")
    yield _no_head("one-hot", n)
    line = np.random.default_rng([seed, n]).standard_normal((1, n))
    winners = int(argmaxable(line).argmaxable.sum())
    lower = 2 if winners < n else 1
    below = f"on a line {winners} of {n} keys can win"
    yield _built("one-hot", n, P, lower, below, "sparse-two-s", "one-hot-two")
    bounds = selection_head_size(np.where(P > 0, 1, -1))
    yield _entry(
        "one-hot",
        "sign",
        n,
        (max(int(bounds.lower), lower), int(bounds.upper)),
        bounds.verdict,
        f"lower: {below}; upper: sign changes",
        SECTION,
        "one-hot-two",
        "sign-changes",
    )


def _at_a_scale(n: int, seed: int, scale: float, error: float) -> Iterator[Entry]:
    """One key per query where logits are bounded; no entry where no head has so small a scale."""
    from scipy.linalg import helmert

    lower = next((d for d in range(1, n) if least_scale_bound(n, d, error) <= scale), n)
    targets = np.argmax(random_context(n, seed, law="permutation"), axis=0)
    for d in range(lower, n):
        # at n - 1 the corners of a simplex: no scale is smaller (docs/theory.md, section 5)
        keys = random_keys(n, d, seed) if d < n - 1 else helmert(n) * math.sqrt(n / (n - 1))
        try:
            found = selecting_head(keys, error, targets=targets)
        except (InputError, Undecided):  # a key that does not win its own direction, for one
            continue
        if found.scale <= scale:
            yield _entry(
                "one-hot",
                "bounded",
                n,
                (lower, d),
                Verdict.SUPPORTED,
                "lower: volume, caps, averages; upper: a head with spread keys within the error",
                "section 5, price of scale",
                "price-of-scale",
                "spread-keys",
            )
            return


def _sparse(n: int, seed: int) -> Iterator[Entry]:
    P = random_context(n, seed, law="sparse", nonzeros=min(3, n))
    if (P > 0).all():
        return
    yield _no_head("sparse", n)
    bounds = selection_head_size(np.where(P > 0, 1, -1))
    below = "the keys must at least be preferred (Forster)"
    yield _built("sparse", n, P, max(int(bounds.lower), 1), below, "sparse-two-s")
    upper = min(int(bounds.upper), 6)
    sides = min(int(bounds.lower), upper), upper
    how = f"{bounds.method}; upper also: the head of size 2s"
    yield _entry("sparse", "sign", n, sides, bounds.verdict, how, SECTION, "sparse-two-s")


def _signs(n: int, seed: int) -> Iterator[Entry]:
    H = np.random.default_rng([seed, n]).choice(np.array([-1, 1]), (n, n))
    yield _preferred("random-signs", H, "forster-hadamard", "sign-changes")


def _orderings(n: int, seed: int) -> Iterator[Entry]:
    """Keys give every order iff they are affinely independent: n of them need n - 1 coordinates."""
    rng = np.random.default_rng([seed, n])
    ranks = {}
    for d in (n - 2, n - 1):
        keys = rng.integers(-SPREAD, SPREAD, (d, n), endpoint=True)
        ranks[d] = _strongest(exact_rank([*keys.tolist(), [1] * n]), n)
    size = min((d for d, rank in ranks.items() if int(rank) == n), default=n)
    evidence = Verdict.weakest([rank.verdict for rank in ranks.values()])
    how = "exact affine rank of random integer keys: n at n - 1 coordinates, less at n - 2"
    yield _entry("orderings", "sign", n, (size, size), evidence, how, SECTION, "all-orderings")
