"""The value of a Perl expression, found without running it.

Strings, numbers, ``qw()``, ``qr//``, ``\\&name`` and earlier scalars; products, sums and
concatenations of them, and lists.
"""

import re
from collections.abc import Iterator, Mapping

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
    | (?P<single>'(?:[^'\\]|\\.)*') | (?P<double>"(?:[^"\\]|\\.)*")
    | (?P<words>qw\s*(?:\([^)]*\)|/[^/]*/|\{[^}]*\}))
    | (?P<pattern>qr\s*(?:/(?:[^/\\]|\\.)*/|\{(?:[^}\\]|\\.)*\})[a-z]*)
    | (?P<code>sub\s*\{[^{}]*\})
    | (?P<number>\d[\d_]*)(?![\w.]) | (?P<sub>\\&\w+)
    | (?P<scalar>\$\w+) | (?P<word>\w+)
    | (?P<mark>=>|[.,*+();])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "$": "$", "@": "@", "'": "'", "/": "/"}
_DEPTH = 10  # of parentheses: none of the known settings has more

Value = str | int | list["Value"]


def value_of(text: str, known: Mapping[str, Value]) -> tuple[Value, int]:
    """Return the value of an expression, and how much of ``text`` it and its semicolon are."""
    tokens = _Tokens(text, known)
    value = tokens.sum()
    tokens.take(";")
    return value, tokens.at


class _Tokens:
    """What is left of an expression. ValueError where it is none that is read."""

    def __init__(self, text: str, known: Mapping[str, Value]) -> None:
        self._left = self._split(text)
        self._known = known
        self._depth = self.at = 0
        self._step()

    def _split(self, text: str) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise ValueError(f"{text[at:].split(chr(10))[0][:40]!r} is not read")
            at = found.end()
            if found.lastgroup:
                yield found.lastgroup, found.group(), at
        raise ValueError("it has no end")

    def _step(self) -> None:
        self._kind, self._text, self._end = next(self._left)

    def take(self, mark: str) -> None:
        """Step over a mark, or raise."""
        if self._text != mark:
            raise ValueError(f"{self._text!r} is not read")
        self.at = self._end
        if mark != ";":
            self._step()

    def sum(self) -> Value:
        """Return a sum or a concatenation."""
        value = self._product()
        while self._text in (".", "+") and self._kind == "mark":
            mark = self._text
            self._step()
            other = self._product()
            if mark == "+" and isinstance(value, int) and isinstance(other, int):
                value += other
            elif mark == "." and not isinstance(value, list) and not isinstance(other, list):
                value = f"{value}{other}"
            else:
                raise ValueError(f"{mark!r} is not read here")
        return value

    def _product(self) -> Value:
        value = self._atom()
        while self._text == "*" and self._kind == "mark":
            self._step()
            other = self._atom()
            if not isinstance(value, int) or not isinstance(other, int):
                raise ValueError("'*' is not read here")
            value *= other
            if value > 10**12:
                raise ValueError(f"{value} is too much")
        return value

    def _atom(self) -> Value:
        kind, text = self._kind, self._text
        if text == "(":
            return self._list()
        if kind == "mark":
            raise ValueError(f"{text!r} is not read here")
        self._step()
        if kind == "number":
            return int(text.replace("_", ""))
        if kind == "single":
            return re.sub(r"\\([\\'])", r"\1", text[1:-1])
        if kind == "double":
            return self._interpolated(text[1:-1])
        if kind == "words":
            return list[Value](text[2:].strip()[1:-1].split())
        if kind == "pattern":
            return text[2:].strip().rstrip("abcdefghijklmnopqrstuvwxyz")[1:-1]
        if kind == "scalar" and not text.startswith("$DB_"):
            return self._scalar(text[1:])
        return text

    def _list(self) -> Value:
        self._depth += 1
        if self._depth > _DEPTH:
            raise ValueError("its parentheses lie too deep")
        self._step()
        items: list[Value] = []
        while self._text != ")":
            items.append(self.sum())
            if self._text not in (",", "=>", ")"):
                raise ValueError(f"{self._text!r} is not read")
            if self._text != ")":
                self._step()
        self._step()
        self._depth -= 1
        return items[0] if len(items) == 1 and isinstance(items[0], list) else items

    def _interpolated(self, text: str) -> str:
        def put(found: re.Match[str]) -> str:
            if found[1]:
                return _ESCAPES.get(found[1], "\\" + found[1])
            if found[2]:
                return str(self._scalar(found[2]))
            raise ValueError(f"{found.group()!r} is not read in a string")

        return re.sub(r"\\(.)|\$\{?(\w+)\}?|@\w", put, text)

    def _scalar(self, name: str) -> Value:
        value = self._known.get(name)
        if value is None or isinstance(value, list):
            raise ValueError(f"${name} is not known here")
        return value


def literal(body: str) -> Value | None:
    """Return the value that a sub consists of; None when it does more."""
    inside = body.partition("{")[2].rpartition("}")[0].strip().removeprefix("return ")
    try:
        return value_of(inside.rstrip(";") + ";", {})[0]
    except ValueError:
        return None
