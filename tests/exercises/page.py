"""An exercise: what its page in docs/exercises/ says, and the code that it starts with."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "exercises"
MISTAKES = ROOT / "tests" / "mistakes"
FOLDERS = {path.name: path for path in [*ROOT.glob("[0-9][0-9]_*"), *ROOT.glob("beyond/[0-9]*")]}
STAGES = sorted(FOLDERS)
KINDS = ("find it", "write it", "predict it", "make it cheaper")
FIELDS = ("stage", "kind", "tests", "minutes", "needs", "start", "at most")


class BadPage(Exception):
    """The page does not have the form that it must have."""


@dataclasses.dataclass
class Exercise:
    name: str  # 08_name
    title: str
    fields: dict[str, str]
    task: str
    folds: dict[str, str]  # what is folded away, by its title

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def stage(self) -> str:
        return self.fields["stage"]

    @property
    def kind(self) -> str:
        return self.fields["kind"]

    @property
    def tests(self) -> list[str]:
        """The tests that judge it, without the stage; none where something else does."""
        return re.findall(r"`(\w+\.\w+)`", self.fields.get("tests", ""))

    @property
    def hints(self) -> list[str]:
        return [text for title, text in self.folds.items() if title.startswith("Hint")]

    @property
    def learnt(self) -> str:
        return self.folds["What you have learnt"]

    @property
    def prediction(self) -> str:
        """The answer to a question: the first line of its fold."""
        return self.folds["Answer"].splitlines()[0].strip()

    @property
    def at_most(self) -> int:
        """How much it may cost: "3 calls of recv()"."""
        return int(self.fields["at most"].split()[0])

    @property
    def unit(self) -> str:
        return self.fields["at most"].split(" ", 1)[1].replace("`", "")

    @property
    def needs_building(self) -> bool:
        return self.kind != "predict it"

    @property
    def judged_as(self) -> str:
        """The stage as which ./tour try judges it, or nothing."""
        found = re.fullmatch(r"`./tour try --as (\d\d)`", self.fields.get("tests", ""))
        return found[1] if found else ""

    @property
    def compiles(self) -> bool:
        """Whether the start does. It does not where a function is gone altogether."""
        return not self.fields["start"].startswith("lacking ")

    @property
    def mistake(self) -> pathlib.Path | None:
        """The patch with the mistake that is to be found."""
        found = re.fullmatch(r"mistake (\d+)", self.fields["start"])
        if not found:
            return None
        return next(MISTAKES.glob(f"{int(found[1]):02}_*.patch"))

    @property
    def flags(self) -> str:
        """How it is compiled: see CMakeLists.txt."""
        if not self.mistake:
            return "plain"
        found = re.search(r"^Build: (\w+)$", self.mistake.read_text(), re.MULTILINE)
        return found[1] if found else "plain"

    def beside(self, ending: str) -> pathlib.Path:
        """A file that belongs to the page: 08_name.py."""
        return PAGES / f"{self.name}{ending}"


def read_page(path: pathlib.Path) -> Exercise:
    text = path.read_text()

    def need(found: re.Match[str] | None, what: str) -> re.Match[str]:
        if not found:
            raise BadPage(f"{path}: {what}")
        return found

    title = need(re.match(r"# (\d\d)\. (.+)\n", text), "it begins with '# NN. Title'")
    if title[1] != path.name[:2]:
        raise BadPage(f"{path}: its title has the number {title[1]}")
    fields = dict(re.findall(r"^- ([a-z ]+): (.+)$", text.split("\n## ")[0], re.MULTILINE))
    task = need(re.search(r"^## Task\n\n(.*?)\n\n<details>", text, re.S | re.M), "no '## Task'")
    fold = r"<details><summary>(.+?)</summary>\n\n(.*?)\n\n</details>"
    exercise = Exercise(path.stem, title[2], fields, task[1], dict(re.findall(fold, text, re.S)))
    complain_about(exercise, path)
    return exercise


def complain_about(exercise: Exercise, path: pathlib.Path) -> None:
    """Throws BadPage if something is missing."""
    fields = exercise.fields
    needed = ["stage", "kind", "minutes", "needs", "start"]
    if exercise.kind != "predict it":
        needed.append("tests")
    if exercise.kind == "make it cheaper":
        needed.append("at most")
    missing = [name for name in needed if name not in fields]
    unknown = [name for name in fields if name not in FIELDS]
    if missing or unknown:
        raise BadPage(f"{path}: its head lacks {missing}, and has {unknown}, which is not known")
    if exercise.stage not in STAGES or exercise.kind not in KINDS:
        raise BadPage(f"{path}: there is no stage '{exercise.stage}' or kind '{exercise.kind}'")
    if len(exercise.hints) != 3 or "What you have learnt" not in exercise.folds:
        raise BadPage(f"{path}: three hints and 'What you have learnt' are folded away")
    if exercise.kind == "predict it" and "Answer" not in exercise.folds:
        raise BadPage(f"{path}: a question has its answer folded away")
    if exercise.kind in ("predict it", "make it cheaper") and not exercise.beside(".py").exists():
        raise BadPage(f"{path}: its experiment is missing: {exercise.beside('.py')}")


def what_tests_do() -> dict[str, str]:
    """Of each test that judges an exercise: "sends a request, and …"."""
    found: dict[str, str] = {}
    for path in (ROOT / "tests/exercises/tests.ini", ROOT / "tests/try/tests.ini"):
        found |= dict(re.findall(r"^(\w+\.\w+) = (.+)$", path.read_text(), re.MULTILINE))
    return found


def all_exercises() -> list[Exercise]:
    """In order."""
    return [read_page(path) for path in sorted(PAGES.glob("[0-9][0-9]_*.md"))]


# ---- The code ------------------------------------------------------------------------------------


def make_start(exercise: Exercise, folder: pathlib.Path) -> None:
    """Makes the folder, with the code that the learner gets."""
    make_stage(exercise, folder)
    start = exercise.fields["start"]
    if exercise.mistake:
        apply(exercise.mistake, folder, without_remarks=True)
    elif start == "a patch":
        apply(exercise.beside(".start.patch"), folder)
    elif start == "the bare program":
        shutil.copy(FOLDERS[exercise.stage] / "bare.cpp", folder / "main.cpp")
    elif start.startswith(("without ", "lacking ")):
        left = without_body if start.startswith("without ") else without_function
        for name, function in re.findall(r"`[\w/]+/([\w.]+):([\w:]+)`", start):
            path = folder / name
            path.write_text(left(path.read_text(), function))
    elif start != "the stage":
        raise BadPage(f"{exercise.name}: the start '{start}' is of no known kind")


def make_answer(exercise: Exercise, folder: pathlib.Path) -> None:
    """Makes the folder, with code that solves the exercise."""
    make_stage(exercise, folder)
    if exercise.beside(".answer.patch").exists():
        apply(exercise.beside(".answer.patch"), folder)


def make_stage(exercise: Exercise, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    stage = FOLDERS[exercise.stage]
    for path in [*sorted(stage.glob("*.h")), stage / "main.cpp"]:
        shutil.copy(path, folder)


def apply(patch: pathlib.Path, folder: pathlib.Path, without_remarks: bool = False) -> None:
    """Remarks behind new code tell what is wrong with it."""
    text = patch.read_text()
    if without_remarks:
        text = re.sub(r"^(\+.*\S) // .*$", r"\1", text, flags=re.MULTILINE)
    named = re.search(r"^--- (a/.*/)", text, re.MULTILINE)
    folders = named[1].count("/") if named else 0
    command = ["patch", "--quiet", "--fuzz=0", f"--strip={folders}", f"--directory={folder}"]
    subprocess.run(command, input=text, text=True, check=True)


def without_body(text: str, function: str) -> str:
    """The text of a file, in which the body of this function (Class::name, or name) is gone."""
    lines = text.splitlines()
    begin, opening, closing = place_of(lines, function)
    indent = " " * (len(lines[closing]) - 1)
    name = function.rpartition("::")[2]
    returned = re.sub(r"\[\[\w+\]\] |\bstatic |\binline ", "", lines[begin].strip())
    returned = returned.split(name + "(")[0].strip()
    body = [f"{indent}    // Write this."]
    if returned != "void":
        body.append(f"{indent}    return {something(returned)};")
    return "\n".join([*lines[: opening + 1], *body, *lines[closing:]]) + "\n"


def without_function(text: str, function: str) -> str:
    """The text of a file, in which only the comment of this function is left."""
    lines = text.splitlines()
    begin, _, closing = place_of(lines, function)
    return "\n".join([*lines[:begin], *lines[closing + 1 :]]) + "\n"


def place_of(lines: list[str], function: str) -> tuple[int, int, int]:
    """Where its signature begins, and the lines with the two braces."""
    owner, _, name = function.rpartition("::")
    first = 0
    if owner:
        first = next(i for i, line in enumerate(lines) if line == f"class {owner} {{")
    signature = re.compile(rf"^( *)((?:\[\[nodiscard\]\] )?[\w:&<> ]+ )?{name}\(.*[^;]$")
    begin = next(i for i in range(first, len(lines)) if begins(lines[i], signature))
    opening = next(i for i in range(begin, len(lines)) if lines[i].endswith("{"))
    end = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())] + "}"
    closing = next(i for i in range(opening, len(lines)) if lines[i] == end)
    return begin, opening, closing


def begins(line: str, signature: re.Pattern[str]) -> bool:
    found = signature.match(line)
    return bool(found and found[2] and found[2].strip() not in ("return", "throw", "else"))


def something(returned: str) -> str:
    """Something of this type."""
    return {"bool": "false", "int": "0", "ssize_t": "0"}.get(returned, f"{returned}()")
