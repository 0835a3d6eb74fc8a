"""Tests that run a model are collected where torch and transformers are installed."""

from importlib.util import find_spec

from tests.conftest import MODELS, REAL_MODELS

collect_ignore = [
    *([] if find_spec("safetensors") else ["test_loading.py"]),
    *(
        []
        if MODELS
        else [
            "test_tiny_models.py",
            "test_refusals.py",
            "test_completeness.py",
            "test_coverage.py",
            "test_loaded_models.py",
            "test_loss.py",
            "test_record.py",
            "test_narrowing.py",
            "test_forms.py",
            "test_inputs.py",
        ]
    ),
    *([] if REAL_MODELS else ["test_real_models.py"]),
]
