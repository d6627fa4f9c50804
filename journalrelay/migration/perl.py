"""A reader of Perl assignments; it runs nothing.

It knows what settings are written with: scalars, elements and lists at the beginning of a line.
Documentation (perlpod(1)) and what stands below ``__END__`` is passed over, and so are comments.
The bodies of subs are kept as text, without comments.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from journalrelay.migration.perlvalue import Value, value_of

_ASSIGNMENT = re.compile(
    r"(?P<indent>\s*)(?:(?:my|our|local)\s+)?"
    r"(?P<sigil>[$@%])(?P<name>\w+)(?:\{\s*['\"]?(?P<key>\w+)['\"]?\s*\})?"
    r"\s*(?P<change>\*\*|\|\||&&|//|[-+.*/%x|&^])?=(?![=~])"
)
_SEVERAL = re.compile(r"(?:(?:my|our|local)\s*)?\(([^()]*)\)\s*=(?![=~])")
_SUB = re.compile(r"sub\s+(\w+)")
_REQUIRE = re.compile(r"\s*(?:require|do)\s*\(?\s*(['\"])(/[^'\"$@]+)\1")
_BLOCK = re.compile(r"(?:if|unless|foreach|for|while|BEGIN)\b")
_PASSED = re.compile(r"(?:use|no|my|package|openlog|setlogsock|\$_|1\s*;|return 1|\}|\{)")
_HELPERS = ("_", "ENV")
_LINES = 200  # of one value: none of the known ones has more
_POD, _CUT, _END = re.compile(r"=[A-Za-z]"), re.compile(r"=cut\b"), ("__END__", "__DATA__")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")


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
        if (found := _SEVERAL.match(line)) and self._wanted.intersection(
            re.findall(r"\w+", found[1])
        ):
            self._fault(at, "several settings are set at once")
            return self._behind(at)
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
            if found["change"]:
                raise ValueError(f"'{found['change']}=' is not read")
            value, length = value_of(rest, self._known)
        except ValueError as error:
            if known:
                self._fault(at, f"{name}: {error}")
            return self._behind(at)
        self._known[name] = value
        if known:
            self._keep(name, found["sigil"], value, at + 1)
        return self._behind_value(at + rest[:length].count("\n"), rest[length:])

    def _behind_value(self, at: int, rest: str) -> int:
        """Return the line at which it goes on: ``at`` when something more stands there."""
        left = _COMMENT.sub("", rest.partition("\n")[0]).strip()
        self._lines[at] = left
        return at if left else at + 1

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
