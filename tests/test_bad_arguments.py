"""Bad sizes, seeds, parameters, shapes that do not meet, and masks: one message each.

As in test_bad_matrices: what was got, the rule, the remedy, and never a NumPy warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.theory.selection import check_pairs, coherence, selecting_head
from rankbound.theory.set_selection import selectable_certificate, set_selecting_keys
from tests.helpers import case, refused

NAN, INF = float("nan"), float("inf")
P2 = np.array([[0.5, 0.75], [0.5, 0.25]])
P3 = rb.random_context(3, seed=0)
P4 = rb.random_context(4, seed=0)


def sizes() -> Iterator[Any]:
    """Zero and below, floats (also whole ones), truth values and words where a size belongs."""
    parts: tuple[str, ...]
    table: dict[str, tuple[Callable[[Any], Any], str]] = {
        "head_size of represent": (lambda k: rb.represent(P2, head_size=k), "at least 1"),
        "head_size of aitchison_error": (lambda k: rb.aitchison_error(P2, k), "at least 1"),
        "head_size of nearest_head": (lambda k: rb.nearest_head(P2, k), "at least 1"),
        "head_size of fit_head": (lambda k: rb.fit_head(P2, k), "at least 1"),
        "head_size of random_head": (lambda k: rb.random_head(4, k, seed=0), "at least 1"),
        "d of random_head": (lambda d: rb.random_head(d, 2, seed=0), "at least 1"),
        "d of random_tokens": (lambda d: rb.random_tokens(d, 2, seed=0), "at least 1"),
        "n of random_tokens": (lambda n: rb.random_tokens(2, n, seed=0), "at least 1"),
        "rank of random_tokens": (lambda r: rb.random_tokens(2, 2, seed=0, rank=r), "from 1 to 2"),
        "d of random_multihead": (lambda d: rb.random_multihead(d, 1, seed=0), "at least 1"),
        "heads of random_multihead": (lambda h: rb.random_multihead(4, h, seed=0), "at least 1"),
        "head_size of random_multihead": (
            lambda k: rb.random_multihead(4, 2, seed=0, head_size=k),
            "at least 1",
        ),
        "n of random_context": (lambda n: rb.random_context(n, seed=0), "at least 1"),
        "nonzeros of random_context": (
            lambda s: rb.random_context(4, 0, "sparse", nonzeros=s),
            "from 1 to 4",
        ),
        "n of full_mask": (rb.full_mask, "at least 1"),
        "n of causal_mask": (rb.causal_mask, "at least 1"),
        "n of prefix_mask": (lambda n: rb.prefix_mask(n, 0), "at least 1"),
        "n of sliding_mask": (lambda n: rb.sliding_mask(n, 1), "at least 1"),
        "window of sliding_mask": (lambda w: rb.sliding_mask(4, w), "at least 1"),
        "max_iterations of fit_head": (
            lambda m: rb.fit_head(P2, 1, max_iterations=m),
            "at least 1",
        ),
    }
    default_is_none = ("represent", "random_multihead", "rank of random_tokens")
    not_integers: tuple[Any, ...] = (1.0, 1.5, "2", None, np.float64(2), [1], NAN)
    for what, (f, rule) in table.items():
        name = what.split(" of ")[0]
        for value in (0, -1):
            parts = (f"{name} is {value}", f"expected {rule}")
            yield case(f"{what} = {value}", rb.InputError, parts, f, value)
        for value in not_integers:
            if value is None and what.endswith(default_is_none):
                continue
            parts = (f"{name} is {value!r}", "expected an integer")
            yield case(f"{what} = {value!r}", rb.InputTypeError, parts, f, value)
        for truth in (True, np.True_):
            parts = (f"{name} is {truth!r}", "expected an integer, not a truth value")
            yield case(f"{what} = {truth!r}", rb.InputTypeError, parts, f, truth)


def seeds() -> Iterator[Any]:
    """A seed is required where something is random."""
    parts: tuple[str, ...]
    table: dict[str, Callable[[Any], Any]] = {
        "random_tokens": lambda seed: rb.random_tokens(2, 2, seed),
        "random_head": lambda seed: rb.random_head(2, 2, seed),
        "random_multihead": lambda seed: rb.random_multihead(2, 2, seed),
        "random_context": lambda seed: rb.random_context(2, seed),
        "fit_head": lambda seed: rb.fit_head(P2, 1, seed=seed),
    }
    for name, f in table.items():
        parts = ("seed is None", "expected an integer")
        if name != "fit_head":  # which takes no Generator, since it writes the seed down
            parts = (*parts, "or a numpy.random.Generator", "can always be drawn again")
        yield case(f"{name}(seed=None)", rb.InputTypeError, parts, f, None)
        yield case(f"{name}(seed=-1)", rb.InputError, ("seed is -1", "at least 0"), f, -1)
        for value in (0.5, "0", np.random.RandomState(0)):
            parts = ("seed is ", "expected an integer")
            yield case(f"{name}(seed={value!s})"[:40], rb.InputTypeError, parts, f, value)
        parts = ("seed is True", "not a truth value")
        yield case(f"{name}(seed=True)", rb.InputTypeError, parts, f, True)
    generator = np.random.default_rng(0)
    parts = ("seed is Generator", "expected an integer")
    yield case("fit_head(a Generator)", rb.InputTypeError, parts, table["fit_head"], generator)


def laws() -> Iterator[Any]:
    """Laws of random contexts and their parameters."""
    parts: tuple[str, ...]
    unknown: tuple[Any, ...] = ("nonsense", None, ["gibbs"], "")
    for law in unknown:
        parts = (f"law is {law!r}", "expected one of dirichlet, gibbs, hadamard")
        yield case(f"law={law!r}", rb.InputError, parts, rb.random_context, 2, 0, law)
    value, kind = rb.InputError, rb.InputTypeError
    table: list[tuple[str, dict[str, Any], type[Exception], tuple[str, ...]]] = [
        ("gibbs", {"alpha": 1}, value, ("gibbs has no parameter 'alpha'", "it has scale")),
        ("logrank", {"alpha": 1}, value, ("no parameter 'alpha'", "it has rank, scale")),
        ("logrank", {}, value, ("logrank needs rank=", "at most n - 1")),
        ("logrank", {"rank": 8}, value, ("rank is 8", "from 0 to 7", "never exceeds n - 1")),
        ("logrank", {"rank": 1.0}, kind, ("rank is 1.0", "expected an integer")),
        ("dirichlet", {"alpha": 0}, value, ("alpha is 0.0", "expected a number above 0")),
        ("dirichlet", {"alpha": NAN}, value, ("alpha is nan", "expected a finite number")),
        ("dirichlet", {"alpha": "1"}, kind, ("alpha is '1'", "expected a real number")),
        ("dirichlet", {"alpha": None}, kind, ("alpha is None", "expected a real number")),
        ("dirichlet", {"alpha": True}, kind, ("alpha is True", "expected a real number")),
        ("gibbs", {"scale": INF}, value, ("scale is inf", "expected a finite number")),
        ("gibbs", {"scale": 1j}, kind, ("scale is 1j", "expected a real number")),
        ("permutation", {"epsilon": -0.1}, value, ("epsilon is -0.1", "at least 0")),
        ("permutation", {"epsilon": 1.1}, value, ("epsilon is 1.1", "expected at most 1")),
        ("sparse", {"nonzeros": 9}, value, ("nonzeros is 9", "expected from 1 to 8")),
    ]
    for law, given, error, parts in table:
        yield case(f"{law}({given})", error, parts, rb.random_context, 8, 0, law, **given)
    parts = ("n is 6", "expected a power of 2")
    yield case("hadamard(6)", rb.InputError, parts, rb.random_context, 6, 0, "hadamard")
    parts = ("epsilon is 0.5", "expected", "0 for n = 1")
    yield case("n = 1", rb.InputError, parts, rb.random_context, 1, 0, "permutation", epsilon=0.5)
    parts = ("d is 5 and heads 2", "expected heads to divide d", "Give head_size=")
    yield case("heads do not divide d", rb.InputError, parts, rb.random_multihead, 5, 2, 0)
    parts = ("rank is 3", "expected from 1 to 2", "rank of a d × n matrix")
    yield case("rank above min(d, n)", rb.InputError, parts, rb.random_tokens, 2, 3, 0, 3)


def reals() -> Iterator[Any]:
    """Scales, tolerances and ratios."""
    parts: tuple[str, ...]
    one = np.ones((1, 1))
    anything = ""
    table: dict[str, tuple[Callable[[Any], Any], str]] = {
        "scale of a head": (lambda v: rb.AttentionHead(one, one, scale=v), anything),
        "scale of a layer": (lambda v: rb.MultiHead([one], [one], [one], one, scale=v), anything),
        "scale of gibbs": (lambda v: rb.random_context(2, 0, "gibbs", scale=v), anything),
        "rtol of spectrum": (lambda v: rb.spectrum(P2, rtol=v), "at least 0"),
        "rtol of numerical_rank": (lambda v: rb.numerical_rank(P2, rtol=v), "at least 0"),
        "rtol of log_rank": (lambda v: rb.log_rank(P2, rtol=v), "at least 0"),
        "rtol of least_head_size": (lambda v: rb.least_head_size(P2, rtol=v), "at least 0"),
        "rtol of represent": (lambda v: rb.represent(P2, rtol=v), "at least 0"),
        "ratio of represent": (lambda v: rb.represent(P2, ratio=v), "above 0"),
        "gradient_tolerance of fit_head": (
            lambda v: rb.fit_head(P2, 1, gradient_tolerance=v),
            "above 0",
        ),
    }
    not_real: tuple[Any, ...] = ("1", True, 1j, np.ones(2), [1.0])
    for what, (f, rule) in table.items():
        name = what.split(" of ")[0]
        for value in (NAN, INF):
            parts = (f"{name} is {value}", "expected a finite number")
            yield case(f"{what} = {value}", rb.InputError, parts, f, value)
        parts = (f"{name} is above 1.8e308", "expected a number")
        yield case(f"{what} = 10^400", rb.InputError, parts, f, 10**400)
        for value in not_real:
            parts = (f"{name} is {value!r}", "expected a real number")
            yield case(f"{what} = {value!r}", rb.InputTypeError, parts, f, value)
        if rule:
            parts = (f"{name} is -1.0", "expected a number", rule)
            yield case(f"{what} = -1", rb.InputError, parts, f, -1)
        if rule == "above 0":
            parts = (f"{name} is 0.0", "expected a number above 0")
            yield case(f"{what} = 0", rb.InputError, parts, f, 0)


def heads_and_layers() -> Iterator[Any]:
    """Projections, tokens and values that do not meet, and logits that overflow."""
    Head, ones = rb.AttentionHead, np.ones
    head, big = Head(ones((2, 3)), ones((2, 3))), Head([[1e200]], [[1e200]])
    parts: tuple[str, ...] = ("W_q is (2, 3) but W_k is (3, 3)", "(head_size, d)", "inner product")
    yield case("W_q, W_k", rb.InputError, parts, Head, ones((2, 3)), ones((3, 3)))
    parts = ("W_v is (2, 4) but W_q is (2, 3)", "must have as many columns (3)")
    yield case("W_q, W_v", rb.InputError, parts, Head, ones((2, 3)), ones((2, 3)), ones((2, 4)))
    parts = ("is (2, 3) but X is (4, 5)", "as many columns (3) as X has rows (4)", "are columns")
    for name, function in (("logits", head.logits), ("keys", head.keys), ("context", head.context)):
        yield case(f"{name} on other tokens", rb.InputError, parts, function, ones((4, 5)))
    parts = ("this head has no W_v", "give the value projection")
    yield case("no values", rb.InputError, parts, head.output, ones((3, 2)))
    for name, function in (("logits", big.logits), ("context", big.context)):
        parts = ("the logits overflow", "below 1.8e308", "Scale the tokens")
        yield case(f"{name} that overflow", rb.InputError, parts, function)
    parts = ("W_k X overflows", "below 1.8e308", "Scale the tokens")
    yield case("keys that overflow", rb.InputError, parts, big.keys, [[1e200]])

    layer = rb.random_multihead(4, 2, seed=0)
    W_q, W_k, W_v, W_o = layer.W_q, layer.W_k, layer.W_v, layer.W_o
    parts = ("W_q is (2, 2, 4) but W_k is (1, 2, 4)", "both must be (h, k, d)")
    yield case("layer: W_k", rb.InputError, parts, rb.MultiHead, W_q, W_k[:1], W_v, W_o)
    parts = ("W_v is (1, 2, 4)", "expected (2, v, 4)", "to fit W_q")
    yield case("layer: W_v", rb.InputError, parts, rb.MultiHead, W_q, W_k, W_v[:1], W_o)
    parts = ("W_o is (4, 3)", "expected (4, 4)", "one column for each value")
    yield case("layer: W_o", rb.InputError, parts, rb.MultiHead, W_q, W_k, W_v, W_o[:, 1:])
    parts = ("W_q has shape (2, 4)", "expected (h, size, d)", "no axis empty")
    yield case("layer: 2 axes", rb.InputError, parts, rb.MultiHead, W_q[0], W_k, W_v, W_o)
    parts = ("W_v has shape (2, 0, 4)", "expected (h, size, d)", "no axis empty")
    yield case("layer: empty", rb.InputError, parts, rb.MultiHead, W_q, W_k, W_v[:, :0], W_o)
    parts = ("W_o holds", "not finite", "expected finite weights")
    yield case("layer: nan", rb.InputError, parts, rb.MultiHead, W_q, W_k, W_v, W_o * NAN)
    parts = ("X holds nan at [0, 0]", "expected finite")
    yield case("layer: X", rb.InputError, parts, layer.output, np.full((4, 2), NAN))
    for other in ("head", P2, None):
        parts = (
            f"head is a {type(other).__name__}",
            "expected an AttentionHead",
            "use rb.spectrum",
        )
        title = f"logit_spectrum({type(other).__name__})"
        yield case(title, rb.InputTypeError, parts, rb.logit_spectrum, other)


def theory() -> Iterator[Any]:
    """Tokens that do not fit, contexts out of their reach, and what a fit cannot start from."""
    parts: tuple[str, ...]
    takers: dict[str, Callable[..., Any]] = {
        "least_head_size": rb.least_head_size,
        "represent": rb.represent,
        "nearest_head": lambda P, X: rb.nearest_head(P, 1, X=X),
        "fit_head": lambda P, X: rb.fit_head(P, 1, X=X),
    }
    for name, f in takers.items():
        parts = ("X is (5, 3)", "(4, 4)", "one column per token, 4 of them")
        yield case(f"{name}: other tokens", rb.InputError, parts, f, P4, X=np.ones((5, 3)))
    for X in (np.eye(3, 4), np.ones((6, 4)), np.zeros((4, 4))):
        title = f"tokens {X.shape}, {X[0, 0]}"
        parts = (f"X is {X.shape}", "full column rank 4", "closed form", "rb.fit_head takes any")
        yield case(f"nearest_head: {title}", rb.InputError, parts, rb.nearest_head, P4, 1, X=X)
        parts = ("no head of any size", "on these tokens", "= 0 fails by", "for query")
        yield case(f"represent: {title}", rb.NotRepresentable, parts, rb.represent, P4, X=X)
    parts = ("X is zero", "(3, 2)", "expected tokens that are not", "uniform")
    yield case("fit_head: zero", rb.InputError, parts, rb.fit_head, P2, 1, X=np.zeros((3, 2)))
    parts = ("keys have shape (2, 3)", "key 0 is zero", "expected keys that have a direction")
    yield case("coherence: zero", rb.InputError, parts, coherence, np.zeros((2, 3)))
    parts = ("n is 1000000 and q is 2", "expected 65536 at most", "smaller n or q")
    few = (rb.InputError, parts, selectable_certificate)
    yield case("selectable_certificate: many sets", *few, 10**6, 2)
    parts = ("n is 1000000 and q is 3", "6000000 integers", "expected 4194304 at most")
    yield case("set_selecting_keys: many", rb.InputError, parts, set_selecting_keys, 10**6, 3)
    parts = ("scores that float64 does not hold", "expected smaller ones", "power of two")
    huge = np.full((2, 3), 1e300)
    yield case("check_pairs: huge", rb.InputError, parts, check_pairs, huge, huge)
    yield case("selecting_head: huge", rb.InputError, parts, selecting_head, huge, 0.1)
    parts = ("logits differ by 2.0e+200", "expected at most 1e+150", "power of two")
    far = 1e200 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    yield case("head_size_for_kl: far", rb.InputError, parts, rb.head_size_for_kl, logits=far)
    parts = ("random_starts is 10001", "expected from 0 to 10000", "each is a fit")
    yield case("random_starts=10001", rb.InputError, parts, rb.fit_head, P2, 1, random_starts=10001)
    parts = ("head_size is 1000000", "entries", "memory")
    yield case("fit_head: a size beyond memory", rb.InputError, parts, rb.fit_head, P3, 10**6)
    parts = ("no start is left", "expected spectral_start=True or random_starts >= 1")
    none = {"spectral_start": False, "random_starts": 0}
    yield case("fit_head: no start", rb.InputError, parts, rb.fit_head, P2, 1, **none)
    parts = ("random_starts is -1", "expected from 0 to 10000")
    yield case("random_starts=-1", rb.InputError, parts, rb.fit_head, P2, 1, random_starts=-1)
    parts = ("size 2", "least head size is 3", "rb.nearest_head")
    yield case("too small", rb.NotRepresentable, parts, rb.represent, P4, head_size=2)


def masks() -> Iterator[Any]:
    """A mask is bool, fits, and lets every query see a key."""
    parts: tuple[str, ...]
    head = rb.AttentionHead(np.eye(3), np.eye(3), np.eye(3))
    layer, blind = rb.random_multihead(3, 1, seed=0), rb.causal_mask(3)
    blind[:, 2] = False
    takers: dict[str, Callable[[Any], Any]] = {
        "column_softmax": lambda mask: rb.column_softmax(np.zeros((3, 3)), mask=mask),
        "context": lambda mask: head.context(mask=mask),
        "output": lambda mask: head.output(mask=mask),
        "layer": lambda mask: layer.output(np.eye(3), mask),
        "is_nested": rb.is_nested,
        "log_rank": lambda mask: rb.log_rank(logits=np.zeros((3, 3)), mask=mask),
        "least_head_size": lambda mask: rb.least_head_size(P3, mask=mask),
        "represent": lambda mask: rb.represent(logits=[[0] * 3] * 3, mask=mask),
        "fit_head": lambda mask: rb.fit_head(P3, 1, mask=mask),
    }
    additive = np.where(rb.causal_mask(3), 0.0, -INF)
    kind, value = rb.InputTypeError, rb.InputError
    table: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "additive": (additive, kind, ("dtype float64", "expected bool", "True = v", "`mask == 0`")),
        "ints": (np.eye(3, dtype=np.int64), kind, ("dtype int64", "expected bool", "`mask == 1`")),
        "0.0 and 1.0": (np.tri(3).T, kind, ("dtype float64", "expected bool", "`mask == 1`")),
        "0 and -10^4": ((additive > -1) * 10**4 - 10**4, kind, ("dtype int64", "`mask == 0`")),
        "blind": (blind, value, ("hides every key from query 2", "at least", "drop that token")),
        "not square": (np.ones((3, 2), bool), value, ("(3, 2)", "expected", "[key, query]")),
        "ragged": ([[True], [True, False]], value, ("mask", "ragged")),
    }
    for name, f in takers.items():
        for bad, (mask, error, parts) in table.items():
            yield case(f"{name}: {bad} mask", error, parts, f, mask)
    for shape in ((0, 0), (3,), (2, 3, 3)):
        parts = (f"mask has shape {shape}", "expected (n, n)", "[key, query]")
        yield case(f"is_nested{shape}", rb.InputError, parts, rb.is_nested, np.ones(shape, bool))
    for prefix in (-1, 4):
        parts = (f"prefix is {prefix}", "expected from 0 to 3", "a part of the sequence")
        yield case(f"prefix_mask(3, {prefix})", rb.InputError, parts, rb.prefix_mask, 3, prefix)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [*sizes(), *seeds(), *laws(), *reals(), *heads_and_layers(), *theory(), *masks()],
)
def test_refused(call: Callable[[], Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with refused(error, *parts):
        call()
