"""What smaller heads cost a model, beside forward passes written out by hand."""

from __future__ import annotations

import argparse
import inspect
import itertools
import math
import pydoc_data.topics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rankbound as rb
from rankbound.attention.head import AttentionHead
from rankbound.auditing import models, replacing, running
from rankbound.auditing.capture import as_columns
from rankbound.auditing.loss import SHARED, shared_runs
from rankbound.auditing.subject import subject
from rankbound.theory.bases import projections, sharing_error
from tests.auditing.tiny import CONFIGS, TEXT, WORDS, save, save_tokenizer

N = 40
LICENSE = Path(__file__).parent / "python_license.txt"
OTHER = " ".join(WORDS[(11 * i * i + 3 * i + 1) % 60] for i in range(200))


def language_model(
    folder: Path, name: str, kind: str = "AutoModelForCausalLM", **changes: Any
) -> Path:
    """A tiny model with its language head, and a tokenizer that knows a mask."""
    import transformers

    config, sizes = CONFIGS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        made = getattr(transformers, config)(**(sizes | changes))
        getattr(transformers, kind).from_config(made).save_pretrained(folder)
        save_tokenizer(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.mask_token = "[UNK]"
        tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_model(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.fixture(scope="module")
def curve(llama: Path) -> rb.LossCurve:
    return rb.measure_loss(llama, TEXT, [8, 4, 1], N, calibrate=OTHER)


def test_all_of_a_head_costs_nothing_and_less_of_it_more(curve: rb.LossCurve) -> None:
    frame = curve.to_frame()
    assert curve.objective == "next token"
    assert curve.output == "kl"
    assert len(frame) == 2 * 2 * 3  # refitted and fixed, per head and per key/value head
    whole = frame[frame.head_size == 8]
    assert (whole.increase == 0).all()
    assert (whole.divergence == 0).all()
    for _, part in frame.groupby(["kind", "basis_per"]):
        assert part.sort_values("head_size").divergence.is_monotonic_decreasing
    assert (frame[frame.head_size == 1].divergence > 0.01).all()


def test_the_loss_is_that_of_the_model_by_itself(llama: Path, curve: rb.LossCurve) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    body = tokenizer(TEXT, add_special_tokens=False)["input_ids"][: N - 2]
    ids = torch.tensor([[1, *body, 2]])
    assert curve.loss == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), rel=1e-6)


@pytest.mark.parametrize("size", [5, 2])
@pytest.mark.parametrize("name", ["llama", "bert", "gemma2"])
def test_refitted_logits_are_the_truncations_of_the_model_s(
    name: str, size: int, tmp_path: Path
) -> None:
    """Beside an SVD of n × n: alone for each head, side by side where heads share keys."""
    loaded = models.load(models.find_model(save(tmp_path / "m", name)), "float64")
    found = []

    def keep(_: Any, query: Any, key: Any) -> None:
        found.append((query, key))

    with replacing.replacing(loaded, keep):
        running.run(loaded, list(range(4, 34)))
    query, key = found[0]
    Q, K = as_columns(query), as_columns(key)
    group = len(Q) // len(K)
    C = np.eye(30) - 1 / 30
    for shared in (False, True):
        cut = replacing.refitted(query, key, size, shared=shared)
        for first in range(0, len(Q), group if shared else 1):
            mine = range(first, first + (group if shared else 1))
            logits = np.hstack([C @ K[h // group].T @ Q[h] for h in mine])
            left, values, right = np.linalg.svd(logits, full_matrices=False)
            nearest = (left[:, :size] * values[:size]) @ right[:size]
            ours = np.hstack([C @ K[h // group].T @ (cut[h].T @ Q[h]) for h in mine])
            np.testing.assert_allclose(ours, nearest, rtol=0, atol=1e-8 * values[0])


def test_a_fixed_cut_is_a_smaller_head_run_by_hand(tmp_path: Path) -> None:
    """One layer of BERT in NumPy: weights of the model, projections of the other text."""
    folder = save(tmp_path / "m", "bert", num_hidden_layers=1)
    loaded = models.load(models.find_model(folder), "float64")
    ids = list(range(4, 34))
    bench = subject(loaded, ids)
    [moments] = bench.moments([list(range(20, 60))]).values()

    small = projections(moments, "fisher", 3)
    seen = []

    def cut(_: Any, query: Any, key: Any) -> Any:
        seen.append((as_columns(query), as_columns(key)))
        return small.cut

    with replacing.replacing(loaded, cut):
        output = running.run(loaded, ids, output_attentions=True)
    [[Q, K]] = seen
    for h in range(4):
        head = AttentionHead(
            small.query[h].T @ Q[h], small.key[h].T @ K[h], scale=8**-0.5
        )  # of size 3
        theirs = as_columns(output.attentions[0])[h]
        np.testing.assert_allclose(head.context(), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["gpt_oss", "t5"])
def test_sinks_and_biases_stay_the_model_s(name: str, tmp_path: Path) -> None:
    """A layer with a smaller head in NumPy: a sink is one more logit, a bias is added."""
    folder = save(tmp_path / "m", name, num_hidden_layers=1, num_layers=1, num_decoder_layers=1)
    loaded = models.load(models.find_model(folder), "float64")
    ids, seen = list(range(4, 20)), {}  # as many as a sliding window holds

    def cut(call: Any, query: Any, key: Any) -> Any:
        made = replacing.refitted(query, key, 3)
        seen[call[0]] = as_columns(query), as_columns(key), made
        return made

    with replacing.replacing(loaded, cut):
        output = running.run(loaded, ids, output_attentions=True)
    n = len(ids)
    if name == "t5":
        module, theirs = "encoder.block.0.layer.0.SelfAttention", output.encoder_attentions[0]
        with torch.no_grad():
            added = as_columns(loaded.model.get_submodule(module).compute_bias(n, n))
        scale, visible, sinks = 1.0, np.ones((n, n), bool), None
    else:
        module, theirs = "layers.0.self_attn", output.attentions[0]
        scale, visible, added = 8**-0.5, rb.causal_mask(n), np.zeros((4, n, n))
        sinks = loaded.model.get_submodule(module).sinks.detach().numpy()
        assert np.abs(sinks).max() > 0.01
    Q, K, made = seen[module]
    for h in range(4):
        L = scale * (K[h // (len(Q) // len(K))].T @ made[h].T @ Q[h]) + added[h]
        L = np.where(visible, L, -np.inf)
        weights = np.exp(L - L.max(axis=0))
        total = weights.sum(axis=0)
        if sinks is not None:
            total = total + np.exp(sinks[h] - L.max(axis=0))
        single = np.finfo(np.float32).eps  # in which these models take the softmax
        np.testing.assert_allclose(
            weights / total, as_columns(theirs)[h], rtol=(n + np.abs(L[visible]).max()) * single
        )


def test_one_layer_and_one_head_at_a_time(llama: Path) -> None:
    layers = rb.measure_loss(llama, TEXT, [2], N, calibrate=OTHER, by="layer").to_frame()
    assert layers.layer.dropna().tolist() == [0, 1]
    heads = rb.measure_loss(llama, TEXT, [2], N, by="head").to_frame()
    alone = heads.dropna(subset=["head"])
    assert list(zip(alone["layer"], alone["head"], strict=True)) == [
        (layer, head) for layer in (0, 1) for head in range(4)
    ]
    assert (alone.kind == "refitted").all()
    assert alone.divergence.max() < heads.divergence[0]


def test_masked_tokens_are_predicted_where_that_is_what_a_model_does(tmp_path: Path) -> None:
    import transformers

    folder = language_model(tmp_path / "m", "bert", "AutoModelForMaskedLM")
    curve = rb.measure_loss(folder, TEXT, [4], N)
    assert curve.objective == "masked token"
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = [1, *tokenizer(TEXT, add_special_tokens=False)["input_ids"][: N - 2], 2]
    labels = [token if i in range(3, N - 1, 7) else -100 for i, token in enumerate(ids)]
    masked = [0 if label >= 0 else token for token, label in zip(ids, labels, strict=True)]
    loss = model(input_ids=torch.tensor([masked]), labels=torch.tensor([labels])).loss
    assert curve.loss == pytest.approx(loss.item(), rel=1e-6)


def test_without_a_head_the_distance_of_hidden_states_is_told(tmp_path: Path) -> None:
    curve = rb.measure_loss(save(tmp_path / "m", "bert"), TEXT, [4], N)
    assert (curve.objective, curve.output, curve.loss) == ("none", "distance", None)
    assert "loss" not in [column.name for column in curve.table().columns]
    assert "Divergence: squared distance of the last hidden states" in curve.caption()
    assert curve.points[0].divergence > 0


def test_a_long_calibration_text_is_used_up_to_4096_tokens(llama: Path) -> None:
    long = rb.measure_loss(llama, TEXT, [4], N, calibrate=" ".join([OTHER] * 40))
    short = rb.measure_loss(llama, TEXT, [4], N, calibrate=" ".join(OTHER.split()[:20]))
    assert long.calibration is not None and short.calibration is not None
    assert long.calibration.text.windows == 4096 // N
    assert (short.calibration.text.windows, short.calibration.text.length) == (1, 22)


def test_windows_are_averaged(llama: Path) -> None:
    both = rb.measure_loss(llama, TEXT, [2], N, windows=2)
    assert both.text.windows == 2
    first = rb.measure_loss(llama, TEXT, [2], N)
    assert both.loss != first.loss


def test_rotations_are_those_of_rope_and_of_nothing_else(llama: Path, tmp_path: Path) -> None:
    def learnt(folder: Path, kind: str) -> Any:
        loaded = models.load(models.find_model(folder), kind)
        return replacing.rotations(loaded, list(range(4, 44)))

    found = learnt(llama, "float64")
    angles = 10000.0 ** (-np.arange(4) / 4)
    expected = np.zeros((8, 8))
    for i, angle in enumerate(angles):  # coordinates i and i + 4 turn together
        c, s = math.cos(angle), math.sin(angle)
        expected[np.ix_([i, i + 4], [i, i + 4])] = [[c, -s], [s, c]]
    for R in found.values():
        np.testing.assert_allclose(R, expected, atol=2.0**-23)  # its sines are float32
    assert learnt(save(tmp_path / "bert", "bert"), "float32") is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_positions_that_turn_are_orders_of_magnitude_from_those_that_do_not(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one rotation leaves is below a hundredth of the limit, or above a hundred times it."""

    def turns(name: str) -> bool:
        loaded = models.load(models.find_model(save(tmp_path / name, name)), dtype)
        return replacing.rotations(loaded, list(range(4, 44))) is not None

    limit = replacing.UNTURNED
    monkeypatch.setattr(replacing, "UNTURNED", limit / 100)
    assert turns("llama")
    monkeypatch.setattr(replacing, "UNTURNED", limit * 100)
    assert not turns("bert")
    assert not turns("gpt2")


def test_a_curve_is_read_back(curve: rb.LossCurve) -> None:
    again = rb.LossCurve.from_json(curve.to_json())
    assert again.points == curve.points
    assert again.caption() == curve.caption()
    with pytest.raises(rb.InputError, match="a record that was read back holds no model"):
        again.plan(loss=0.1)


def test_an_audit_says_what_sharing_a_basis_costs(llama: Path, curve: rb.LossCurve) -> None:
    """Without a calibration, from the text itself; nothing where heads have keys of their own."""
    assert curve.bench is not None
    found = curve.bench.subject.moments(curve.bench.windows)
    expected = [error for m in found.values() for error in sharing_error(m, 2)]
    heads = rb.audit(llama, TEXT, N).heads
    assert [head.basis_sharing_error for head in heads] == pytest.approx(expected, rel=1e-9)
    assert min(expected) > 0.001
    own = language_model(llama.parent / "own", "llama", num_key_value_heads=4)
    assert {head.basis_sharing_error for head in rb.audit(own, TEXT, N).heads} == {None}


def test_an_audit_tells_the_loss_too(llama: Path, curve: rb.LossCurve) -> None:
    audit = rb.audit(llama, TEXT, N, head_sizes=[8, 4, 1], measure_loss=True, calibrate=OTHER)
    assert audit.loss is not None
    assert audit.loss.points == curve.points
    assert '"objective": "next token"' in audit.to_json()
    assert rb.audit(llama, TEXT, N).loss is None


def test_what_is_refused(llama: Path) -> None:
    with pytest.raises(rb.InputError, match="calibrate holds 100% of the audited text"):
        rb.measure_loss(llama, TEXT, [4], N, calibrate=TEXT)
    with pytest.raises(rb.InputError, match="calibrate holds 92%"):
        rb.audit(llama, TEXT, N, measure_loss=True, calibrate=f"w1 w2 w3 {TEXT}")
    same = rb.measure_loss(llama, TEXT, [4], N, calibrate=TEXT, same_text=True)
    assert same.calibration is not None
    assert same.calibration.shared == 1
    assert "It shares 100% of its runs of 16 tokens" in same.caption()
    refused: dict[str, dict[str, Any]] = {
        "which is not measured; expected measure_loss=True": {"calibrate": OTHER},
        "measure_loss is 'all'; expected one of model, layer, head": {"measure_loss": "all"},
    }
    for words, options in refused.items():
        with pytest.raises(rb.InputError, match=words):
            rb.audit(llama, TEXT, N, **options)
    refused = {
        "basis and shifts are of a calibration": {"basis": "fisher"},
        "basis is 'svd'; expected one of fisher": {"basis": "svd", "calibrate": OTHER},
        "head_sizes is empty": {"head_sizes": []},
        "the text is empty": {"calibrate": " "},
    }
    for words, options in refused.items():
        with pytest.raises(rb.InputError, match=words):
            rb.measure_loss(llama, TEXT, **{"length": N, **options})


def test_positions_that_do_more_than_turn_are_not_averaged(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "bert")
    with pytest.raises(rb.InputError, match="shifts is 8; expected 1: positions do more"):
        rb.measure_loss(folder, TEXT, [4], N, calibrate=OTHER, shifts=8)


def test_a_model_outside_the_interface_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rb.InputError, match="does not compute attention through transformers'"):
        rb.measure_loss(save(tmp_path / "m", "xlnet"), TEXT, [4], N)


def test_a_text_is_orders_of_magnitude_from_others() -> None:
    """In the runs that it shares: parts of the standard library, their words as tokens."""
    topics: dict[str, str] = pydoc_data.topics.topics
    given = (" ".join(topics.values()), inspect.getsource(argparse), LICENSE.read_text())
    words: dict[str, int] = {}
    cut = [[words.setdefault(word, len(words)) for word in text.split()] for text in given]
    for one, other in itertools.permutations(cut, 2):
        assert shared_runs([one], [other]) < SHARED / 10
        assert shared_runs([one], [[*other, *one[len(one) // 5 :]]]) > 5 * SHARED


def test_runs_in_common_are_counted() -> None:
    ids = list(range(40))
    assert shared_runs([ids], [ids[20:]]) == pytest.approx(5 / 25)
    assert shared_runs([ids], [ids[::-1]]) == 0
    assert shared_runs([[1, 2, 3]], [[0, 1, 2, 3]]) == 1


def test_a_curve_is_drawn(curve: rb.LossCurve) -> None:
    lines = {line.get_gid(): line for line in curve.plot().lines}
    everywhere = [point for point in curve.points if point.layer is None]
    assert set(lines) == {f"{p.kind}, a basis per {p.basis_per}" for p in everywhere}
    for said, line in lines.items():
        mine = [p for p in everywhere if f"{p.kind}, a basis per {p.basis_per}" == said]
        mine.sort(key=lambda p: p.head_size)
        assert list(line.get_xdata()) == [p.head_size for p in mine]
        assert list(line.get_ydata()) == [p.increase for p in mine]
