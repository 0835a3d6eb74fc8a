"""Audits on other inputs than a text, of encoder–decoders, biases and sinks, against the model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rankbound as rb
from rankbound.reporting import audit_summary
from tests.auditing.tiny import CONFIGS, TEXT, save, save_tokenizer

N = 24


def model_of(name: str, **changes: Any) -> Any:
    import transformers

    kind, sizes = CONFIGS[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**(sizes | changes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoModel.from_config(config, attn_implementation="eager").eval()


def images(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


IDS = [1, *(4 + (11 * i * i) % 58 for i in range(N - 2)), 2]


def tokens(*ids: int) -> Any:
    return torch.tensor([list(ids or IDS)])


def own(model: Any, name: str = "attentions", **inputs: Any) -> Any:
    """The model's weights in float64 as (layers, heads, keys, queries)."""
    model.config._experts_implementation = "eager"  # grouped kernels take no float64
    with torch.no_grad():
        output = model.double()(**inputs, output_attentions=True)
    return [layer[0].transpose(-1, -2).double().numpy() for layer in output[name]]


def check(heads: Any, contexts: Any) -> None:
    """Each head has the entropy, the weight of key 0 and the rank of its context."""
    assert len(heads) == sum(len(layer) for layer in contexts)
    for head, P in zip(heads, (P for layer in contexts for P in layer), strict=True):
        m = head.measures
        logs = np.log(P, out=np.zeros_like(P), where=P > 0)
        assert (m.keys, m.length) == P.shape
        assert m.entropy == pytest.approx(-float((P * logs).sum(axis=0).mean()), rel=1e-5)
        assert m.sink_mass == pytest.approx(float(P[0].mean()), rel=1e-5)
        values = np.linalg.svd(logs - logs.mean(axis=0), compute_uv=False)
        if not m.masked and not m.biased:
            found = m.centred_values
            # a softmax in float32 leaves each log p within (4 + |L|) u, whatever the model runs in;
            # by Weyl no singular value moves by more than the Frobenius norm of that
            off = np.finfo(np.float32).eps * (4 + np.abs(logs).max()) * np.sqrt(P.size)
            np.testing.assert_allclose(found, values[: len(found)], rtol=0, atol=off)


def test_images() -> None:
    model, pixels = model_of("vit"), images(1, 3, 16, 16)
    audit = rb.audit(model, inputs={"pixel_values": pixels})
    check(audit.heads, own(model, pixel_values=pixels.double()))
    assert audit.text.inputs == {"pixel_values": "float32 (1, 3, 16, 16)"}
    assert (audit.text.tokens, audit.text.length, audit.text.windows) == (None, None, 1)
    assert "Inputs: pixel_values float32 (1, 3, 16, 16)." in audit_summary(audit)
    assert json.loads(audit.to_json())["text"]["inputs"] == dict(audit.text.inputs)
    assert {head.measures.length for head in audit.heads} == {5}  # four patches and [CLS]


def test_inputs_are_arrays_too_and_a_directory_needs_no_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    model_of("vit").save_pretrained(folder)
    pixels = images(1, 3, 16, 16)
    audit = rb.audit(folder, inputs={"pixel_values": pixels.numpy()}, dtype="float64")
    assert audit.text.inputs == {"pixel_values": "float64 (1, 3, 16, 16)"}
    again = rb.audit(folder, inputs={"pixel_values": pixels.tolist()}, dtype="float64")
    assert again.text.inputs == audit.text.inputs
    assert len(audit.heads) == 8


def test_a_page_of_other_inputs(tmp_path: Path) -> None:
    audit = rb.audit(model_of("vit"), inputs={"pixel_values": images(1, 3, 16, 16)})
    audit.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<dt>Inputs</dt><dd>pixel_values float32 (1, 3, 16, 16)</dd>" in page
    assert "One input: on another" in page


def test_audio() -> None:
    model, sound = model_of("wav2vec2"), images(1, 4000)
    audit = rb.audit(model, inputs={"input_values": sound})
    check(audit.heads, own(model, input_values=sound.double()))


def test_a_tower_beside_a_text_is_audited_where_it_runs() -> None:
    model = model_of("llava")
    ids = tokens(1, 63, 63, 63, 63, *IDS[:8])
    given = {"input_ids": ids, "pixel_values": images(1, 3, 16, 16)}
    audit = rb.audit(model, inputs=given)
    assert audit.model.not_audited == ()
    stacks = [head.module.split(".")[0] for head in audit.heads]
    assert stacks == ["vision_tower"] * 8 + ["language_model"] * 8
    assert [head.layer for head in audit.heads[::4]] == [0, 1, 2, 3]  # counted as they run
    assert "module" in str(audit.table())
    assert {head.measures.length for head in audit.heads} == {5, 13}


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_both_stacks_and_what_is_between_them(name: str, tmp_path: Path) -> None:
    """The decoder reads the same text, shifted by one token."""
    folder = save(tmp_path / name, name)
    audit = rb.audit(folder, TEXT, N, dtype="float64")
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT)["input_ids"]
    ids = [*ids[: N - 1], ids[-1]]
    start = {"bart": 2, "t5": 0}[name]  # BART's is told, T5 begins with padding
    given = {"input_ids": tokens(*ids), "decoder_input_ids": tokens(start, *ids[:-1])}
    kinds: dict[str, list[Any]] = {"encoder": [], "self": [], "cross": []}
    for head in audit.heads:
        decodes = head.module.startswith("decoder")
        crosses = "encoder_attn" in head.module or "EncDec" in head.module
        kinds["cross" if crosses else "self" if decodes else "encoder"].append(head)
    for kind, returned in (
        ("encoder", "encoder_attentions"),
        ("self", "decoder_attentions"),
        ("cross", "cross_attentions"),
    ):
        check(kinds[kind], own(model, returned, **given))
    assert all(head.measures.masked for head in kinds["self"])
    assert not any(head.measures.masked for head in kinds["cross"])
    biased = [head.module for head in audit.heads if head.measures.biased]
    assert len(biased) == (0 if name == "bart" else 16)  # T5 has none between the stacks
    assert audit.text.inputs["decoder_input_ids"] == f"int64 (1, {N})"


def test_rectangular_attention() -> None:
    """Seven queries on twenty-four keys: the log-rank is at most seven, whatever the size."""
    model = model_of("bart")
    few = tokens(*IDS[:7])
    audit = rb.audit(model, inputs={"input_ids": tokens(), "decoder_input_ids": few})
    cross = [head.measures for head in audit.heads if "encoder_attn" in head.module]
    assert {(m.keys, m.length, m.head_size) for m in cross} == {(N, 7, 8)}
    assert {(m.log_rank_bound, m.generic_log_rank, m.log_rank) for m in cross} == {(7, 7, 7)}
    check(
        [head for head in audit.heads if "encoder_attn" in head.module],
        own(model, "cross_attentions", input_ids=tokens(), decoder_input_ids=few),
    )


PADDED = 5


def padded(ids: Any, *, left: bool) -> tuple[Any, Any]:
    """Tokens with padding at one end, and their mask, 0 at the padding."""
    real, fill = torch.ones_like(ids), torch.zeros((1, PADDED), dtype=torch.int64)
    parts = [(fill, fill), (ids, real)][:: 1 if left else -1]
    return tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))


def assert_same_numbers(found: rb.Audit, expected: rb.Audit) -> None:
    """To half of the digits of the dtype; what sums of some hundred terms lose is far below."""
    half = float(np.finfo(found.model.compute_dtype).eps) ** 0.5
    assert found.proof.weights == expected.proof.weights > 0
    for ours, theirs in zip(found.heads, expected.heads, strict=True):
        for (name, one), two in zip(ours.row().items(), theirs.row().values(), strict=True):
            close = pytest.approx(two, rel=half, abs=half) if isinstance(two, float) else two
            assert one == close, (ours.module, name)


@pytest.mark.parametrize(
    ("name", "left", "dtype"),
    [
        ("llama", True, "float32"),
        ("gpt2", True, "float64"),
        ("gpt_oss", True, "float32"),
        ("bert", True, "float64"),
        ("bert", False, "float64"),
    ],
)
def test_padding_is_left_out(name: str, left: bool, dtype: str) -> None:
    model = model_of(name)
    ids, mask = padded(tokens(), left=left)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)  # as generation numbers them
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    found = rb.audit(model, inputs=given, dtype=dtype)
    assert_same_numbers(found, rb.audit(model, inputs={"input_ids": tokens()}, dtype=dtype))
    assert {head.measures.length for head in found.heads} == {N}
    if name == "llama":  # whose softmax is in float32, to which the mask of padding is infinite
        with pytest.raises(rb.InputError, match=r"weights hold nan.* pass dtype='float32'"):
            rb.audit(model, inputs=given, dtype="float64")


def test_padding_of_both_stacks_is_left_out() -> None:
    model, few = model_of("t5"), tokens(*IDS[:7])
    ids, mask = padded(tokens(), left=False)
    fewer, their_mask = padded(few, left=False)
    plain = {"input_ids": tokens(), "decoder_input_ids": few}
    given = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": fewer}
    expected = rb.audit(model, inputs=plain, dtype="float64")
    both = rb.audit(model, inputs=given | {"decoder_attention_mask": their_mask}, dtype="float64")
    assert_same_numbers(both, expected)
    encoders = rb.audit(model, inputs=given | {"decoder_input_ids": few}, dtype="float64")
    assert_same_numbers(encoders, expected)


def test_what_is_no_token_is_no_padding() -> None:
    """A vision tower has as many queries as the text has tokens."""
    model = model_of("llava")
    given = {"input_ids": tokens(0, 63, 63, 63, 63), "pixel_values": images(1, 3, 16, 16)}
    audit = rb.audit(model, inputs=given | {"attention_mask": torch.tensor([[0, 1, 1, 1, 1]])})
    lengths = {(h.module.split(".")[0], h.measures.length) for h in audit.heads}
    assert lengths == {("vision_tower", 5), ("language_model", 4)}


def test_a_real_query_that_sees_no_key_is_refused() -> None:
    blind = torch.zeros((1, 1, N, N)).masked_fill(~torch.ones((N, N), dtype=bool).tril(), -1e30)
    blind[..., 3, :] = -1e30
    given = {"input_ids": tokens(), "attention_mask": blind}
    with pytest.raises(rb.InputError, match="sees no key, and no attention_mask says that it is"):
        rb.audit(model_of("llama"), inputs=given)
    nothing = given | {"attention_mask": torch.zeros((1, N))}
    with pytest.raises(rb.InputError, match="leaves out every token; expected at least one"):
        rb.audit(model_of("llama"), inputs=nothing)


def test_a_bias_is_not_counted() -> None:
    """MPNet's table of relative positions: log P less it has the log-rank of the size."""
    model = model_of("mpnet")
    audit = rb.audit(model, inputs={"input_ids": tokens()}, dtype="float64")
    contexts = own(model, input_ids=tokens())
    check(audit.heads, contexts)
    with torch.no_grad():
        table = model.encoder.compute_position_bias(torch.zeros(1, N, 32))[0]
    for head, P in zip(audit.heads, (P for layer in contexts for P in layer), strict=True):
        m = head.measures
        assert m.biased and (m.log_rank, m.biased_log_rank) == (8, N - 1)
        L = np.log(P) - table[head.head].T.double().numpy()
        values = np.linalg.svd(L - L.mean(axis=0), compute_uv=False)
        np.testing.assert_allclose(m.centred_values, values[:8], rtol=1e-9)
        logs = np.log(P)
        whole = np.linalg.svd(logs - logs.mean(axis=0), compute_uv=False)
        shares = whole / whole.sum()
        shares = shares[shares > 0]
        effective = float(np.exp(-(shares * np.log(shares)).sum()))
        assert m.biased_effective_rank == pytest.approx(effective, rel=1e-6)
        left, values, right = np.linalg.svd(L - L.mean(axis=0))
        near = (left[:, :4] * values[:4]) @ right[:4] + table[head.head].T.double().numpy()
        Q = rb.column_softmax(near)
        assert m.kl_half == pytest.approx(float((P * np.log(P / Q)).sum() / N), rel=1e-6)


def test_a_learned_sink_is_a_key() -> None:
    model = model_of("gpt_oss")
    with torch.no_grad():
        for layer in model.layers:
            layer.self_attn.sinks.normal_(generator=torch.Generator().manual_seed(0))
    audit = rb.audit(model, inputs={"input_ids": tokens()}, dtype="float64")
    contexts = [
        np.concatenate([layer, 1 - layer.sum(axis=1, keepdims=True)], axis=1)
        for layer in own(model, input_ids=tokens())
    ]
    check(audit.heads, contexts)
    assert {(h.measures.keys, h.measures.length) for h in audit.heads} == {(N + 1, N)}
    assert all(h.measures.biased and h.measures.masked for h in audit.heads)


def test_random_numbers_that_a_model_draws_are_the_same_in_each_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    forward = ViTEmbeddings.forward

    def noisy(self: Any, *arguments: Any, **options: Any) -> Any:
        return forward(self, *arguments, **options) + torch.randn(1)

    monkeypatch.setattr(ViTEmbeddings, "forward", noisy)
    before = torch.random.get_rng_state()
    rb.audit(model_of("vit"), inputs={"pixel_values": images(1, 3, 16, 16)})
    torch.manual_seed(0)
    assert before.shape == torch.random.get_rng_state().shape


def words(folder: Path) -> Any:
    import transformers

    save_tokenizer(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("bert", {}, rb.InputTypeError, "neither text nor inputs is given"),
    ("bert", {"inputs": [1, 2]}, rb.InputTypeError, r"inputs is \[1, 2\]; expected a dict"),
    ("bert", {"inputs": {1: 2}}, rb.InputTypeError, "expected a dict"),
    ("bert", {"inputs": {}}, rb.InputError, "inputs is empty"),
    (
        "bert",
        {"inputs": {"pixels": 1}},
        rb.InputError,
        "BertModel does not run on inputs of pixels",
    ),
    ("bert", {"inputs": {"input_ids": [[1], [2]]}}, rb.InputError, r"shape \(2, 1\); expected \(1"),
    ("bert", {"inputs": {"input_ids": [1, 2]}}, rb.InputError, r"shape \(2,\); expected \(1"),
    ("bert", {"inputs": {"input_ids": [[1.0]]}}, rb.InputTypeError, "float32; expected integers"),
    ("bert", {"inputs": {"input_ids": [[1, 64]]}}, rb.InputError, "holds token 64; .* to 63"),
    ("bert", {"inputs": {"input_ids": [[1, -1]]}}, rb.InputError, "holds token -1"),
    (
        "bert",
        {"inputs": {"input_ids": [[5] * 97]}},
        rb.InputError,
        "97 tokens; .* at most 96",
    ),
    ("bert", {"inputs": {"input_ids": object()}}, rb.InputTypeError, "expected a tensor or an"),
    ("bert", {"inputs": {"input_ids": [[1, [2]]]}}, rb.InputTypeError, "expected a tensor or an"),
    ("bert", {"inputs": {"input_ids": [[10**30]]}}, rb.InputTypeError, "expected a tensor or an"),
    ("bert", {"inputs": {"input_ids": [["a"]]}}, rb.InputTypeError, "expected a tensor or an"),
    ("bert", {"inputs": {"input_ids": [[1]]}, "length": 4}, rb.InputError, "inputs and length"),
    ("bert", {"inputs": {"input_ids": [[1]]}, "text": TEXT}, rb.InputError, "inputs and text are"),
    ("bert", {"inputs": {"input_ids": [[1]]}, "windows": 2}, rb.InputError, "inputs and windows"),
    ("vit", {"inputs": {"pixel_values": [[[[np.nan]]]]}}, rb.InputError, "holds inf or nan"),
    ("vit", {"inputs": {"pixel_values": [[1.0]]}}, rb.InputError, "not run on inputs of pixel_val"),
]


@pytest.mark.parametrize(("name", "given", "kind", "message"), BAD)
def test_bad_inputs_are_one_clear_message(
    name: str, given: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        rb.audit(model_of(name), **given)


def test_inputs_that_a_model_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import ViTModel

    monkeypatch.setattr(ViTModel, "forward", lambda self, pixel_values: None)
    with pytest.raises(rb.InputError, match=r"holds text, .* expected some of pixel_values"):
        rb.audit(model_of("vit"), inputs={"text": 1})


def test_inputs_and_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(rb.InputError, match="inputs and tokenizer are not taken together"):
        rb.audit(model_of("bert"), inputs={"input_ids": [[1]]}, tokenizer=words(tmp_path))


def test_a_text_for_a_model_of_images_names_inputs(tmp_path: Path) -> None:
    message = (
        r"takes images \(pixel_values\).*expected rb.audit\(model, inputs={'pixel_values': …}\)"
    )
    with pytest.raises(rb.InputError, match=message):
        rb.audit(model_of("vit"), TEXT, tokenizer=words(tmp_path))


def test_one_token_has_nothing_to_attend_to() -> None:
    audit = rb.audit(model_of("bert"), inputs={"input_ids": [[5]]})
    assert {head.measures.log_rank_bound for head in audit.heads} == {0}
