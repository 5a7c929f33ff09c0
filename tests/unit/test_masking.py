# SPDX-License-Identifier: Apache-2.0
"""Secret values never leave the machine, in any usual form and however the text is cut."""

import base64
import json
import random
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.domain.masking import MASK, Masks, _forms, _pieces

SECRET = 'p@ss w/rd+"ü\\7~'
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n"


def streamed(masks: Masks, chunks: Sequence[bytes]) -> bytes:
    stream = masks.stream()
    return b"".join([*(stream.feed(chunk) for chunk in chunks), stream.flush()])


def by_hand(forms: set[bytes], text: bytes) -> bytes:
    """The same in the most simple-minded way: mark every byte of every form, then replace what is marked."""
    marked = [False] * len(text)
    for form in forms:
        at = text.find(form)
        while at >= 0:
            marked[at : at + len(form)] = [True] * len(form)
            at = text.find(form, at + 1)
    masked = b""
    for at, hidden in enumerate(marked):
        if not hidden:
            masked += text[at : at + 1]
        elif at == 0 or not marked[at - 1]:
            masked += MASK
    return masked


@pytest.mark.parametrize(
    "spelled",
    [
        lambda s: s,
        lambda s: json.dumps(s)[1:-1],
        lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
        lambda s: json.dumps(json.dumps({"x": s}))[11:-4],
        lambda s: json.dumps(s)[1:-1].replace("\\u00fc", "\\u00FC"),
        lambda s: repr(s)[1:-1],
        lambda s: ascii(s)[1:-1],
        lambda s: repr(s.encode())[2:-1],
        lambda s: quote(s),
        lambda s: quote(s, safe=""),
        lambda s: quote_plus(s),
        lambda s: quote(s, safe="!'()*"),
        lambda s: urlencode({"x": s})[2:].lower(),
        lambda s: s.encode().hex(),
        lambda s: s.encode().hex().upper(),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    ],
)
def test_a_value_is_hidden_in_every_usual_form(spelled: Callable[[str], str]) -> None:
    text = spelled(SECRET.lower()).encode()

    assert Masks([SECRET.lower()]).mask(b"before " + text + b" after") == b"before *** after"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("value", [SECRET, "abcd", "hunter22", "ÿþýüûú", "x" * 300])
def test_a_value_inside_of_longer_base64_is_hidden_at_every_alignment(
    encode: Callable[[bytes], bytes], value: str
) -> None:
    for before in range(7):
        for after in range(7):
            text = encode(b"u" * before + value.encode() + b"v" * after)

            masked = Masks([value]).mask(text)

            assert MASK in masked
            shown = masked.replace(MASK, b"")
            assert len(shown) <= (before + after) * 4 / 3 + 6


def test_base64_in_lines_is_hidden_too() -> None:
    value = "".join(random.Random(1).choices("abcdefghijk0123456789", k=500))

    for text in (
        base64.encodebytes(value.encode()),
        b"\n".join(_wrapped(base64.b64encode(value.encode()), 64)),
    ):
        masked = Masks([value]).mask(text)

        assert set(masked) <= set(b"*\n") or len(masked.replace(MASK, b"").strip()) < 8


def _wrapped(text: bytes, width: int) -> Sequence[bytes]:
    return [text[at : at + width] for at in range(0, len(text), width)]


def test_every_long_line_of_a_value_is_hidden_alone() -> None:
    masks = Masks([KEY])

    for line in KEY.splitlines():
        assert masks.mask(f"  {line}\r\n".encode()) == b"  ***\r\n"
    assert masks.mask(KEY.strip().encode()) == b"***"
    assert masks.mask(json.dumps({"key": KEY}).encode()) == b'{"key": "***"}'


def test_a_value_that_ends_in_a_newline_is_hidden_without_it() -> None:
    assert Masks(["abcdef\n"]).mask(b"<abcdef> <abcdef\n>") == b"<***> <***>"


def test_values_too_short_are_counted_and_left() -> None:
    masks = Masks(["abc", "", "  x   ", "\n\n\n\n\n", "abcd"])

    assert masks.unmasked == 4
    assert masks.mask(b"abc abcd") == b"abc ***"


def test_nothing_that_has_masks_shows_a_value() -> None:
    masks = Masks(["hunter22", "abc"])

    assert "hunter22" not in repr(masks) + str(masks) + repr(masks.stream())
    assert "abc" not in repr(masks)


def test_forms_that_overlap_or_touch_become_one() -> None:
    masks = Masks(["password1", "d1234abcd", "hunter22"])

    assert masks.mask(b"<password1234abcdhunter22>") == b"<***>"
    assert masks.mask(b"hunter22 hunter22hunter22") == b"*** ***"


def test_a_long_value_is_hidden_as_one_and_half_of_it_too() -> None:
    value = "".join(random.Random(2).choices("abcdefghijk0123456789", k=50_000))
    masks = Masks([value])

    assert masks.mask(f"<{value}>".encode()) == b"<***>"
    assert len(masks.mask(value[:25_000].encode())) < 3 + 128


def test_without_secrets_everything_passes_at_once() -> None:
    stream = Masks([]).stream()
    chunk = b"x" * 100

    assert stream.feed(chunk) is chunk
    assert stream.held == 0
    assert stream.flush() == b""


def test_only_a_tail_that_may_become_a_secret_is_held_back() -> None:
    stream = Masks(["hunter22"]).stream()

    assert stream.feed(b"it is hunt") == b"it is "
    assert stream.held == 4
    assert stream.feed(b"ing season") == b"hunting season"
    assert stream.held == 0
    assert stream.feed(b"hunter2") == b""
    assert stream.feed(b"2") == b"***"
    assert stream.held == 0
    assert stream.feed(b"hunter2") == b""
    assert stream.flush() == b"hunter2"
    assert stream.held == 0


def test_little_is_held_back_even_for_a_huge_value() -> None:
    value = "ab" * 30_000
    stream = Masks([value]).stream()

    for _ in range(100):
        stream.feed(b"ab" * 50)
        assert stream.held < 128


LETTERS = 'ab\n"%7ü'
values = st.lists(st.text(LETTERS, min_size=1, max_size=12) | st.text(max_size=20), max_size=4)


def looked_for(secrets: Sequence[str]) -> Sequence[bytes]:
    """Every byte string that must not leave; of a long form, each of its pieces."""
    whole = {form for value in secrets if len(value.strip()) >= 4 for form in _forms(value)}
    return sorted({piece for form in whole for piece in _pieces(form)})


@st.composite
def leaks(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Some secrets, and a text made of their forms, of pieces of these and of other letters."""
    secrets = draw(values)
    forms = looked_for(secrets)
    shreds = st.text(LETTERS, max_size=5).map(str.encode)
    if forms:
        whole = st.sampled_from(forms)
        part = st.builds(lambda form, n: form[: n % len(form)], whole, st.integers(0, 200))
        shreds = shreds | whole | part
    return secrets, b"".join(draw(st.lists(shreds, max_size=12)))


@settings(max_examples=300, deadline=None)
@given(leaks(), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_cut_anywhere_it_comes_out_as_the_whole_text_would(
    leak: tuple[list[str], bytes], sizes: list[int]
) -> None:
    secrets, text = leak
    masks = Masks(secrets)
    forms = set(looked_for(secrets))
    chunks, at = [], 0
    for number in range(len(text)):
        chunks.append(text[at : at + sizes[number % len(sizes)]])
        at += len(chunks[-1])

    whole = masks.mask(text)

    assert streamed(masks, chunks) == whole
    assert streamed(masks, [text[at : at + 1] for at in range(len(text))]) == whole
    assert whole == by_hand(forms, text)
    assert not any(form in whole for form in forms if b"*" not in form)


@settings(max_examples=100, deadline=None)
@given(leaks())
def test_what_is_held_back_is_the_start_of_a_form(leak: tuple[list[str], bytes]) -> None:
    secrets, text = leak
    forms = set(looked_for(secrets))
    stream = Masks(secrets).stream()

    stream.feed(text)

    held = text[len(text) - stream.held :]
    assert not held or any(form.startswith(held) and form != held for form in forms)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS + "1e4", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(LETTERS, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    json_values,
    st.lists(
        st.sampled_from(["true", "null", "1234", "NaN", '": "', "naab", "Infinity"])
        | st.text('ab"\\,:1', max_size=6),
        max_size=4,
    ),
    st.booleans(),
)
def test_json_stays_json_and_shows_nothing(value: object, secrets: list[str], ascii_only: bool) -> None:
    masks = Masks(secrets)

    masked = masks.mask_json(json.dumps(value, ensure_ascii=ascii_only).encode())

    json.loads(masked)
    assert masks.mask(masked) == masked


def test_a_secret_number_in_json_becomes_text() -> None:
    assert Masks(["12345"]).mask_json(b'{"pin": 12345, "n": 1.50}') == b'{"pin": "***", "n": 1.50}'


def test_a_secret_that_is_json_itself_is_hidden_as_a_whole() -> None:
    secret = '{"user": "me", "password": "abc"}'

    assert Masks([secret]).mask_json(secret.encode()) == b'"***"'
    assert Masks([secret]).mask_json(b'{"s": ' + secret.encode() + b"}") == b'"***"'


def test_what_is_not_json_is_masked_as_text() -> None:
    assert Masks(["hunter22"]).mask_json(b"not json: hunter22") == b"not json: ***"


def test_masking_keeps_up_with_a_chatty_run() -> None:
    chosen = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    masks = Masks(["".join(chosen.choices(letters, k=chosen.randint(12, 40))) for _ in range(20)])
    chunk = b"2026-01-31 12:00:00 INFO request 4711 to https://host.example/api took 17 ms\n" * 850
    stream = masks.stream()

    began = time.process_time()
    for _ in range(100):
        stream.feed(chunk)
    seconds = time.process_time() - began

    assert len(chunk) * 100 / seconds > 5e6, "it takes ten times as long as it should"
