"""A reader of Perl assignments; it runs nothing.

It knows what settings are written with: scalars, elements and lists at the beginning of a line,
whose values are strings, numbers, ``qw()``, ``qr//``, ``\\&name``, products, sums and
concatenations. Documentation (perlpod(1)) and what stands below ``__END__`` is passed over, and so
are comments. The bodies of subs are kept as text, without comments.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_ASSIGNMENT = re.compile(
    r"(?P<indent>\s*)(?:(?:my|our|local)\s+)?"
    r"(?P<sigil>[$@%])(?P<name>\w+)(?:\{\s*['\"]?(?P<key>\w+)['\"]?\s*\})?\s*=(?![=~])"
)
_SUB = re.compile(r"sub\s+(\w+)")
_REQUIRE = re.compile(r"\s*(?:require|do)\s*\(?\s*(['\"])(/[^'\"$@]+)\1")
_BLOCK = re.compile(r"(?:if|unless|foreach|for|while|BEGIN)\b")
_PASSED = re.compile(r"(?:use|no|my|package|openlog|setlogsock|\$_|1\s*;|return 1|\}|\{)")
_HELPERS = ("_", "ENV")
_LINES, _DEPTH = 200, 10  # of one value: none of the known ones has more
_POD, _CUT, _END = re.compile(r"=[A-Za-z]"), re.compile(r"=cut\b"), ("__END__", "__DATA__")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")
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

Value = str | int | list["Value"]


class Assignment(NamedTuple):
    """One setting: its name (an element of a hash as ``hash.key``), its value, and its line."""

    name: str
    value: Value
    line: int


class Sub(NamedTuple):
    """One subroutine: its body without comments, and its first line."""

    body: str
    line: int


class Fault(NamedTuple):
    """A line that could not be read, and why."""

    line: int
    text: str


class Script(NamedTuple):
    """What was read: ``program`` tells a whole program, whose other lines are no settings."""

    program: bool
    assignments: list[Assignment]
    subs: Mapping[str, Sub]
    required: list[tuple[str, int]]
    faults: list[Fault]


def read(text: str, wanted: frozenset[str]) -> Script:
    """Read Perl; of its assignments those to ``wanted`` names, and in a file that is no program
    all others are faults."""
    reader = _Reader(text, wanted)
    reader.read()
    return reader.script


class _Reader:
    def __init__(self, text: str, wanted: frozenset[str]) -> None:
        self._lines = _code(text)
        self._wanted = wanted
        self._known: dict[str, Value] = {}
        self.script = Script(bool(re.match(r"#!.*perl", text)), [], {}, [], [])
        self._subs: dict[str, Sub] = {}
        self.script = self.script._replace(subs=self._subs)

    def read(self) -> None:
        """Go through the lines."""
        at = 0
        while at < len(self._lines):
            at = self._statement(at)

    def _statement(self, at: int) -> int:
        """Read what begins at a line; return the first line behind it."""
        line = self._lines[at]
        if not line.strip() or line.lstrip().startswith("#"):
            return at + 1
        found = _ASSIGNMENT.match(line)
        if found:
            return self._assignment(at, found)
        if found := _SUB.match(line):
            return self._sub(at, found[1])
        if found := _REQUIRE.match(line):
            self.script.required.append((found[2], at + 1))
            return at + 1
        if line[0].isspace() or self.script.program:
            return at + 1
        if _BLOCK.match(line):
            return self._block(at)
        if not _PASSED.match(line):
            self._fault(at, "it is no assignment")
        return self._behind(at)

    def _assignment(self, at: int, found: re.Match[str]) -> int:
        name = found["name"] + (f".{found['key']}" if found["key"] else "")
        known = name in self._wanted or found["name"] in self._wanted
        helper = found["name"] in _HELPERS or found.group().lstrip().startswith("my")
        if not (known or helper or found["indent"] or self.script.program):
            self._fault(at, f"{name} is no setting that is known")
        if found["indent"]:
            if known and not self.script.program:
                self._fault(at, f"{name} is indented: it may be inside a block")
            return at + 1
        rest = "\n".join([self._lines[at][found.end() :], *self._lines[at + 1 : at + _LINES]])
        try:
            value, length = _value(rest, self._known)
        except ValueError as error:
            if known:
                self._fault(at, f"{name}: {error}")
            return self._behind(at)
        self._known[name] = value
        if known:
            self._keep(name, found["sigil"], value, at + 1)
        return at + 1 + rest[:length].count("\n")

    def _keep(self, name: str, sigil: str, value: Value, line: int) -> None:
        if sigil == "%" and isinstance(value, list):
            for key, item in zip(value[::2], value[1::2], strict=False):
                self.script.assignments.append(Assignment(f"{name}.{key}", item, line))
        else:
            self.script.assignments.append(Assignment(name, value, line))

    def _sub(self, at: int, name: str) -> int:
        end = self._closing(at)
        body = "\n".join(_COMMENT.sub("", line) for line in self._lines[at:end])
        self._subs[name] = Sub(body, at + 1)
        return end

    def _block(self, at: int) -> int:
        """Pass over a block; a setting in one is a fault, unless it is the customary search for
        a log file (``$file_tail{'name'} = $_``)."""
        end = self._closing(at)
        for number in range(at + 1, end):
            found = _ASSIGNMENT.match(self._lines[number])
            if found and found["name"] in self._wanted:
                rest = self._lines[number][found.end() :].strip()
                if rest not in ("$_;", "'.' if !defined $END_pat;"):
                    self._fault(number, f"{found['name']} is set inside a block")
        return end

    def _closing(self, at: int) -> int:
        """Return the line behind the brace that closes, at the beginning of a line, what ``at``
        opens; behind ``at`` itself when it closes there."""
        if self._lines[at].count("{") == self._lines[at].count("}") > 0:
            return at + 1
        for number in range(at + 1, len(self._lines)):
            if self._lines[number].startswith("}"):
                return number + 1
        self._fault(at, "its closing brace does not stand at the beginning of a line")
        return len(self._lines)

    def _behind(self, at: int) -> int:
        """Return the line behind the statement that begins at ``at``: its first end of a line
        with a semicolon or a brace."""
        for number in range(at, len(self._lines)):
            if _COMMENT.sub("", self._lines[number]).rstrip().endswith((";", "}", "{")):
                return number + 1
        return len(self._lines)

    def _fault(self, at: int, text: str) -> None:
        self.script.faults.append(Fault(at + 1, text))


def _code(text: str) -> list[str]:
    """Return the lines of Perl, those of its documentation empty."""
    lines, pod = [], False
    for line in text.splitlines():
        if line in _END:
            break
        if pod:
            pod = not _CUT.match(line)
            lines.append("")
        elif _POD.match(line):
            pod = True
            lines.append("")
        else:
            lines.append(line)
    return lines


def _value(text: str, known: Mapping[str, Value]) -> tuple[Value, int]:
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
        return _value(inside.rstrip(";") + ";", {})[0]
    except ValueError:
        return None
