"""Progress: a line every ten seconds where standard error is a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from rankbound import reporting


def test_in_a_pipe_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with reporting.progress("audit", 60, lambda: now) as show:
        for done in range(1, 61):  # one every 3 seconds
            now += 3.0
            show(done, 60, f"layer {done}")
    lines = pipe.getvalue().splitlines()
    assert lines == [f"{done} of 60: layer {done}" for done in range(4, 61, 4)]


def test_a_short_work_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with reporting.progress("audit", 2) as show:
        show(1, 2, "layer 1")
        show(2, 2, "layer 2")
    assert pipe.getvalue() == ""


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Closed(), None])
def test_a_closed_pipe_and_none_stop_no_work(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting.progress("audit", 2, lambda: now) as show:
        now += 20.0
        show(1, 2, "layer 1")
