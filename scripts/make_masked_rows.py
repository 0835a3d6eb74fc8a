"""Measure what rows of [MASK] tokens span, beside rows of real tokens, in all-MiniLM-L6-v2.

Meng et al. 2024, "Representation Deficiency in Masked Language Modeling" (2302.02060), say that
masked language models keep dimensions for [MASK] tokens which real tokens then lack. This prints
the table of docs/papers.md: for each layer, over windows of a text with 15 % of tokens masked at
random, how many directions hold 90 % and 99 % of the squared norm of as many rows of either kind.

Run as ``python scripts/make_masked_rows.py``, with the packages of make_real_heads.py.
"""

from __future__ import annotations

import make_real_heads as model  # beside this file
import numpy as np

MASK = 103  # the number of [MASK] in this tokenizer
LENGTH, DRAWS, SHARE = 128, 60, 0.15
ROWS = 1000  # of either kind, more than the 384 coordinates


def hidden_states(weights: model.Weights, ids: list[int]) -> list[model.FloatArray]:
    """The embeddings and every layer's output; rows are tokens."""
    hidden = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][: len(ids)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    states = [model.layer_norm(hidden, weights, "embeddings.LayerNorm")]
    for layer in range(model.LAYERS):
        states.append(model.run_layer(states[-1], weights, f"encoder.layer.{layer}")[0])
    return states


def directions(rows: model.FloatArray, share: float) -> int:
    """How many singular directions hold this share of the squared norm."""
    energy = np.cumsum(np.linalg.svd(rows, compute_uv=False) ** 2)
    return int(np.searchsorted(energy, share * energy[-1])) + 1


def main() -> None:
    """Print the table."""
    folder = model.find_model()
    weights, tokenizer = model.load_weights(folder), model.load_tokenizer(folder)
    every = tokenizer.encode(model.DEFAULT_TEXT.read_text(encoding="utf-8")).ids
    rng = np.random.default_rng(0)
    real: list[list[model.FloatArray]] = [[] for _ in range(model.LAYERS + 1)]
    masked: list[list[model.FloatArray]] = [[] for _ in range(model.LAYERS + 1)]
    for _ in range(DRAWS):
        start = int(rng.integers(1, len(every) - LENGTH))
        ids = np.array([every[0], *every[start : start + LENGTH - 2], every[-1]])
        hidden = rng.choice(np.arange(1, LENGTH - 1), int(SHARE * LENGTH), replace=False)
        ids[hidden] = MASK
        seen = np.setdiff1d(np.arange(1, LENGTH - 1), hidden)
        for layer, state in enumerate(hidden_states(weights, ids.tolist())):
            real[layer].append(state[seen])
            masked[layer].append(state[hidden])
    print("| layer | real, 90 % | [MASK], 90 % | real, 99 % | [MASK], 99 % | outside, % |")
    print("|---|---|---|---|---|---|")
    for layer in range(model.LAYERS + 1):
        A, B = (np.concatenate(rows[layer]) for rows in (real, masked))
        A, B = (rows[rng.permutation(len(rows))[:ROWS]] for rows in (A, B))
        counts = [directions(rows, share) for share in (0.9, 0.99) for rows in (A, B)]
        basis = np.linalg.svd(A, full_matrices=False)[2][: counts[2]]
        outside = 1 - float(((B @ basis.T) ** 2).sum() / (B**2).sum())
        print(f"| {layer} | {' | '.join(map(str, counts))} | {100 * outside:.1f} |")


if __name__ == "__main__":
    main()
