"""Tests that train are collected where torch and safetensors are installed."""

from tests.conftest import TRAINING

TRAINS = (
    "test_checkpoints.py",
    "test_language.py",
    "test_layers.py",
    "test_smoke.py",
    "test_trained_heads.py",
    "test_training.py",
)

collect_ignore = [] if TRAINING else [*TRAINS]
