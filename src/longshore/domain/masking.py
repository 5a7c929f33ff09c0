# SPDX-License-Identifier: Apache-2.0
"""Secret values, hidden as `***` in whatever leaves the machine.

A value is hidden in every form that programs commonly give it: as it is and line by line, escaped as JSON
or by Python, percent-encoded, in hexadecimal, and in base64 at every alignment (`user:` and then the value).
Forms that overlap or touch become one `***`.

How they are found: text is read as words of four bytes, and a form of at least seven bytes covers one of
them whole wherever it starts. Text without any such word, which is nearly all, is passed by one C loop.

    text    |2026|-01-|01 u|ser:|hunt|er22|    a form, hunter22, and its words by where it
                                 ~~~~          starts:  hunt, unte, nter, ter2
"""

import base64
import json
import re
import sys
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from urllib.parse import quote, quote_plus

MASK = b"***"
SHORTEST_VALUE = 4
SHORTEST_LINE = 8
_WORD = 4
_PIECE = 128
"""Forms longer than this are looked for in pieces: little is ever held back, and half a key is hidden too."""

Span = tuple[int, int]


class Masks:
    """The values to hide. `unmasked` counts those that are too short to be told from ordinary text."""

    __slots__ = ("_forms", "unmasked")

    def __init__(self, values: Sequence[str]) -> None:
        long_enough = [value for value in values if len(value.strip()) >= SHORTEST_VALUE]
        self.unmasked = len(values) - len(long_enough)
        whole = {form for value in long_enough for form in _forms(value)}
        forms = {piece for form in whole for piece in _pieces(form)}
        self._forms = _Forms(forms) if forms else None

    def __repr__(self) -> str:
        return f"Masks(unmasked={self.unmasked})"

    def mask(self, data: bytes) -> bytes:
        """A whole text with every form of every value replaced."""
        stream = self.stream()
        return stream.feed(data) + stream.flush()

    def mask_json(self, data: bytes) -> bytes:
        """The same for a JSON text, which stays one: `{"pin": 12345}` becomes `{"pin": "***"}`."""
        masked = self.mask(data)
        if masked == data or _is_json(masked) or not _is_json(data):
            return masked
        by_token = _TOKEN.sub(lambda found: self._mask_token(found[0]), data)
        return by_token if self.mask(by_token) == by_token else b'"' + MASK + b'"'

    def _mask_token(self, token: bytes) -> bytes:
        if not token.startswith(b'"'):
            return token if self.mask(token) == token else b'"' + MASK + b'"'
        text = json.loads(token).encode("utf-8", "surrogatepass")
        masked = self.mask(text)
        return token if masked == text else json.dumps(masked.decode("utf-8", "replace")).encode()

    def stream(self) -> "MaskStream":
        """A mask for text that arrives in chunks; cut anywhere, it comes out as the whole text would."""
        return MaskStream(self._forms)


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s"{}\[\],:]+')


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


class MaskStream:
    """One text on its way out. Only a tail that may become a secret is held back."""

    __slots__ = ("_covered", "_forms", "_tail")

    def __init__(self, forms: "_Forms | None") -> None:
        self._forms = forms
        self._tail = b""
        self._covered: int | None = None
        """How many bytes of the tail the last `***` stands for; None when other text has left after it."""

    @property
    def held(self) -> int:
        """How many bytes are held back."""
        return len(self._tail)

    def feed(self, data: bytes) -> bytes:
        """What may leave now."""
        if self._forms is None:
            return data
        text = self._tail + data if self._tail else data
        return self._leave(self._forms, text, self._forms.unfinished(text))

    def flush(self) -> bytes:
        """All that was held back: the text is at its end, or has waited long enough."""
        if self._forms is None:
            return b""
        return self._leave(self._forms, self._tail, len(self._tail))

    def _leave(self, forms: "_Forms", text: bytes, upto: int) -> bytes:
        """The text up to there, masked; what follows is the new tail.

        No form that starts before `upto` is cut off by the end of the text: `unfinished` sees to that.
        """
        shown = self._covered is not None
        before = [] if self._covered is None else [(0, self._covered)]
        spans = _merged([*before, *(span for span in forms.spans(text) if span[0] < upto)])
        pieces, at = [], 0
        for start, end in spans:
            pieces.append(text[at:start] if shown else text[at:start] + MASK)
            shown, at = False, end
        pieces.append(text[at:upto])
        self._covered = at - upto if spans and at >= upto else None
        self._tail = text[upto:]
        return b"".join(pieces)


class _Forms:
    """An index of byte strings: where they are in a text, and whether its end may be the start of one."""

    __slots__ = ("_by_word", "_heads", "_longest", "_sorted", "_step", "_words")

    def __init__(self, forms: set[bytes]) -> None:
        self._sorted = sorted(forms)
        self._longest = max(map(len, forms))
        self._step = next(step for step in (4, 2, 1) if min(map(len, forms)) >= step + _WORD - 1)
        self._heads = frozenset(form[:_WORD] for form in forms)
        self._by_word: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
        for form in self._sorted:
            for alignment in range(self._step):
                offset = self._rarest(form, alignment)
                self._by_word[_word(form, offset)].append((form, offset))
        self._words = frozenset(self._by_word)

    def _rarest(self, form: bytes, alignment: int) -> int:
        """Where in a form, near its start, the word is that other forms and ordinary text share least."""
        kinds = form.translate(_KINDS)

        def commonness(offset: int) -> int:
            mixture = len(set(kinds[offset : offset + _WORD]))
            return len(self._by_word.get(_word(form, offset), ())) - 4 * mixture

        last = min(len(form) - _WORD, alignment + _CANDIDATES * self._step)
        return min(range(alignment, last + 1, self._step), key=commonness)

    def spans(self, text: bytes) -> Iterator[Span]:
        """Every occurrence of every form, in no order."""
        for shift in range(0, _WORD, self._step):
            end = max(shift, len(text) - (len(text) - shift) % _WORD)
            words = array("I", text[shift:end])
            if self._words.isdisjoint(words):
                continue
            for at, word in enumerate(words):
                if word not in self._words:
                    continue
                for form, offset in self._by_word[word]:
                    start = shift + at * _WORD - offset
                    if start >= 0 and text.startswith(form, start):
                        yield start, start + len(form)

    def unfinished(self, text: bytes) -> int:
        """Where the longest end of the text begins that is the start of a form, but not all of it."""
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            head = text[at : at + _WORD]
            if (head in self._heads or len(head) < _WORD) and self._starts_a_form(text[at:]):
                return at
        return len(text)

    def _starts_a_form(self, part: bytes) -> bool:
        after = bisect_right(self._sorted, part)
        return after < len(self._sorted) and self._sorted[after].startswith(part)


_CANDIDATES = 8
_KINDS = bytes(1 if 97 <= b <= 122 else 2 if 65 <= b <= 90 else 3 if 48 <= b <= 57 else 4 for b in range(256))
"""Lower case, upper case, digits, others: a word of several kinds is rare."""


def _word(form: bytes, offset: int) -> int:
    return int.from_bytes(form[offset : offset + _WORD], sys.byteorder)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same places from left to right, those that overlap or touch as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _pieces(form: bytes) -> Iterator[bytes]:
    if len(form) <= _PIECE:
        yield form
        return
    for start in range(0, len(form) - _PIECE, _PIECE):
        yield form[start : start + _PIECE]
    yield form[-_PIECE:]


def _forms(value: str) -> Iterator[bytes]:
    """Every form of a value and of its lines, as bytes."""
    for text in {value, value.strip()}:
        raw = _bytes(text)
        yield from (_bytes(spelling) for spelling in _spellings(text))
        yield from (spelling.encode() for spelling in _percent_encoded(raw))
        yield from (raw.hex().encode(), raw.hex().upper().encode())
        yield from _base64(raw)
    lines = {line.strip() for line in value.splitlines()}
    for line in lines:
        if len(line) >= SHORTEST_LINE:
            yield from (_bytes(spelling) for spelling in _spellings(line))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _spellings(text: str) -> Iterator[str]:
    """A text inside of JSON, of JSON inside of JSON (a Lambda's `body`), and of what Python's print shows."""
    yield text
    for inner, outer in product((False, True), repeat=2):
        once = json.dumps(text, ensure_ascii=inner)[1:-1]
        twice = json.dumps(once, ensure_ascii=outer)[1:-1]
        yield from (once, twice, _U_ESCAPE.sub(_upper, once), _U_ESCAPE.sub(_upper, twice))
    yield from (repr(text)[1:-1], ascii(text)[1:-1], repr(_bytes(text))[2:-1])


def _percent_encoded(raw: bytes) -> Iterator[str]:
    """By urllib, by a browser's encodeURIComponent, as a form's field; digits in either case."""
    for encoded in (quote(raw), quote(raw, safe=""), quote(raw, safe="!'()*"), quote_plus(raw)):
        yield encoded
        yield _PERCENT.sub(lambda found: found[0].lower(), encoded)


_U_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_PERCENT = re.compile(r"%[0-9A-F]{2}")


def _upper(escape: re.Match[str]) -> str:
    return escape[0][:-4] + escape[0][-4:].upper()


def _base64(raw: bytes) -> Iterator[bytes]:
    """Both alphabets, after 0, 1 and 2 other bytes: what does not depend on the neighbours, and to the end.

    A value that is encoded alone may also come in lines of 64 (PEM) or 76 (MIME) characters.
    """
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        first, last = (8 * before + 5) // 6, 8 * (before + len(raw)) // 6
        found = [text[first:last], text[first:], text[first:].rstrip(b"=")]
        if before == 0:
            found += [text[at : at + width] for width in (64, 76) for at in range(0, len(text), width)]
        for form in found:
            if len(form) >= (SHORTEST_VALUE if form in found[:3] else SHORTEST_LINE):
                yield form
                yield form.translate(_URL_SAFE)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
