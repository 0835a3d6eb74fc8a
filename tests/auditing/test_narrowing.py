"""Plans keep their budgets, which a run shows; a narrowed model is the plan, to rounding."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rankbound as rb
from rankbound.auditing import narrowing
from rankbound.auditing.narrowing import _costs, _descent, _path, known_bench
from rankbound.auditing.replacing import replacing
from rankbound.auditing.subject import Subject
from rankbound.cli.main import main
from tests.auditing.test_loaded_models import loaded
from tests.auditing.test_loss import OTHER, N, language_model
from tests.auditing.tiny import TEXT, save

KINDS = {"bert": "AutoModelForMaskedLM", "gpt2": "AutoModelForCausalLM"}
KINDS |= dict.fromkeys(("opt", "llama"), "AutoModelForCausalLM")


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> rb.LossCurve:
    folder = language_model(
        tmp_path_factory.mktemp("models") / "llama", "llama", num_hidden_layers=3
    )
    return rb.measure_loss(folder, TEXT, [4], N, calibrate=OTHER)


def by_hand(curve: rb.LossCurve, plan: rb.Plan) -> float:
    """The loss at a plan, from the model and its cut queries."""
    bench = known_bench(curve.bench)
    cuts = {call: found.cut for call, found in plan.projections().items()}
    ids = bench.windows[0]
    with replacing(bench.subject.loaded, lambda call, query, key: cuts.get(call)), torch.no_grad():
        logits = bench.subject.loaded.model(input_ids=torch.tensor([ids])).logits[0]
    return float(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item())


@pytest.mark.parametrize("run_layers", [True, False])
@pytest.mark.parametrize("per", ["key/value head", "layer"])
def test_a_plan_keeps_its_loss_and_says_what_a_run_gives(
    curve: rb.LossCurve, run_layers: bool, per: str
) -> None:
    plan = curve.plan(loss=0.05, run_layers=run_layers, per=per)
    assert plan.increase is not None and curve.loss is not None
    assert plan.increase <= 0.05
    assert curve.loss + plan.increase == pytest.approx(by_hand(curve, plan), rel=1e-6)
    assert plan.cache_bytes < plan.full_cache_bytes == 2 * 3 * 2 * (8 + 8)
    assert all(len(layer.head_sizes) == 2 for layer in plan.layers)
    assert plan.cache_bytes == 2 * sum(size + 8 for la in plan.layers for size in la.head_sizes)
    assert plan.predicted == sum(layer.divergence for layer in plan.layers)
    unequal = [la.layer for la in plan.layers if len(set(la.head_sizes)) > 1]
    assert bool(unequal) == (per == "key/value head")


def test_heads_of_a_layer_share_what_its_run_costs(curve: rb.LossCurve) -> None:
    """In the proportions of the moments; the steps of a plan are the hull of these costs."""
    bench = known_bench(curve.bench)
    for call, costs in _costs(bench, run_layers=True).items():
        for size, each in costs.items():
            assert each.sum() == pytest.approx(bench.by_runs[call][size], rel=1e-12)
            np.testing.assert_allclose(
                each * bench.by_moments[call][size].sum(),
                bench.by_moments[call][size] * each.sum(),
                rtol=1e-12,
            )
    assert _descent({8: 0.0, 6: 2.0, 4: 2.0, 2: 9.0, 1: 10.0}, 1) == [
        (0.5, 4),
        (8 / 3, 1),
    ]  # 6 costs more an entry than 4, and 2 than 1
    path = _path(bench, _costs(bench, run_layers=True), "key/value head")
    assert set(path[-1].values()) == {(1, 1)}
    for before, after in pairwise(path):
        [changed] = [call for call in before if before[call] != after[call]]
        assert sum(a < b for a, b in zip(after[changed], before[changed], strict=True)) == 1


def test_further_plans_take_no_more_runs_of_layers(
    curve: rb.LossCurve, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0
    assert known_bench(curve.bench).by_runs
    own = Subject._cut

    def counted(self: Subject, *given: Any) -> Any:
        nonlocal runs
        runs += 1
        return own(self, *given)

    monkeypatch.setattr(Subject, "_cut", counted)
    curve.plan(cache_bytes=150)
    assert runs == 1


def test_a_plan_keeps_its_cache(curve: rb.LossCurve) -> None:
    plan = curve.plan(cache_bytes=130)
    assert plan.cache_bytes <= 130
    assert {layer.full_size for layer in plan.layers} == {8}
    looser = curve.plan(cache_bytes=150)
    assert looser.cache_bytes > plan.cache_bytes
    assert looser.divergence < plan.divergence
    assert f"{plan.cache_bytes} bytes per token of 192" in plan.caption()
    assert plan.table().rows[0][:3] == (0, plan.layers[0].said, 8)
    again = rb.Plan.from_json(plan.to_json())
    assert again.layers == plan.layers
    with pytest.raises(rb.InputError, match="a record that was read back holds no model"):
        again.projections()


def test_a_budget_that_no_plan_meets_names_the_nearest(curve: rb.LossCurve, tmp_path: Path) -> None:
    with pytest.raises(rb.InputError, match="cache_bytes is 20; expected at least 108 per token"):
        curve.plan(cache_bytes=20)
    with pytest.raises(rb.InputError, match="a plan without a budget"):
        curve.plan()
    with pytest.raises(rb.InputError, match="per is 'head'; expected one of key/value head, layer"):
        curve.plan(loss=0.1, per="head")
    plain = rb.measure_loss(save(tmp_path / "m", "bert"), TEXT, [4], N, calibrate=OTHER)
    assert plain.plan(loss=0.1).divergence <= 0.1  # without a loss the budget is of the divergence
    with pytest.raises(rb.InputError, match=r"loss is 1e-09; expected at least .*at head size 6"):
        plain.plan(loss=1e-9)
    with pytest.raises(rb.InputError, match=r"the nearest at 144 bytes costs [0-9.]+\."):
        plain.plan(loss=1e-9, cache_bytes=144)


def test_a_plan_needs_a_calibration(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "bert")
    with pytest.raises(rb.InputError, match="no projections were calibrated"):
        rb.measure_loss(folder, TEXT, [4], N).plan(loss=0.1)
    with pytest.raises(rb.InputError, match="the audit measured no loss"):
        rb.audit(folder, TEXT, N).plan(loss=0.1)


@pytest.mark.parametrize("name", ["bert", "gpt2", "opt"])
def test_a_narrowed_model_is_the_plan_to_rounding(name: str, tmp_path: Path) -> None:
    folder = language_model(tmp_path / "m", name, KINDS[name])
    model, tokenizer = loaded(folder, KINDS[name])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    curve = rb.measure_loss(
        model, TEXT, [4], N, calibrate=OTHER, tokenizer=tokenizer, dtype="float64"
    )
    bench = known_bench(curve.bench)
    plan = curve.plan(cache_bytes=2 * 2 * 4 * (5 + 8))
    assert any(len(set(layer.head_sizes)) > 1 for layer in plan.layers)
    narrowed = rb.narrow(model, plan)
    assert narrowed.reason == ""
    ids = torch.tensor([bench.windows[0]])
    with replacing(bench.subject.loaded, bench.fixed(plan.sizes, shared=True)), torch.no_grad():
        expected = bench.subject.loaded.model(input_ids=ids).logits
    with torch.no_grad():
        found = narrowed.model(input_ids=ids).logits
        own = model.double()(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert (own - expected).abs().max() > 1e-3
    if name == "bert":  # of each head the rows past its size are 0, in W_q and W_k
        for layer, planned in zip(narrowed.model.bert.encoder.layer, plan.layers, strict=True):
            for map_ in (layer.attention.self.query, layer.attention.self.key):
                used = map_.weight.reshape(4, 8, -1).abs().amax(dim=2) > 0
                assert used.sum(dim=1).tolist() == list(planned.head_sizes)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key].to(value.dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "opt", "llama"])
def test_columns_are_orders_of_magnitude_from_what_is_turned(
    name: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation is told where a thousand times as much may differ; a scale, as OPT's, is none."""
    folder = language_model(tmp_path / "m", name, KINDS[name])
    model, tokenizer = loaded(folder, KINDS[name])
    curve = rb.measure_loss(model, TEXT, [4], N, calibrate=OTHER, tokenizer=tokenizer, dtype=dtype)
    full = 2 * 2 * (2 if name == "llama" else 4) * (8 + 8)  # layers, bytes, heads, entries
    plan = curve.plan(cache_bytes=int(0.8 * full), run_layers=False)
    if name == "llama":
        monkeypatch.setattr(narrowing, "ROUNDINGS", 1000 * (N + narrowing.ROUNDINGS))
    assert (rb.narrow(model, plan).model is None) == (name == "llama")


def test_where_a_rotation_lies_between_the_projections_are_returned(tmp_path: Path) -> None:
    folder = language_model(tmp_path / "m", "llama")
    model, tokenizer = loaded(folder, "AutoModelForCausalLM")
    curve = rb.measure_loss(model, TEXT, [4], N, calibrate=OTHER, tokenizer=tokenizer)
    plan = curve.plan(cache_bytes=80)
    narrowed = rb.narrow(model, plan)
    assert narrowed.model is None
    assert "a rotation or a norm lies between" in narrowed.reason
    for (module, turn), found in narrowed.projections.items():
        assert module.startswith("model.layers.") and turn == 0
        assert found.query.shape == found.key.shape
        assert found.query.shape[:2] == (4, 8)


def test_what_is_no_model_or_plan_is_refused(curve: rb.LossCurve, tmp_path: Path) -> None:
    plan: Any = curve.plan(cache_bytes=130)
    nonsense: Any = {}
    with pytest.raises(rb.InputTypeError, match="model is a dict; expected the loaded model"):
        rb.narrow(nonsense, plan)
    model, _ = loaded(save(tmp_path / "m", "bert"))
    with pytest.raises(rb.InputTypeError, match="plan is a dict"):
        rb.narrow(model, nonsense)
    with pytest.raises(rb.InputError, match="the plan names layers that this model lacks"):
        rb.narrow(model, plan)


def test_the_command_measures_and_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = language_model(tmp_path / "m", "llama")
    text, other, out = tmp_path / "text.txt", tmp_path / "other.txt", tmp_path / "audit.json"
    text.write_text(TEXT)
    other.write_text(OTHER)
    command = ["audit", str(folder), "--text", str(text), "--length", str(N), "--head-sizes", "6,4"]
    command += ["--measure-loss", "--calibrate", str(other), "--plan", "0.1", "--json", str(out)]
    assert main([*command, "--html", str(tmp_path / "audit.html")]) == 0
    printed = capsys.readouterr().out
    assert "Measured at the plan" in printed
    record = json.loads(out.read_text())
    assert [point["head_size"] for point in record["loss"]["points"]][:2] == [6, 4]
    assert record["plan"]["increase"] <= 0.1
    page = (tmp_path / "audit.html").read_text()
    assert page.index("What smaller heads cost the model") < page.index("How much of its size")
    assert page.index("The plan") < page.index("How much of its size")
    assert page.count("<polyline") >= 4
    assert main([*command[:6], "--plan", "0.1"]) == 2
    assert "no projections were calibrated" in capsys.readouterr().err
