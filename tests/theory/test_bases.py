"""Fixed projections: one family, beside the published forms of each, and its own optimality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rankbound as rb
from rankbound._validate import Array
from rankbound.measuring.head import RecordedHead, layer_heads
from rankbound.theory.bases import (
    BASES,
    FLOOR,
    Moments,
    covariance,
    moments,
    project,
    projections,
    second_order_kl,
    sharing_error,
)

K, N = 6, 40


def layer(seed: int = 0, heads: int = 4, keys: int = 2) -> tuple[RecordedHead, ...]:
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((K, K))
    q, k = rng.standard_normal((heads, K, N)), mix @ rng.standard_normal((keys, K, N)) + 1
    return layer_heads(q, k, scale=0.3, mask=rb.causal_mask(N))


def known(seed: int = 0) -> Moments:
    heads = layer(seed)
    return moments(heads, [head.context() for head in heads])


def test_the_covariance_is_that_of_each_query() -> None:
    head = layer()[0]
    P = head.context()
    each = [np.cov(head.W_k, aweights=P[:, i], ddof=0) for i in range(N)]
    np.testing.assert_allclose(covariance(head.W_k, P), np.mean(each, axis=0), atol=1e-12)


def test_moments_of_windows_add_up() -> None:
    both, (first, second) = known() + known(1), (known(), known(1))
    assert both.count == 2 * N
    np.testing.assert_allclose(both.attended, (first.attended + second.attended) / 2)
    np.testing.assert_allclose((both + first).query, (2 * first.query + second.query) / 3)


def test_kq_svd_is_the_truncated_svd_of_the_logits() -> None:
    head = layer(heads=1, keys=1)[0]
    m = moments([head], [head.context()])
    cut = projections(m, "kq-svd", 3).cut[0]
    left, values, right = np.linalg.svd(head.W_k.T @ head.W_q)
    nearest = (left[:, :3] * values[:3]) @ right[:3]
    np.testing.assert_allclose(head.W_k.T @ cut.T @ head.W_q, nearest, atol=1e-8 * values[0])


def test_pca_is_an_orthogonal_projection_on_the_leading_axes() -> None:
    found = projections(known(), "pca-keys", 2, group=2)
    for h, head in enumerate(layer()):
        axes = np.linalg.svd(head.W_k)[0][:, :2]
        np.testing.assert_allclose(found.cut[h], axes @ axes.T, atol=1e-9)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("group", [1, 2])
def test_every_basis_is_a_projection_of_its_size(basis: str, group: int) -> None:
    for size in (1, 3, K, K + 1):
        found = projections(known(), basis, size, group)
        k = min(size, K)
        assert found.query.shape == found.key.shape == (4, K, k)
        for h in range(4):
            np.testing.assert_allclose(found.cut[h] @ found.cut[h], found.cut[h], atol=1e-7)
            np.testing.assert_array_equal(found.key[h], found.key[h - h % group])
        assert (np.linalg.matrix_rank(found.cut, tol=1e-9) == k).all()


@pytest.mark.parametrize("basis", BASES)
def test_groups_of_unequal_sizes_are_padded_with_zeros(basis: str) -> None:
    found = projections(known(), basis, [2, K], group=2)
    assert found.query.shape == found.key.shape == (4, K, K)
    for group, size in enumerate((2, K)):
        alone = projections(known(), basis, size, group=2)
        mine = slice(2 * group, 2 * group + 2)
        np.testing.assert_array_equal(found.query[mine, :, :size], alone.query[mine])
        np.testing.assert_array_equal(found.key[mine, :, :size], alone.key[mine])
        assert not found.query[mine, :, size:].any() and not found.key[mine, :, size:].any()
    with pytest.raises(ValueError, match="broadcast"):
        projections(known(), basis, [2, 3, 4], group=2)


def test_in_its_metric_the_basis_is_the_best_of_all_cuts() -> None:
    """Beside gradient-free search: no other cut of rank 2 lies lower, and the tail is the value."""
    m, rng = known(), np.random.default_rng(0)
    best = projections(m, "fisher", 2).cut
    reached = second_order_kl(m, best)
    for h in range(4):
        half = np.linalg.cholesky(m.query[h])
        values = np.linalg.eigvalsh(half.T @ m.attended[h] @ half)
        assert reached[h] == pytest.approx(0.5 * 0.3**2 * values[:-2].sum(), rel=1e-6)
    for size in (0.01, 0.1, 1.0):
        for _ in range(50):
            other = projections(m, "fisher", 2)
            moved = other.key + size * rng.standard_normal(other.key.shape)
            cut = other.query @ moved.swapaxes(-1, -2)
            assert (second_order_kl(m, cut) >= reached * (1 - 1e-9)).all()


def test_a_shared_basis_costs_no_less_than_one_of_each_head() -> None:
    m = known()
    alone, shared = (
        second_order_kl(m, projections(m, "fisher", 3, group).cut).sum() for group in (1, 2)
    )
    assert shared > alone


def test_what_sharing_costs_is_a_share_of_all() -> None:
    """Beside eigenvalue tails; none where the heads of a group are the same but for a scale."""
    m, half = known(), K // 2
    for h, error in enumerate(sharing_error(m, 2)):
        half_C = np.linalg.cholesky(m.query[h])
        tail = np.linalg.eigvalsh(half_C.T @ m.attended[h] @ half_C)
        shared = second_order_kl(m, projections(m, "fisher", half, 2).cut)[h]
        lost = shared / (0.5 * m.scale**2) - tail[: K - half].sum()
        assert error == pytest.approx(lost / tail.sum(), rel=1e-6)
        assert FLOOR < error < 1
    query, attended = (np.stack([M[0], 2 * M[0]]) for M in (m.query, m.attended))
    assert max(sharing_error(replace(m, query=query, attended=attended), 2)) < FLOOR


def rotation(angles: Array) -> Array:
    R = np.zeros((K, K))
    for i, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        R[np.ix_([i, i + K // 2], [i, i + K // 2])] = [[c, -s], [s, c]]
    return R


@pytest.mark.parametrize("angles", [[1.0, 0.3, 0.0], [0.5, 0.5, 1e-3]])
def test_moments_are_averaged_over_shifts(angles: list[float]) -> None:
    R, m = rotation(np.array(angles)), known()
    powers = [np.linalg.matrix_power(R, s) for s in range(7)]
    expected = np.mean([P @ m.query @ P.T for P in powers], axis=0)
    np.testing.assert_allclose(m.averaged(R, 7).query, expected, atol=1e-9)
    np.testing.assert_allclose(m.averaged(R, 1).attended, m.attended, atol=1e-9)


def test_ill_conditioned_queries_are_floored() -> None:
    """A coordinate of queries is 1e-9 of the others: what it needs of the keys is not sought."""
    head = layer()[0]
    small = np.diag([1.0] * (K - 1) + [1e-9])
    C = small @ head.W_q @ head.W_q.T @ small / N
    S = covariance(head.W_k, head.context())
    found = project(S[None], C[None], K - 1)
    assert np.isfinite(found.cut).all()
    assert np.abs(found.query).max() < 1e6
