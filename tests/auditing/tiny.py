"""Tiny models of every mechanism, drawn at random by transformers and saved with a tokenizer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

WORDS = [f"w{i}" for i in range(60)]
TEXT = " ".join(WORDS[(7 * i * i + i) % 60] for i in range(200))
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "initializer_range": 0.3,  # logits of the size that trained models have
}
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", SIZES),
    "gpt2": (
        "GPT2Config",
        {
            "vocab_size": 64,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 96,
            "initializer_range": 0.3,
            "scale_attn_by_inverse_layer_idx": True,
        },
    ),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 48,
            "max_position_embeddings": 96,
            "init_std": 0.3,
        },
    ),
    "llama": ("LlamaConfig", GROUPED),
    "gemma2": (
        "Gemma2Config",
        {
            **GROUPED,
            "sliding_window": 16,
            "attn_logit_softcapping": 4.0,
            "query_pre_attn_scalar": 13,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "qwen3": ("Qwen3Config", {**GROUPED, "num_key_value_heads": 1}),
    "albert": ("AlbertConfig", {**SIZES, "embedding_size": 16}),
    "mistral": ("MistralConfig", {**GROUPED, "sliding_window": 16}),
    "t5": (
        "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "gpt_oss": (
        "GptOssConfig",
        {**GROUPED, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 16},
    ),
    "git": ("GitConfig", {**SIZES, "vision_config": VISION}),
    "llava": (
        "LlavaConfig",
        {
            "text_config": {"model_type": "llama", **GROUPED},
            "vision_config": {"model_type": "clip_vision_model", **VISION},
            "image_token_index": 63,
        },
    ),
    "mpnet": ("MPNetConfig", SIZES),
    "xlnet": (
        "XLNetConfig",
        {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    ),
    "roberta": ("RobertaConfig", {**SIZES, "max_position_embeddings": 46, "pad_token_id": 3}),
    "mixtral": ("MixtralConfig", {**GROUPED, "num_local_experts": 2}),
    "vit": ("ViTConfig", VISION),
    "wav2vec2": (
        "Wav2Vec2Config",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        },
    ),
    "bart": (
        "BartConfig",
        {
            "vocab_size": 64,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 96,
        },
    ),
    "mamba": ("MambaConfig", {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2}),
}


def save(
    folder: Path, name: str, *, dtype: str = "float32", encoder: bool = False, **changes: Any
) -> Path:
    """Draw a model and save it, or its encoder, with a tokenizer of words in [CLS] and [SEP]."""
    import torch
    import transformers

    kind, sizes = CONFIGS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = getattr(transformers, kind)(**(sizes | changes))
        model = transformers.AutoModel.from_config(config).to(getattr(torch, dtype))
        (model.get_encoder() if encoder else model).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: i for i, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)


def own_attention(folder: Path, ids: list[int]) -> Any:
    """The weights that transformers itself returns, as (layers, heads, n, n), [key, query]."""
    import numpy as np
    import torch
    import transformers

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        model = transformers.AutoModel.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float64
        )
        found = model.eval()(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    return np.stack([layer[0].transpose(-1, -2).double().numpy() for layer in found])
