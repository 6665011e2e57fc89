"""Where a source can be changed in one place, found in its syntax tree (libclang)."""

import dataclasses
import hashlib
import pathlib
import re
import subprocess
from collections.abc import Iterator

from clang import cindex  # type: ignore[import]

Kind = cindex.CursorKind
FUNCTIONS = (Kind.FUNCTION_DECL, Kind.CXX_METHOD, Kind.CONSTRUCTOR, Kind.DESTRUCTOR)

LIBRARY = "/usr/lib/llvm-14/lib/libclang-14.so.1"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: in this file, the bytes from `begin` to `end` become `text`."""

    file: str  # its name in the stage's folder
    line: int
    begin: int
    end: int
    text: str
    kind: str  # "a statement dropped", …
    before: str  # what stands there, on one line
    place: str  # the function around it, and the line where the change is a part of one

    @property
    def name(self) -> str:
        """Stays the same as long as the place and the change do, wherever they stand in the file."""
        what = f"{self.file}|{self.kind}|{self.before}|{self.text}|{self.begin}"
        return hashlib.sha1(what.encode()).hexdigest()[:10]

    @property
    def change(self) -> str:
        """The change in words, without the line's number: so it is the same in all stages that share
        the text."""
        return f"{self.file}, {self.place}: {self.kind}: {self.before} -> {one_line(self.text)}"

    def __str__(self) -> str:
        return f"line {self.line} of {self.change}"


def one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 90 else words[:87] + "..."


def parse(main: pathlib.Path) -> cindex.TranslationUnit:
    if not cindex.Config.loaded:
        cindex.Config.set_library_file(LIBRARY)
    folder = subprocess.run(
        ["clang++-14", "-print-resource-dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    flags = ["-std=c++20", "-x", "c++", "-isystem", f"{folder}/include"]
    unit = cindex.Index.create().parse(str(main), args=flags)
    errors = [problem.spelling for problem in unit.diagnostics if problem.severity >= 3]
    if errors:
        raise RuntimeError(f"{main} does not compile: {errors[0]}")
    return unit


class Finder:
    """All mutants of some files of one translation unit."""

    def __init__(self, main: pathlib.Path, files: set[str]) -> None:
        self.files = files
        self.folder = main.parent
        self.sources = {name: (self.folder / name).read_bytes() for name in files}
        self.found: dict[str, Mutant] = {}
        self.function = ""  # that the walk is in
        for cursor in parse(main).cursor.get_children():
            self._walk(cursor, [])

    def mutants(self) -> list[Mutant]:
        return sorted(
            self.found.values(), key=lambda mutant: (mutant.file, mutant.begin, mutant.text)
        )

    # ---- The places ------------------------------------------------------------------------------

    def _file_of(self, cursor: cindex.Cursor) -> str | None:
        place = cursor.extent.start.file
        if place is None or pathlib.Path(place.name).parent != self.folder:
            return None
        name = pathlib.Path(place.name).name
        return name if name in self.files else None

    def _text(self, file: str, begin: int, end: int) -> str:
        return self.sources[file][begin:end].decode()

    def _text_of(self, cursor: cindex.Cursor) -> str:
        file = self._file_of(cursor)
        assert file
        return self._text(file, cursor.extent.start.offset, cursor.extent.end.offset)

    def _add(
        self, cursor: cindex.Cursor, kind: str, text: str, span: tuple[int, int] | None = None
    ) -> None:
        file = self._file_of(cursor)
        if file is None:
            return
        begin, end = span or (cursor.extent.start.offset, cursor.extent.end.offset)
        before = self._text(file, begin, end)
        if before == text:
            return
        line = self.sources[file][:begin].count(b"\n") + 1
        place = self.function or "at the top"
        if len(before) < 20:
            place += f", in {self.sources[file].splitlines()[line - 1].decode().strip()}"
        mutant = Mutant(file, line, begin, end, text, kind, one_line(before), place)
        self.found.setdefault(mutant.name, mutant)

    def _walk(self, cursor: cindex.Cursor, parents: list[cindex.Cursor]) -> None:
        if cursor.location.file and self._file_of(cursor) is None:
            return
        if self._file_of(cursor):
            self._visit(cursor, parents)
        around = self.function
        if cursor.kind in FUNCTIONS:
            self.function = f"{cursor.spelling}()"
        for child in cursor.get_children():
            self._walk(child, [*parents, cursor])
        self.function = around

    def _visit(self, cursor: cindex.Cursor, parents: list[cindex.Cursor]) -> None:
        kind = cursor.kind
        if kind == Kind.COMPOUND_STMT:
            self._statements(cursor, parents)
        elif kind in (Kind.IF_STMT, Kind.WHILE_STMT):
            self._condition(cursor)
        elif kind == Kind.BINARY_OPERATOR:
            self._operator(cursor)
        elif kind == Kind.INTEGER_LITERAL:
            self._number(cursor)
        elif kind == Kind.CXX_BOOL_LITERAL_EXPR:
            opposite = {"true": "false", "false": "true"}
            if text := opposite.get(self._text_of(cursor)):
                self._add(cursor, "true for false", text)
        elif kind == Kind.DECL_REF_EXPR and cursor.referenced is not None:
            self._enumerator(cursor)

    # ---- Each kind -------------------------------------------------------------------------------

    def _statement_span(self, cursor: cindex.Cursor) -> tuple[int, int]:
        """With the semicolon, where it has one."""
        file = self._file_of(cursor)
        assert file
        begin, end = cursor.extent.start.offset, cursor.extent.end.offset
        rest = re.match(rb"\s*;", self.sources[file][end:])
        return begin, end + (rest.end() if rest else 0)

    def _statements(self, block: cindex.Cursor, parents: list[cindex.Cursor]) -> None:
        statements = [child for child in block.get_children() if self._file_of(child)]
        plain = [child.kind.is_expression() for child in statements]
        for place, statement in enumerate(statements):
            span = self._statement_span(statement)
            if statement.kind == Kind.RETURN_STMT:
                if parents and parents[-1].kind in (Kind.IF_STMT, Kind.WHILE_STMT, Kind.FOR_STMT):
                    self._add(statement, "an early return dropped", ";", span)
            elif statement.kind not in (Kind.DECL_STMT, Kind.COMPOUND_STMT, Kind.NULL_STMT):
                self._add(statement, "a statement dropped", ";", span)
            if place + 1 < len(statements) and plain[place] and plain[place + 1]:
                self._swap(statement, statements[place + 1])

    def _swap(self, first: cindex.Cursor, second: cindex.Cursor) -> None:
        file = self._file_of(first)
        if file is None or file != self._file_of(second):
            return
        (a, b), (c, d) = self._statement_span(first), self._statement_span(second)
        text = self._text(file, c, d) + self._text(file, b, c) + self._text(file, a, b)
        self._add(first, "two statements swapped", text, (a, d))

    def _condition(self, statement: cindex.Cursor) -> None:
        children = list(statement.get_children())
        condition = next((child for child in children if child.kind.is_expression()), None)
        if condition is None or self._file_of(condition) is None:
            return
        text = self._text_of(condition)
        if text in ("true", "false", ""):
            return
        self._add(condition, "a condition negated", f"!({text})")
        self._add(condition, "a condition made true", "true")
        self._add(condition, "a condition made false", "false")

    def _operator(self, cursor: cindex.Cursor) -> None:
        left, right = list(cursor.get_children())[:2]
        file = self._file_of(cursor)
        if file is None or self._file_of(left) != file or self._file_of(right) != file:
            return
        begin, end = left.extent.end.offset, right.extent.start.offset
        between = self._text(file, begin, end)
        operator = between.strip()
        others = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
        others |= {"&&": "||", "||": "&&", "+": "-", "-": "+"}
        if operator in others:
            place = self.sources[file].index(operator.encode(), begin)
            self._add(cursor, "another operator", others[operator], (place, place + len(operator)))
        if operator == "|":
            self._add(cursor, "a flag dropped", self._text_of(left))
            self._add(cursor, "a flag dropped", self._text_of(right))

    def _number(self, cursor: cindex.Cursor) -> None:
        text = self._text_of(cursor)
        found = re.fullmatch(r"([0-9][0-9']*)([a-zA-Z]*)", text)
        if not found or (found[1].startswith("0") and len(found[1]) > 1):
            return
        value = int(found[1].replace("'", ""))
        others = {value + 1, value - 1, 2 * value} - {value, -1}
        for other in sorted(others):
            self._add(cursor, "another number", f"{other}{found[2]}")

    def _enumerator(self, cursor: cindex.Cursor) -> None:
        constant = cursor.referenced
        if constant.kind != Kind.ENUM_CONSTANT_DECL or self._file_of(constant) is None:
            return
        names = [each.spelling for each in constant.semantic_parent.get_children()]
        other = names[(names.index(constant.spelling) + 1) % len(names)]
        text = self._text_of(cursor)
        self._add(cursor, "another enumerator", text[: len(text) - len(constant.spelling)] + other)


def mutants_of(folder: pathlib.Path, files: set[str]) -> Iterator[Mutant]:
    """Those of these files of a stage, in the order of the text."""
    yield from Finder(folder / "main.cpp", files).mutants()
