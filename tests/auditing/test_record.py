"""The record of an audit: read back whole, and drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import rankbound as rb
from tests.auditing.test_loss import OTHER, N, language_model
from tests.auditing.test_page import an_audit
from tests.auditing.tiny import TEXT, save
from tests.helpers import refused

mpl.use("agg")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> rb.Audit:
    folder = language_model(tmp_path_factory.mktemp("models") / "llama", "llama")
    audit = rb.audit(folder, TEXT, N, measure_loss=True, calibrate=OTHER, kl=0.1, head_sizes=[5])
    return audit.planned(cache_bytes=120)


def assert_read_back(audit: rb.Audit) -> rb.Audit:
    written = audit.to_json()
    again = rb.Audit.from_json(written)
    assert again.to_json() == written
    assert repr(again) == repr(audit)
    for ours, theirs in zip(again.heads, audit.heads, strict=True):
        assert ours.row() == theirs.row()
        for field in dataclasses.fields(ours.measures):
            one, other = (getattr(head.measures, field.name) for head in (ours, theirs))
            assert type(one) is type(other) or field.name == "kl_errors"
            np.testing.assert_array_equal(one, other) if isinstance(one, np.ndarray) else None
            assert isinstance(one, np.ndarray) or one == other
    return again


def test_an_audit_with_loss_and_plan_is_read_back(planned: rb.Audit, tmp_path: Path) -> None:
    again = assert_read_back(planned)
    assert again.loss is not None and again.chosen is not None
    assert planned.chosen is not None
    assert again.chosen.layers == planned.chosen.layers
    assert again.heads[0].measures.aitchison_error(3) == planned.heads[0].measures.aitchison_error(
        3
    )
    assert str(again.table()) == str(planned.table())
    again.to_html(tmp_path / "again.html")
    planned.to_html(tmp_path / "own.html")
    assert (tmp_path / "again.html").read_text() == (tmp_path / "own.html").read_text()
    with pytest.raises(rb.InputError, match="a record that was read back holds no model"):
        again.plan(cache_bytes=120)


def test_audits_of_all_kinds_are_read_back(tmp_path: Path) -> None:
    assert_read_back(an_audit(windows=2))
    assert_read_back(rb.audit(save(tmp_path / "t5", "t5"), TEXT, 20))
    assert_read_back(rb.audit(save(tmp_path / "gemma2", "gemma2"), TEXT, 20))


def test_another_json_is_refused() -> None:
    data = json.loads(an_audit().to_json())
    for key in data:
        with refused(rb.InputError, "expected"):
            rb.Audit.from_json(json.dumps({k: v for k, v in data.items() if k != key}))
    changed: list[Any] = [[1], {"heads": [3]}, {"heads": [{**data["heads"][0], "keys": "many"}]}]
    for wrong in [*changed, {"heads": 3}, {"complete": "yes"}]:
        with refused(rb.InputError, "expected"):
            rb.Audit.from_json(json.dumps(wrong if isinstance(wrong, list) else data | wrong))


def test_an_audit_draws_its_loss_or_how_much_of_their_size_heads_use(planned: rb.Audit) -> None:
    assert planned.loss is not None
    curves = [line.get_xydata() for line in planned.plot().lines]
    for ours, theirs in zip(curves, planned.loss.plot().lines, strict=True):
        np.testing.assert_array_equal(ours, theirs.get_xydata())
    audit = dataclasses.replace(planned, loss=None)
    lines = {line.get_gid(): line.get_ydata() for line in audit.plot().lines}
    used = [head.measures.log_effective_rank for head in audit.heads]
    assert list(lines["effective log-rank"]) == sorted(used, reverse=True)
    assert set(lines["head size"]) == {8}
    with refused(rb.InputTypeError, "expected Axes"):
        audit.plot(ax=3)
