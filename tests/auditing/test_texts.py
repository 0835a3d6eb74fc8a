"""Windows of tokens, with a tokenizer of words; no torch needed."""

from __future__ import annotations

from typing import Any

import pytest

import rankbound as rb
from rankbound.auditing.texts import check_text, cut_windows

TEXT = " ".join(str(i) for i in range(100))


class Words:
    """Words as numbers, between -1 and -2."""

    def __init__(self, special: bool = True) -> None:
        self.special = special

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        ids = [int(word) for word in text.split()]
        return {"input_ids": [-1, *ids, -2] if add_special_tokens and self.special else ids}

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"<{token}>"


@pytest.fixture(autouse=True)
def _no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib

    from rankbound.auditing import texts

    monkeypatch.setattr(texts, "quiet", contextlib.nullcontext)


def test_each_window_has_the_special_tokens_around_it() -> None:
    windows, facts = cut_windows(Words(), TEXT, 10, 2, None)
    assert windows == [[-1, *range(8), -2], [-1, *range(8, 16), -2]]
    assert (facts.tokens, facts.length, facts.windows) == (102, 10, 2)


def test_without_special_tokens_windows_tile_the_text() -> None:
    windows, _ = cut_windows(Words(False), TEXT, 25, 4, None)
    assert [token for window in windows for token in window] == list(range(100))


@pytest.mark.parametrize(("most", "length"), [(None, 102), (40, 40), (1000, 102)])
def test_the_usual_length_is_what_text_and_model_allow(most: int | None, length: int) -> None:
    assert cut_windows(Words(), TEXT, None, 1, most)[1].length == length


def test_the_usual_length_is_at_most_512() -> None:
    assert cut_windows(Words(), TEXT * 9 + " 1" * 900, None, 1, 4096)[1].length == 512


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TEXT, 103, 1, None), "the text has 102 tokens; expected at least the length of 103"),
        ((TEXT, 64, 1, 32), "expected at most 32, the positions of the model"),
        ((TEXT, 1, 1, None), "one token attends to itself"),
        ((TEXT, 2, 1, None), "all of it special tokens"),
        ((TEXT, 60, 2, None), "1 windows of 60; expected 2"),
        ((TEXT, 60, 0, None), "windows is 0"),
        ((" ", None, 1, None), "0 tokens beside 2 special ones; expected at least 1, and 2 in all"),
        (("-1 " + TEXT, 9, 1, None), "begins with the special token <-1> twice.* Remove it from"),
        ((TEXT + " -2", None, 1, None), "ends with the special token <-2> twice.* Remove it from"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: Any, message: str) -> None:
    text, length, windows, most = arguments
    with pytest.raises(rb.InputError, match=message):
        cut_windows(Words(), text, length, windows, most)


def test_a_tokenizer_that_writes_its_special_tokens_twice() -> None:
    class Twice(Words):
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            ids = super().__call__(text, add_special_tokens)["input_ids"]
            return {"input_ids": [-1, *ids] if add_special_tokens else ids}

    with pytest.raises(rb.InputError, match=r"begins with .* twice.* Mend the tokenizer"):
        cut_windows(Twice(), TEXT, 9, 1, None)
    with pytest.raises(rb.InputError, match="1 tokens beside 0 special ones"):
        cut_windows(Words(False), "1", None, 1, None)
    inside = " ".join(["1", "-1", "-1", "-2", "-2", "1"])  # of the text itself, as it stands
    assert cut_windows(Words(), inside, None, 1, None)[0] == [[-1, 1, -1, -1, -2, -2, 1, -2]]


def test_a_text_is_words() -> None:
    for empty in ("", " \n\t"):
        with pytest.raises(rb.InputError, match="the text is empty"):
            check_text(empty)
    with pytest.raises(rb.InputTypeError, match="read_text"):
        check_text(3)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(("length", "windows"), [(None, 1), (16, 5), (100, 40)])
def test_a_long_text_is_read_as_far_as_its_windows_go(
    special: bool, length: int | None, windows: int
) -> None:
    """The windows are those of the whole text, and what is read grows with them alone."""
    long = " ".join(str(i) for i in range(200_000))
    read: list[int] = []

    class Counting(Words):
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            read.append(len(text))
            return super().__call__(text, add_special_tokens)

    cut, facts = cut_windows(Counting(special), long, length, windows, None)
    inside = (length or 512) - 2 * special
    assert [t for window in cut for t in window if t >= 0] == list(range(inside * windows))
    assert not facts.whole
    assert facts.extent.startswith("more than ")
    assert sum(read) <= 8 * 8 * ((length or 512) * windows + 64)
    assert cut_windows(Words(special), long[:3000], 16, 5, None)[1].whole is False
    assert cut_windows(Words(special), long[:300], 16, 3, None)[1].whole is True


def test_a_text_without_blanks_is_read_whole() -> None:
    class Letters(Words):
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) for letter in text]}

    cut, facts = cut_windows(Letters(False), "ab" * 5000, 10, 1, None)
    assert cut == [[97, 98] * 5]
    assert (facts.whole, facts.tokens) == (True, 10_000)
