"""Spectra from Gram matrices: the bound beside exact arithmetic, and what must fall back."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

import rankbound as rb
from rankbound.ranks import factored
from tests.helpers import EPS, Array, refused

K, N = 4, 1100  # three blocks of 512 columns


def exact_values(keys: Array, queries: Array, centred: bool) -> list[Any]:
    """Singular values of ``keys^T queries`` at 80 digits: roots of those of a k × k matrix."""
    sizes = np.frexp(np.abs(keys).max(axis=1))[1].tolist()
    with mpmath.workdps(80):
        left, right = (
            [
                [mpmath.mpf(x) * mpmath.mpf(2) ** e for x in row]
                for e, row in zip(powers, F, strict=True)
            ]
            for F, powers in ((keys.tolist(), [-e for e in sizes]), (queries.tolist(), sizes))
        )
        if centred:
            left = [[x - mpmath.fsum(row) / len(row) for x in row] for row in left]
        A, B = (mpmath.matrix([[mpmath.fdot(x, y) for y in F] for x in F]) for F in (left, right))
        try:
            root = mpmath.cholesky(A)
        except ValueError:  # singular: moved by far less than is looked at
            root = mpmath.cholesky(A + mpmath.eye(len(A)) * mpmath.mpf(10) ** -60 * mpmath.norm(A))
        squares = mpmath.eigsy(root.T * B * root, eigvals_only=True)
        return sorted((mpmath.sqrt(max(x, 0)) for x in squares), reverse=True)


def independent(rng: np.random.Generator) -> Array:
    return rng.standard_normal((K, N))


def graded(rng: np.random.Generator) -> Array:
    """Coordinates of very different sizes, which Cholesky QR does not see."""
    return np.asarray(rng.standard_normal((K, N)) * np.logspace(-60, 60, K)[:, None])


def extreme(rng: np.random.Generator) -> Array:
    """Squares that over- and underflow."""
    return np.asarray(rng.standard_normal((K, N)) * np.array([1e-250, 1, 1, 1e250])[:, None])


def common(rng: np.random.Generator) -> Array:
    """A part in common that is 30 times the rest."""
    return rng.standard_normal((K, N)) + 30 * rng.standard_normal((1, N))


def near(rng: np.random.Generator) -> Array:
    """Two rows that differ by 1e-5 of their length."""
    F = rng.standard_normal((K, N))
    F[1] = F[0] + 1e-5 * F[1]
    return F


def dependent(rng: np.random.Generator) -> Array:
    """Two rows that differ by 1e-11 of their length: their Gram matrix is singular in float64."""
    F = rng.standard_normal((K, N))
    F[1] = F[0] + 1e-11 * F[1]
    return F


def zero(rng: np.random.Generator) -> Array:
    F = rng.standard_normal((K, N))
    F[2] = 0
    return F


def offset(rng: np.random.Generator) -> Array:
    """Means a thousand times what is left without them."""
    return rng.standard_normal((K, N)) + 1e3 * rng.standard_normal((K, 1))


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factored, "SMALL", 0)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done: a pass of Cholesky QR, or Householder QR of one factor or both."""
    taken: list[str] = []

    def noted(name: str) -> None:
        method = getattr(factored._Passes, name)

        def note(self: Any, *given: Any) -> Any:
            taken.append(f"{name}{len(*given)}" if given else name)
            return method(self, *given)

        monkeypatch.setattr(factored._Passes, name, note)

    noted("read")
    noted("triangles")
    return taken


ONE, TWO = ["read"], ["read", "read"]
HALF = ["read", "triangles1"]
NONE, FAILED = ["read", "triangles2"], ["read", "read", "triangles2"]
KINDS: dict[Any, tuple[list[str], list[str]]] = {  # as they are, and centred
    independent: (ONE, ONE),
    graded: (ONE, ONE),
    extreme: (TWO, TWO),  # once more as they are balanced
    common: (NONE, NONE),
    near: (NONE, NONE),
    dependent: (NONE, NONE),
    zero: (FAILED, FAILED),  # balanced in vain
    offset: (NONE, HALF),
}


def allowed(keys: Array, queries: Array, centred: bool) -> float:
    """The bound of the module, twice: Householder QR is customarily within it."""
    total = 0.0
    for a, b in zip(keys, queries, strict=True):
        x, y = (np.abs(row).max() or 1.0 for row in (a, b))
        total += float(np.linalg.norm(a / x) * np.linalg.norm(b / y) * (x * y))
    return float((keys.shape[1] + len(keys) + 50 * centred) * EPS * total)


def factors(kind: Any) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    keys, queries = kind(rng), kind(rng)
    if kind in (graded, extreme):  # large in the keys, small in the queries
        queries = rng.standard_normal((K, N)) / np.abs(keys).max(axis=1, keepdims=True)
    return keys, queries


def error(found: Array, keys: Array, queries: Array, centred: bool) -> float:
    """The largest error, as a share of the bound."""
    exact = exact_values(keys, queries, centred)
    off = max(abs(x - y) for x, y in zip(exact, found.tolist(), strict=True))
    return float(off / allowed(keys, queries, centred))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_within_the_bound_by_the_way_that_proves_it(
    kind: Any, centred: bool, passes: list[str]
) -> None:
    keys, queries = factors(kind)
    found = rb.logit_spectrum(rb.AttentionHead(queries, keys, scale=1.0), centred=centred)
    assert passes == KINDS[kind][centred]
    assert error(found, keys, queries, centred) <= 1


@pytest.mark.parametrize("kind", [common, near, dependent], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("closely", [True, False])
def test_what_is_not_proved_is_not_believed(
    kind: Any, closely: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bound refuses by itself; were it not for them, what is dependent would be wrong."""
    keys, queries = factors(kind)
    zero = np.zeros((2, 1))
    with monkeypatch.context() as hopeful:
        delta = factored._Rows.delta
        hopeful.setattr(factored._Rows, "delta", lambda self, _=True: delta(self, closely))
        found = factored.spectrum_of_factors(keys, queries, 1.0, centred=False)
    assert error(found, keys, queries, False) <= 1
    assert np.array_equal(found, factored.spectrum_of_factors(keys, queries, 1.0, centred=False))
    monkeypatch.setattr(factored._Rows, "delta", lambda self, _=True: zero)
    believed = factored.spectrum_of_factors(keys, queries, 1.0, centred=False)
    assert (error(believed, keys, queries, False) > 1) is (kind is dependent)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_delta_bounds_what_is_off(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm of Δ at 50 digits; and not if products are summed in float32."""
    F = np.random.default_rng(k).standard_normal((k, 300)) + 3.0
    with mpmath.workdps(50):
        exact = mpmath.matrix([[mpmath.fdot(x, y) for y in F.tolist()] for x in F.tolist()])

    def off_and_bounds() -> tuple[Any, list[float]]:
        rows = factored._Rows.of([factored._Passes(lambda: factored.split(F, F), False, False)])
        with mpmath.workdps(50):
            A = mpmath.diag(rows.lengths[0, 0].tolist()) * mpmath.matrix(rows.matrix[0, 0].tolist())
            inverse = A**-1
            off = mpmath.norm(mpmath.eye(k) - inverse * exact * inverse.T, mpmath.inf)
        return off, [float(rows.delta(closely)[0, 0]) for closely in (True, False)]

    off, bounds = off_and_bounds()
    assert off < min(bounds)
    gram = factored._gram

    def coarse(factor: Array) -> tuple[Array, int]:
        return gram(factor.astype(np.float32))[0].astype(np.float64), gram(factor)[1]

    monkeypatch.setattr(factored, "_gram", coarse)
    off, bounds = off_and_bounds()
    assert off > max(bounds)


@pytest.mark.parametrize("n", [200, 511, 512, 513])
def test_a_single_block_is_proved_as_it_is(n: int, passes: list[str]) -> None:
    keys, queries = np.random.default_rng(n).standard_normal((2, 3, n))
    found = factored.spectrum_of_factors(keys, queries, 1.0, centred=True)
    assert error(found, keys, queries, True) <= 1
    assert passes == ONE


def test_means_that_are_not_subtracted_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the spread of the means of blocks, what differs between blocks would be lost."""
    keys, queries = factors(independent)
    keys[:, 512:] += 5.0
    found = factored.spectrum_of_factors(keys, queries, 1.0, centred=True)
    assert error(found, keys, queries, True) <= 1

    def apart(blocks: Any) -> Any:
        return ((F - F.mean(axis=-1, keepdims=True), queries) for F, queries in blocks)

    monkeypatch.setattr(factored, "less_means", apart)
    within = factored.spectrum_of_factors(keys, queries, 1.0, centred=True)
    assert error(within, keys, queries, True) > 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["random", "zero"])
def test_tokens_on_disk_are_read_in_blocks(
    tmp_path: Path, dtype: Any, kind: str, passes: list[str]
) -> None:
    """Never more in memory than a few blocks, by Cholesky QR and by Householder QR."""
    d, k, n = 8, 3, 100_000
    X = np.memmap(tmp_path / "X", dtype=dtype, mode="w+", shape=(d, n))
    X[:] = rb.random_tokens(d, n, 1) + 2.0
    head = rb.random_head(d, k, 0)
    if kind == "zero":
        W = np.array(head.W_k)
        W[1] = 0
        head = rb.AttentionHead(head.W_q, W)
    for centred in (False, True):
        tracemalloc.start()
        found = rb.logit_spectrum(head, X, centred=centred)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < X.nbytes / 5
        keys, queries = head.keys(X), head.queries(X)
        exact = np.linalg.svd(
            np.linalg.qr((keys - centred * keys.mean(axis=1, keepdims=True)).T)[1]
            @ np.linalg.qr(queries.T)[1].T
            * head.scale,
            compute_uv=False,
        )
        assert np.max(np.abs(found - exact)) <= 2 * allowed(keys, queries, centred) * head.scale
    assert passes == 2 * (ONE if kind == "random" else FAILED)


def test_the_place_of_an_entry_that_is_not_finite_is_that_in_all_tokens() -> None:
    X = rb.random_tokens(8, 2000, 0)
    X[3, 1700] = np.nan
    with refused(rb.InputError, "X holds nan at [3, 1700]"):
        rb.logit_spectrum(rb.random_head(8, 2, 0), X)
    X[3, 1700] = 1e300
    with refused(rb.InputError, "overflows float64"):
        rb.logit_spectrum(rb.AttentionHead(np.full((2, 8), 1e10), np.full((2, 8), 1e10)), X)


def test_a_head_whose_keys_depend_on_positions_is_not_read_in_blocks() -> None:
    class Rotated(rb.AttentionHead):
        def keys(self, X: Any = None) -> Array:
            keys = super().keys(X)
            return np.asarray(keys * np.cos(np.arange(keys.shape[-1])))

    head = Rotated(*np.random.default_rng(0).standard_normal((2, 2, 4)))
    X = rb.random_tokens(4, 1300, 1)
    found = rb.logit_spectrum(head, X)
    keys, queries = head.scale * head.keys(X), head.queries(X)
    assert error(found, keys, queries, False) <= 1


@pytest.mark.parametrize("centred", [False, True])
def test_several_heads_at_once(centred: bool, passes: list[str]) -> None:
    """Each as by itself, also where one of them is left to Householder QR, and in a batch of X."""
    rng = np.random.default_rng(0)
    heads = [rb.random_head(5, 3, seed) for seed in range(4)]
    W = np.array(heads[2].W_k)
    W[1] = 0
    heads[2] = rb.AttentionHead(heads[2].W_q, W, scale=-7.0)
    for shape in ((5, 300), (5, 1300), (2, 5, 600)):
        X = rng.standard_normal(shape)
        whole = rb.logit_spectrum(heads, X, centred=centred)
        assert whole.shape == (4, *shape[:-2], 3)
        for found, head in zip(whole, heads, strict=True):
            alone = rb.logit_spectrum(head, X, centred=centred)
            size = float(np.linalg.norm(head.keys(X)) * np.linalg.norm(head.queries(X)))
            assert np.max(np.abs(found - alone)) <= 14 * shape[-1] * EPS * size
    assert passes.count("triangles2") == 6
    assert rb.logit_spectrum(tuple(heads[:1])).shape == (1, 3)


def test_heads_of_one_shape() -> None:
    one, other = rb.random_head(5, 3, 0), rb.random_head(5, 2, 0)
    with refused(rb.InputError, "heads of shapes [(2, 5), (3, 5)]; expected one shape"):
        rb.logit_spectrum([one, other])
    with refused(rb.InputError, "an empty sequence"):
        rb.logit_spectrum([])
    with refused(rb.InputTypeError, "a float; expected an AttentionHead"):
        rb.logit_spectrum([1.0])  # type: ignore[list-item]


@pytest.mark.parametrize(("m", "n"), [(514, 512), (1100, 900), (900, 1100), (7, 6), (3, 700)])
def test_other_keys_than_queries(m: int, n: int) -> None:
    """As a head with learned sinks has, or one across two stacks, also by Householder QR."""
    rng = np.random.default_rng(0)
    keys, queries = rng.standard_normal((3, m)), rng.standard_normal((3, n))
    for zero in (False, True):
        keys[1] *= not zero
        for centred in (False, True):
            found = factored.spectrum_of_factors(keys, queries, 1.0, centred=centred)
            C = keys - centred * keys.mean(axis=1, keepdims=True)
            exact = np.linalg.svd(C.T @ queries, compute_uv=False)[:3]
            norms = np.linalg.norm(keys) * np.linalg.norm(queries)
            assert np.max(np.abs(found - exact)) <= 2 * (m + n) * EPS * norms


@pytest.mark.parametrize("n", [2, 30, 600])
def test_many_coordinates_that_are_nearly_the_same(n: int) -> None:
    """Bounds that overflow, and fewer tokens than coordinates, are no bounds."""
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((1, n)) + 1e-7 * rng.standard_normal((40, n))
    queries = rng.standard_normal((40, n))
    found = factored.spectrum_of_factors(keys, queries, 1.0, centred=False)
    exact = np.linalg.svd(keys.T @ queries, compute_uv=False)[: min(40, n)]
    norms = np.linalg.norm(keys) * np.linalg.norm(queries)
    assert found.shape == (min(40, n),)
    assert np.max(np.abs(found - exact)) <= 2 * (n + 40) * EPS * norms


@pytest.mark.parametrize("exponent", [-1074, -1022, -1021, -3, 0, 5, 1021, 1023, 1100])
def test_a_product_with_a_power_of_two_is_ldexp(exponent: int) -> None:
    factor = np.array([[1.0, -np.pi, 2.0**-1000, 0.0], [3 * 2.0**-1074, 1e-300, 1e-3, 7.0]])
    exponents = np.array([[exponent], [-exponent // 2]])
    with np.errstate(over="ignore", under="ignore"):
        found, known = factored.shifted(factor, exponents), np.ldexp(factor, exponents)
    np.testing.assert_array_equal(found, known)
