"""Exercises that check themselves: see ./tour exercise, and docs/exercises/."""

from __future__ import annotations

import difflib
import fcntl
import filecmp
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import time

from tests.exercises import page, running
from tests.exercises.page import ROOT, Exercise

# A test puts the learner's files elsewhere.
ELSEWHERE = os.environ.get("EXERCISE_WORK")
WORK = pathlib.Path(ELSEWHERE).resolve() if ELSEWHERE else ROOT / "work"
TREE = WORK / "build" if ELSEWHERE else ROOT / "build" / "exercises"
PROGRESS = WORK / "progress.txt"
COMMANDS = ("check", "watch", "run", "hint", "answer", "reset", "skip")
WIDTH = 90


def die(text: str) -> None:
    print(f"tour exercise: {text}", file=sys.stderr)
    sys.exit(2)


# ---- What has been done --------------------------------------------------------------------------


class Progress:
    """One line for each exercise that has been begun: its name, its state, the hints shown."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.read()

    def read(self) -> None:
        self.lines = {}
        if PROGRESS.exists():
            for line in PROGRESS.read_text().splitlines():
                name, state, hints = line.split()
                self.lines[name] = [state, hints]

    def state(self, exercise: Exercise) -> str:
        return self.lines.get(exercise.name, [""])[0]

    def hints(self, exercise: Exercise) -> int:
        return int(self.lines.get(exercise.name, ["", "0"])[1])

    def note(self, exercise: Exercise, state: str, hints: int) -> None:
        """The one that was noted last is the last line. Another command may note something, too,
        while this one runs."""
        folder = os.open(make_work(), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self.read()
            self.lines.pop(exercise.name, None)
            self.lines[exercise.name] = [state, str(hints)]
            new = PROGRESS.with_suffix(".new")
            lines = [f"{name} {' '.join(rest)}\n" for name, rest in self.lines.items()]
            new.write_text("".join(lines))
            os.replace(new, PROGRESS)
        finally:
            os.close(folder)

    def current(self) -> str:
        """The name of what was begun last and is not done."""
        begun = [name for name, (state, _) in self.lines.items() if state == "begun"]
        return begun[-1] if begun else ""


def next_of(exercises: list[Exercise], progress: Progress) -> Exercise | None:
    """The first that is left after the one that was used last, or else the first of all."""
    used = list(progress.lines)[-1:]
    names = [each.name for each in exercises]
    start = names.index(used[0]) if used and used[0] in names else 0
    ordered = exercises[start:] + exercises[:start]
    waiting = (each for each in ordered if progress.state(each) not in ("done", "skipped"))
    return next(waiting, None)


def show_list(exercises: list[Exercise], progress: Progress) -> None:
    upcoming = next_of(exercises, progress)
    stage = ""
    for each in exercises:
        heading = "a whole server" if each.judged_as else each.stage
        if heading != stage:
            stage = heading
            print(f"\n{heading}")
        state = progress.state(each)
        if each is upcoming:
            state = f"{state or 'next'} >"
        minutes = f"{each.fields['minutes']} min"
        print(f"{state:>10} {each.number}  {each.title:48} {each.kind:16} {minutes:>7}")
    done = sum(1 for each in exercises if progress.state(each) == "done")
    print(f"\n{done} of {len(exercises)} are done.")
    if upcoming:
        print(f"Begin with ./tour exercise {upcoming.number}, or ./tour exercise next")


# ---- Saying it -----------------------------------------------------------------------------------


def plain(markdown: str) -> str:
    """The text as one reads it in a terminal: paragraphs are wrapped, blocks of code are not."""
    blocks: list[str] = []
    for part in re.split(r"(^```.*?^```$)", markdown, flags=re.S | re.M):
        if part.startswith("```"):
            code = "\n".join(part.splitlines()[1:-1])
            blocks.append(textwrap.indent(code, "    "))
            continue
        part = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, part)
        blocks += [wrapped(each) for each in re.split(r"\n\s*\n", part) if each.strip()]
    return "\n\n".join(blocks)


def link(found: re.Match[str]) -> str:
    words, target = found[1], found[2]
    if target.startswith("http"):
        return f"{words} ({target})"
    path, _, anchor = target.partition("#")
    place = (page.PAGES / path).resolve().relative_to(ROOT)
    return f"{words} ({place}{'#' + anchor if anchor else ''})"


def wrapped(paragraph: str) -> str:
    items = re.split(r"\n(?=- |\d+\. )", paragraph.strip("\n"))
    if re.match(r"(-|\d+\.) ", items[0]):
        return "\n".join(wrapped_item(item) for item in items)
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_on_hyphens=False,
                         break_long_words=False)  # fmt: skip


def wrapped_item(item: str) -> str:
    mark, words = item.split(" ", 1)
    return textwrap.fill(
        " ".join(words.split()),
        WIDTH,
        initial_indent=f"{mark} ",
        subsequent_indent=" " * (len(mark) + 1),
        break_on_hyphens=False,
        break_long_words=False,
    )


def indented(text: str) -> str:
    return textwrap.indent(text, "    ")


# ---- Beginning -----------------------------------------------------------------------------------


def folder_of(exercise: Exercise) -> pathlib.Path:
    return WORK / exercise.name


def shown(path: pathlib.Path) -> str:
    """As one types it in the folder of the tutorial."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def begin(exercise: Exercise, exercises: list[Exercise], progress: Progress) -> int:
    folder = folder_of(exercise)
    if not folder.exists():
        make_folder(exercise, folder)
        # For editors. Whether it can be built, check says.
        if exercise.needs_building and shutil.which("cmake"):
            workshop(exercises).configure()
    if progress.state(exercise) != "done":
        progress.note(exercise, "begun", progress.hints(exercise))
    show_task(exercise)
    return 0


def make_folder(exercise: Exercise, folder: pathlib.Path) -> None:
    """Makes it beside its place first, so that it is never there by half."""
    with tempfile.TemporaryDirectory(prefix=".new.", dir=make_work()) as name:
        new = pathlib.Path(name) / exercise.name
        if exercise.needs_building:
            page.make_start(exercise, new)
        else:
            new.mkdir()
            (new / "answer.txt").touch()
        new.rename(folder)


def make_work() -> pathlib.Path:
    """The folder for the learner's files. An editor finds there how each of them is compiled."""
    WORK.mkdir(parents=True, exist_ok=True)
    commands = WORK / "compile_commands.json"
    if not commands.is_symlink():
        commands.symlink_to(TREE / "compile_commands.json")
    return WORK


def show_task(exercise: Exercise) -> None:
    folder = shown(folder_of(exercise))
    minutes = exercise.fields["minutes"]
    print(f"\n{exercise.number}. {exercise.title}")
    print(f"{exercise.kind}, stage {exercise.stage[:2]}, about {minutes} minutes")
    print(f"read before: {plain(exercise.fields['needs'])}\n")
    print(plain(exercise.task))
    print()
    if exercise.kind == "predict it":
        print(f"Write your answer, a number or a word, into {folder}/answer.txt. Then:")
    else:
        print(f"The code is in {folder}/. To see it fail:")
    print(f"    ./tour exercise check {exercise.number}")
    if exercise.kind != "predict it":
        print("To have it checked whenever you save a file:")
        print(f"    ./tour exercise watch {exercise.number}")
        port = "8080" if exercise.judged_as else "--port 8080"
        print("To run it by hand, with its options:")
        print(f"    ./tour exercise run {exercise.number} {port}")
    print(f"If you are stuck: ./tour exercise hint {exercise.number}")


# ---- Judging -------------------------------------------------------------------------------------


def workshop(exercises: list[Exercise]) -> running.Workshop:
    """With the programs of all exercises that are there."""
    shop = running.Workshop(make_work(), TREE)
    programs = {
        each.name: each
        for each in exercises
        if each.needs_building and (folder_of(each) / "main.cpp").exists()
    }
    shop.register(programs)
    return shop


def check(exercise: Exercise, exercises: list[Exercise], progress: Progress) -> int:
    """0 if it is right, otherwise 1."""
    if not folder_of(exercise).exists():
        die(f"{exercise.number} is not begun yet: ./tour exercise {exercise.number}")
    was_done = progress.state(exercise) == "done"
    if not judge(exercise, exercises):
        if was_done:
            print(f"\n{exercise.number} was done. It stays done in the list.")
        return 1
    if was_done:
        print(f"\n{exercise.number} was done, and is still right.")
        return 0
    progress.note(exercise, "done", progress.hints(exercise))
    print(f"\n{exercise.number} is done. What you have learnt:\n")
    print(plain(exercise.learnt))
    upcoming = next_of(exercises, progress)
    if upcoming:
        print(f"\nNext is {upcoming.number}. {upcoming.title}: ./tour exercise next")
    return 0


def judge(exercise: Exercise, exercises: list[Exercise]) -> bool:
    if exercise.kind == "predict it":
        return judge_prediction(exercise)
    shop = workshop(exercises)
    print(f"Building {shown(folder_of(exercise))}/", flush=True)
    built = shop.build(exercise.name)
    if not built.passed:
        tell_compile_error(exercise, built.text)
        return False
    binaries = shop.binaries(exercise.name)
    if exercise.judged_as:
        return judge_as_stage(exercise, binaries / exercise.stage)
    print("Running its tests", flush=True)
    outcomes = running.run_tests(exercise, binaries)
    told = page.what_tests_do()
    for name, outcome in outcomes.items():
        print(f"{'passed' if outcome.passed else 'FAILED'}  {name}: a client {told[name]}")
        if not outcome.passed:
            print(indented(outcome.text))
    if not all(outcome.passed for outcome in outcomes.values()):
        tell_about(exercise)
        return False
    if exercise.kind == "make it cheaper" and not judge_count(exercise, binaries):
        return False
    print(f"Now the whole suite of stage {exercise.stage[:2]}, in up to a minute", flush=True)
    failed = running.run_suite(exercise, binaries)
    for name, outcome in failed.items():
        print(f"FAILED  {name}\n{indented(outcome.text)}")
    if failed:
        print("\nIts own tests pass. But these pass with the stage, and fail with your code.")
        return False
    if built.text:
        print(f"It all passes. The compiler warns, though:\n\n{indented(built.text)}")
    return True


def tell_compile_error(exercise: Exercise, text: str) -> None:
    if not exercise.compiles and is_untouched(exercise):
        print("\nIt does not compile, as expected: what you are to write is missing.\n")
    else:
        print("\nIt does not compile.\n")
    print(indented(text))


def tell_about(exercise: Exercise) -> None:
    """Whether nothing has changed yet, and then this is no surprise."""
    if is_untouched(exercise):
        print("\nThis is how it begins: you have not changed the code yet.")


def is_untouched(exercise: Exercise) -> bool:
    with tempfile.TemporaryDirectory(prefix="exercise.") as name:
        start = pathlib.Path(name) / exercise.name
        page.make_start(exercise, start)
        compared = filecmp.cmpfiles(start, folder_of(exercise), os.listdir(start), shallow=False)
        return not compared[1] and not compared[2]


def given_answer(exercise: Exercise) -> str:
    """As the learner means it: `Reset`. is reset."""
    path = folder_of(exercise) / "answer.txt"
    text = path.read_text() if path.exists() else ""
    return text.strip(" \t\n`'\".").lower()


def judge_prediction(exercise: Exercise) -> bool:
    given = given_answer(exercise)
    if not given:
        print(f"{shown(folder_of(exercise))}/answer.txt is empty. What do you predict?")
        return False
    print("Running the experiment", flush=True)
    try:
        found = running.run_experiment(exercise, ROOT / "build" / "bin" / exercise.stage)
    except running.ExperimentFailed as error:
        print(f"The experiment failed, which says nothing about your answer:\n\n{error}")
        return False
    if given.lower() == found.lower():
        print(f"You predicted {given}, and so it is.")
        return True
    print(f"You predicted {given}. That is not what happens. Think again, or ask for a hint.")
    print(f"The experiment is docs/exercises/{exercise.name}.py, if you want to watch it.")
    return False


def judge_count(exercise: Exercise, binaries: pathlib.Path) -> bool:
    try:
        found = running.run_experiment(exercise, binaries / exercise.stage)
    except running.ExperimentFailed as error:
        print(f"It could not be counted:\n\n{indented(str(error))}")
        return False
    cheap = int(found) <= exercise.at_most
    print(
        f"{'passed' if cheap else 'FAILED'}  {exercise.unit}: {found}; at most {exercise.at_most}"
    )
    if not cheap:
        tell_about(exercise)
    return cheap


def judge_as_stage(exercise: Exercise, program: pathlib.Path) -> bool:
    print(f"Trying it as ./tour try does, in a few minutes: {shown(program)}", flush=True)
    outcome = running.try_server(exercise, program)
    print(outcome.text)
    if not outcome.passed:
        tell_about(exercise)
    return outcome.passed


def watch(exercise: Exercise, exercises: list[Exercise], progress: Progress) -> int:
    """Judges it whenever a file of it is saved, until it is done."""
    if not folder_of(exercise).exists():
        die(f"{exercise.number} is not begun yet: ./tour exercise {exercise.number}")
    print(f"Save a file in {shown(folder_of(exercise))}/ to have it checked. Ctrl-C ends this.")
    before = times_of(exercise)
    while True:
        while (now := times_of(exercise)) == before:
            time.sleep(0.1)
        before = now
        print(f"\n---- {time.strftime('%H:%M:%S')} " + "-" * 40)
        if check(exercise, exercises, progress) == 0:
            return 0


def times_of(exercise: Exercise) -> dict[str, int]:
    """When each file of it was changed last. An editor may replace one at any moment."""
    times = {}
    for path in folder_of(exercise).glob("*"):
        try:
            times[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:
            pass
    return times


def run(exercise: Exercise, exercises: list[Exercise], options: list[str]) -> int:
    """Becomes the server."""
    if not exercise.needs_building:
        die(f"{exercise.number} is a question; its experiment is docs/exercises/{exercise.name}.py")
    if not folder_of(exercise).exists():
        die(f"{exercise.number} is not begun yet: ./tour exercise {exercise.number}")
    shop = workshop(exercises)
    print(f"Building {shown(folder_of(exercise))}/", file=sys.stderr, flush=True)
    built = shop.build(exercise.name)
    if not built.passed:
        tell_compile_error(exercise, built.text)
        return 1
    program = shop.binaries(exercise.name) / exercise.stage
    print(f"{shown(program)} {' '.join(options)}", file=sys.stderr, flush=True)
    os.execv(program, [str(program), *options])


# ---- Help ----------------------------------------------------------------------------------------


def hint(exercise: Exercise, progress: Progress) -> int:
    """One more with each call."""
    shown = min(progress.hints(exercise) + 1, len(exercise.hints))
    progress.note(exercise, progress.state(exercise) or "begun", shown)
    print(f"Hint {shown} of {len(exercise.hints)}:\n\n{plain(exercise.hints[shown - 1])}\n")
    if shown == len(exercise.hints):
        print(f"There are no more. The answer: ./tour exercise answer {exercise.number}")
    return 0


def answer(exercise: Exercise) -> int:
    """Shows it; puts nothing into the learner's folder, and nothing is done by that."""
    if exercise.kind == "predict it":
        print(plain(exercise.folds["Answer"]))
        return 0
    with tempfile.TemporaryDirectory(prefix="exercise.") as name:
        start, right = pathlib.Path(name) / "start", pathlib.Path(name) / "answer"
        page.make_start(exercise, start)
        page.make_answer(exercise, right)
        print("What has to change:\n")
        for path in sorted(right.iterdir()):
            print_difference(start / path.name, path)
    if "Answer" in exercise.folds:
        print(plain(exercise.folds["Answer"]))
    print("\nAnother solution may be as good: what your server does is judged, not its text.")
    return 0


def print_difference(before: pathlib.Path, after: pathlib.Path) -> None:
    old, new = (path.read_text().splitlines(keepends=True) for path in (before, after))
    difference = difflib.unified_diff(old, new, before.name, after.name)
    sys.stdout.writelines(difference)


def reset(exercise: Exercise, exercises: list[Exercise], progress: Progress) -> int:
    """Begins it anew. What was there is kept beside it."""
    folder = folder_of(exercise)
    if folder.exists():
        number = 1
        while (kept := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(kept)
        print(f"What you had is in {shown(kept)}/ now.")
    progress.note(exercise, "begun", 0)
    return begin(exercise, exercises, progress)


def skip(exercise: Exercise, exercises: list[Exercise], progress: Progress) -> int:
    progress.note(exercise, "skipped", progress.hints(exercise))
    upcoming = next_of(exercises, progress)
    after = f" Next is {upcoming.number}. {upcoming.title}." if upcoming else ""
    print(f"{exercise.number} is skipped. You can still do it later.{after}")
    return 0


# ---- The command ---------------------------------------------------------------------------------


def named(word: str, exercises: list[Exercise]) -> Exercise:
    for each in exercises:
        if word in (each.name, each.number, each.number.lstrip("0")):
            return each
    last = exercises[-1].number
    die(
        f"there is no exercise or command '{word}'; the exercises are 01 to {last}, "
        f"the commands {', '.join(COMMANDS)}"
    )
    raise AssertionError


def needed(exercise: Exercise, command: str) -> str:
    """What ./tour builds before this command can be run, or nothing."""
    if command not in ("check", "watch") or not folder_of(exercise).exists():
        return ""
    if exercise.kind != "predict it":
        return "stage_tests"
    return exercise.stage if command == "watch" or given_answer(exercise) else ""


def main(words: list[str]) -> int:
    exercises, progress = page.all_exercises(), Progress()
    if not words:
        show_list(exercises, progress)
        return 0
    asked = words[0] == "--needed"
    words = words[1:] if asked else words
    command = words[0] if words and words[0] in COMMANDS else ""
    rest = words[1:] if command else words
    options: list[str] = []
    if command == "run":
        first = 1 if rest and not rest[0].startswith("-") else 0
        rest, options = rest[:first], rest[first:]
    if len(rest) > 1:
        die(f"one exercise at a time, but got '{' '.join(rest)}'")
    if rest and rest[0] != "next":
        exercise = named(rest[0], exercises)
    elif rest or not progress.current():
        found = next_of(exercises, progress)
        if not found:
            print("You have done them all.")
            return 0
        exercise = found
    else:
        exercise = named(progress.current(), exercises)
    if asked:
        print(needed(exercise, command))
        return 0
    match command:
        case "check":
            return check(exercise, exercises, progress)
        case "watch":
            return watch(exercise, exercises, progress)
        case "run":
            return run(exercise, exercises, options)
        case "hint":
            return hint(exercise, progress)
        case "answer":
            return answer(exercise)
        case "reset":
            return reset(exercise, exercises, progress)
        case "skip":
            return skip(exercise, exercises, progress)
        case _:
            return begin(exercise, exercises, progress)


if __name__ == "__main__":
    # Python ignores it, and a server that is run would, too. Besides, ... | head may end early.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        sys.exit(main(sys.argv[1:]))
    except page.BadPage as error:
        die(str(error))
    except KeyboardInterrupt:
        print()
        sys.exit(130)
