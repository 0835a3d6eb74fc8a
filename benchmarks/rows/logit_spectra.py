"""Spectra of logits from their factors, which never form n × n."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

import rankbound as rb
from benchmarks.races import Entries, Race, Wanted
from benchmarks.rates import Rates

HEADS, LAYER_N, LAYER_K = 72, 512, 32  # the heads of all-MiniLM-L6-v2
LONG_K, LONG_D = 64, 64


def one_head() -> Entries:
    """Singular values from the factors, beside the rank of the logits, which are given."""
    head, X = rb.random_head(128, 64, 0), rb.random_tokens(128, 2048, 1)
    keys, queries = head.keys(X), head.queries(X)
    L = head.logits(X)

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        values = np.linalg.svd(L, compute_uv=False)[:64]
        off = float(np.max(np.abs(found["rankbound"] - values)) / values[0])
        return off < 1e-12, {"largest difference from an SVD of the logits": off}

    return Entries(
        lambda: rb.logit_spectrum(head, X),
        lambda: np.linalg.matrix_rank(L),
        lambda: (np.linalg.qr(keys.T, mode="r"), np.linalg.qr(queries.T, mode="r")),
        verdict=verdict,
    )


def tokens_on_disk(n: int, folder: str) -> Any:
    """So many tokens in float32, in a file that is read as it is needed."""
    path = f"{folder}/tokens-{n}.npy"
    file = np.lib.format.open_memmap(path, "w+", np.float32, (LONG_D, n))
    for row in range(LONG_D):
        file[row] = np.random.default_rng(row).standard_normal(n, np.float32)
    file.flush()
    return np.load(path, mmap_mode="r")


def long_sequence() -> Entries:
    """A million tokens in a file, beside a hundred thousand."""
    folder = tempfile.TemporaryDirectory()
    head = rb.random_head(LONG_D, LONG_K, 0)
    long, short = (tokens_on_disk(n, folder.name) for n in (10**6, 10**5))

    def least(rates: Rates) -> float:
        # keys, queries, and the triangle of each: 2 n k d and 2 n k² operations, the file read once
        operations = 2 * (2 * LONG_K * LONG_D + 2 * LONG_K**2) * 10**6
        return rates.seconds(operations, long.nbytes)

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        folder.cleanup()
        # the spectra of drawn tokens grow as n: ‖L‖ of a million is ten times that of a tenth
        grown = found["rankbound"][0] / found["peer"][0]
        return 9 < grown < 11, {"largest values, over those of 10⁵ tokens": float(grown)}

    return Entries(
        lambda: rb.logit_spectrum(head, long),
        lambda: rb.logit_spectrum(head, short),
        least=least,
        verdict=verdict,
    )


def layer() -> Entries:
    """The heads of a model at once; the peer is given the centred log P."""
    draw = np.random.default_rng(0)
    heads = [rb.AttentionHead(*draw.standard_normal((2, LAYER_K, LAYER_N))) for _ in range(HEADS)]
    logs = [np.log(head.context()) for head in heads]
    centred = [log_P - log_P.mean(axis=0) for log_P in logs]
    tall = [np.ascontiguousarray(W.T) for head in heads for W in (head.W_q, head.W_k)]

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        off = max(
            float(np.max(np.abs(ours - peer[:LAYER_K])) / peer[0])
            for ours, peer in zip(found["rankbound"], found["peer"], strict=True)
        )
        return off < 1e-10, {"largest difference from the peer's values": off}

    return Entries(
        lambda: rb.logit_spectrum(heads, centred=True),
        lambda: [np.linalg.svd(matrix, compute_uv=False) for matrix in centred],
        lambda: [np.linalg.qr(factor, mode="r") for factor in tall],
        verdict=verdict,
    )


QR = "QR of both factors"
RACES = (
    Race(
        "logit-spectrum",
        "logit spectrum, n = 2048, k = 64, d = 128",
        "`numpy.linalg.matrix_rank` of the logits",
        QR,
        Wanted(400),
        one_head,
    ),
    Race(
        "long-sequence",
        "logit spectrum, n = 10⁶, k = 64, d = 64, float32 tokens in a file",
        "itself at n = 10⁵",
        "the products and the file's bytes, by the rates of this run",
        Wanted(10**1.1, "growth"),
        long_sequence,
    ),
    Race(
        "layer-spectra",
        "72 centred spectra, n = 512, k = 32, from queries and keys",
        "`numpy.linalg.svd` of each centred log P",
        "QR of each factor",
        Wanted(100),
        layer,
    ),
)
