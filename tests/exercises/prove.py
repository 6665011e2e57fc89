"""Are the exercises what they say? Run: python3 -B -m tests.exercises.prove [--update|--sample N|NAME...]

Of every exercise: its page has all its parts, the tests that it names exist, and its patches fit. Of
those that are chosen, too: the start fails each test that is named, and the answer passes them and
the whole suite of the stage. --sample N chooses N of them: other ones after each commit. --update
writes the list of them into docs/exercises/README.md, and chooses none.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests.exercises import page, running
from tests.exercises.page import ROOT, Exercise

PLACE = ROOT / "build" / "exercises-proved"
suites: dict[tuple[str, str], list[str]] = {}  # what fails with the stage itself, so compiled


class NotProved(Exception):
    """The exercise does not do what it says."""


def chosen(words: list[str], exercises: list[Exercise]) -> list[Exercise]:
    if words[:1] == ["--sample"]:
        seed = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
        )

        def draw(each: Exercise) -> str:
            return hashlib.sha256((seed.stdout + each.name).encode()).hexdigest()

        quick = [each for each in exercises if not each.judged_as]  # that one takes minutes
        return sorted(sorted(quick, key=draw)[: int(words[1])], key=lambda each: each.name)
    return [each for each in exercises if not words or each.number in words or each.name in words]


def check_pages(exercises: list[Exercise]) -> None:
    """What can be seen without building anything."""
    listed = running.run([str(running.TESTS), "--gtest_list_tests"]).stdout
    names, suite = set(), ""
    for line in listed.splitlines():
        word = line.split("#")[0].strip()
        if not line.startswith(" "):
            suite = word
        else:
            names.add(suite + word)
    numbers = [each.number for each in exercises]
    if numbers != [f"{number:02}" for number in range(1, len(numbers) + 1)]:
        raise NotProved(f"the numbers are not 01 to {len(numbers)}: {numbers}")
    told = page.what_tests_do()
    for each in exercises:
        for test in each.tests:
            if test not in told:
                raise NotProved(f"{each.name}: tests.ini does not say what {test} does")
            if f"{test}/{each.stage}" not in names:
                raise NotProved(f"{each.name}: there is no test {test}/{each.stage}")
        with tempfile.TemporaryDirectory(prefix="prove.") as name:
            page.make_start(each, pathlib.Path(name) / "start")
            page.make_answer(each, pathlib.Path(name) / "answer")
            compare(each, pathlib.Path(name))


def table_of(exercises: list[Exercise]) -> str:
    """For the page that lists them."""
    rows = ["| exercise | stage | kind | minutes |", "| --- | --- | --- | --- |"]
    for each in exercises:
        link = f"[{each.number} {each.title}]({each.name}.md)"
        rows.append(f"| {link} | {each.stage[:2]} | {each.kind} | {each.fields['minutes']} |")
    return "\n".join(rows) + "\n"


def check_lessons(exercises: list[Exercise]) -> None:
    """Each lesson names its first and last exercise."""
    for stage in page.STAGES:
        own = [each.number for each in exercises if each.stage == stage and not each.judged_as]
        right = f"[Exercises {own[0]} to {own[-1]}](exercises/README.md)"
        if right not in (ROOT / "docs" / f"{stage}.md").read_text():
            raise NotProved(f"docs/{stage}.md does not say: {right}")


def check_list(exercises: list[Exercise], update: bool) -> None:
    """README.md ends with the list of all."""
    path = page.PAGES / "README.md"
    text, mark, _ = path.read_text().partition("| exercise |")
    right = text + table_of(exercises)
    if path.read_text() == right:
        return
    if not update:
        raise NotProved(f"{path} does not list what is there; prove --update writes the list")
    path.write_text(right)


def compare(exercise: Exercise, folder: pathlib.Path) -> None:
    """The start is not the answer."""
    same = all(
        path.read_bytes() == (folder / "answer" / path.name).read_bytes()
        for path in (folder / "start").iterdir()
    )
    if same and exercise.needs_building:
        raise NotProved(f"{exercise.name}: its start is its answer")


def prove(exercise: Exercise, shop: running.Workshop) -> None:
    if exercise.kind == "predict it":
        found = running.run_experiment(exercise, ROOT / "build" / "bin" / exercise.stage)
        if found != exercise.prediction:
            raise NotProved(f"the experiment says {found}, the page {exercise.prediction}")
        return
    built = shop.build(f"{exercise.name}.start")
    if built.passed != exercise.compiles:
        raise NotProved(f"the start {'compiles' if built.passed else f'fails: {built.text}'}")
    if exercise.compiles:
        prove_start(exercise, shop.binaries(f"{exercise.name}.start"))
    built = shop.build(f"{exercise.name}.answer")
    if not built.passed or built.text:
        raise NotProved(f"the answer does not compile without a warning:\n{built.text}")
    prove_answer(exercise, shop.binaries(f"{exercise.name}.answer"))


def prove_start(exercise: Exercise, binaries: pathlib.Path) -> None:
    if exercise.judged_as:
        if running.try_server(exercise, binaries / exercise.stage).passed:
            raise NotProved("the start passes")
        return
    outcomes = running.run_tests(exercise, binaries)
    if exercise.kind == "make it cheaper":  # it is right, and expensive
        failed = [name for name, outcome in outcomes.items() if not outcome.passed]
        count = int(running.run_experiment(exercise, binaries / exercise.stage))
        if failed or count <= exercise.at_most:
            raise NotProved(f"the start costs {count} {exercise.unit}, and fails {failed}")
        return
    passed = [name for name, outcome in outcomes.items() if outcome.passed]
    if passed or not outcomes:
        raise NotProved(f"the start passes {passed}")


def prove_answer(exercise: Exercise, binaries: pathlib.Path) -> None:
    if exercise.judged_as:
        outcome = running.try_server(exercise, binaries / exercise.stage)
        if not outcome.passed:
            raise NotProved(f"the answer fails:\n{outcome.text}")
        return
    outcomes = running.run_tests(exercise, binaries)
    for name, outcome in outcomes.items():
        if not outcome.passed:
            raise NotProved(f"the answer fails {name}:\n{outcome.text}")
    if exercise.kind == "make it cheaper":
        count = int(running.run_experiment(exercise, binaries / exercise.stage))
        if count > exercise.at_most:
            raise NotProved(f"the answer costs {count} {exercise.unit}")
    failed = failures_of_suite(exercise, binaries)
    if failed:
        raise NotProved("the answer fails in the suite of the stage:\n" + "\n".join(failed))


def failures_of_suite(exercise: Exercise, binaries: pathlib.Path) -> list[str]:
    """Most answers are the stage itself: its suite is run once."""
    key = (exercise.stage, exercise.flags)
    own = exercise.beside(".answer.patch").exists()
    if own or key not in suites:
        found = running.run_suite(exercise, binaries)
        failed = [f"{name}:\n{outcome.text}" for name, outcome in found.items()]
        if own:
            return failed
        suites[key] = failed
    return suites[key]


def main(words: list[str]) -> int:
    exercises = page.all_exercises()
    check_list(exercises, words == ["--update"])
    check_lessons(exercises)
    check_pages(exercises)
    print(f"{len(exercises)} pages have their parts, and their patches fit.", flush=True)
    if words == ["--update"]:
        return 0
    some = chosen(words, exercises)
    work = PLACE / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shop = running.Workshop(work, PLACE / "tree")
    programs: dict[str, Exercise] = {}
    for each in some:
        if each.needs_building:
            page.make_start(each, work / f"{each.name}.start")
            page.make_answer(each, work / f"{each.name}.answer")
            programs |= {f"{each.name}.start": each, f"{each.name}.answer": each}
    shop.register(programs)
    bad = 0
    for each in some:
        begin = time.monotonic()
        try:
            prove(each, shop)
            print(f"proved      {each.name} ({time.monotonic() - begin:.0f} s)", flush=True)
        except (NotProved, running.ExperimentFailed) as error:
            print(f"NOT PROVED  {each.name}: {error}", flush=True)
            bad += 1
    print(f"{len(some) - bad} of {len(some)} exercises are what they say.")
    return 1 if bad or not some else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (page.BadPage, NotProved, subprocess.CalledProcessError) as error:
        sys.exit(f"prove: {error}")
