#!/usr/bin/python3
"""Makes one-change mutants of the stages, and says which of them the tests of behaviour notice.

./tour mutate                      all of them: many hours. Interrupt it; it goes on where it was
./tour mutate --sample 20          20 of all, drawn with --seed
./tour mutate 06 --sample 200      200 of stage 06
./tour mutate common               those of common.h and console.h
./tour mutate 06 --list            what they are, without running them
./tour mutate 06 --only NAME       one of them again, with the test that notices it

Each mutant is compiled, and the tests of its stage run, the quickest first, until one fails. What
comes out is kept in build/mutants/, by the mutant's name, for as long as its source is the same.
A change that nobody outside could notice is named in equivalent.md, with the reason, and does not
count. Where at least 200 mutants of one target, or all, are known, their score goes into
docs/reference/mutation_scores.md. It ends with 1 where fewer than 95 % are caught
(of a small sample, all but one).
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from tests.mutants import sites

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutants"
TESTS = ROOT / "build" / "bin" / "stage_tests"
STAGES = sorted(path.name for path in ROOT.glob("[0-9][0-9]_*"))
COMMON = {"common.h", "console.h"}
COMMON_STAGES = ["06_epoll_level", "03_threaded", "01_blocking_single"]
SCORES = ROOT / "docs" / "reference" / "mutation_scores.md"
LEAST = 95  # percent that must be caught
MANY = 200  # mutants: with fewer there is no score
# clang can compile what a header defines once, for all mutants: a tenth of the time.
COMPILER = ["clang++-14", "-std=c++20", "-pthread", "-w"]
LIBRARIES = WORK / "libraries.pch"
# What reads the sources, or says nothing about one stage's behaviour.
LEFT_OUT = ["HouseStyle*", "Steps*", "Standalone.*", "RealClientsAtOnce.*", "*_bare"]


# ---- One stage -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Target:
    """What is mutated: these files of a stage, tested on these stages."""

    name: str  # "06_epoll_level", or "common"
    folder: pathlib.Path
    files: set[str]
    tested_on: list[str]

    def mutants(self) -> list[sites.Mutant]:
        return list(sites.mutants_of(self.folder, self.files))

    def digest(self) -> str:
        """Of all sources that the outcome depends on."""
        digest = hashlib.sha1()
        for path in sorted(self.folder.glob("*.h")) + [self.folder / "main.cpp"]:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:10]


def target_named(word: str) -> Target:
    if word == "common":
        return Target("common", ROOT / COMMON_STAGES[0], COMMON, COMMON_STAGES)
    found = [stage for stage in STAGES if stage.startswith(word) or stage.startswith(f"0{word}")]
    if len(found) != 1:
        sys.exit(f"mutate: there is no stage '{word}': {', '.join(STAGES)}, or common")
    folder = ROOT / found[0]
    files = {path.name for path in [*folder.glob("*.h"), folder / "main.cpp"]} - COMMON
    return Target(found[0], folder, files, found)


# ---- Building ------------------------------------------------------------------------------------


def precompile() -> None:
    """The headers of libraries, which take most of the time to compile: read once, and what they
    define compiled once, into an object file of its own."""
    header = WORK / "libraries.h"
    names = {
        line
        for source in ROOT.glob("[0-9]*/*.[hc]*")
        for line in re.findall(r"^#include <.*>$", source.read_text(), re.MULTILINE)
    }
    text = "\n".join([f"// {' '.join(COMPILER)}", *sorted(names)]) + "\n"
    if LIBRARIES.with_suffix(".o").exists() and header.read_text() == text:
        return
    WORK.mkdir(parents=True, exist_ok=True)
    header.write_text(text)
    read_once = ["-x", "c++-header", "-fpch-instantiate-templates", "-fpch-codegen"]
    subprocess.run([*COMPILER, *read_once, str(header), "-o", str(LIBRARIES)], check=True)
    compile_once = [*COMPILER, "-O1", "-c", str(LIBRARIES)]
    subprocess.run([*compile_once, "-o", str(LIBRARIES.with_suffix(".o"))], check=True)


def build(stage: str, mutant: sites.Mutant | None, into: pathlib.Path) -> bool:
    """Compiles a stage, with the mutant in it if there is one."""
    copy = into / "source" / stage
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / stage, copy)
    if mutant:
        path = copy / mutant.file
        text = path.read_bytes()
        path.write_bytes(text[: mutant.begin] + mutant.text.encode() + text[mutant.end :])
    command = [*COMPILER, "-include-pch", str(LIBRARIES), "main.cpp", "-x", "none"]
    # Without --gc-sections, parts of <filesystem> that nobody calls would be missed.
    command += [str(LIBRARIES.with_suffix(".o")), "-Wl,--gc-sections", "-o", str(into / stage)]
    return subprocess.run(command, cwd=copy, capture_output=True).returncode == 0


# ---- Testing -------------------------------------------------------------------------------------


def run_tests(names: Iterable[str], binaries: pathlib.Path, limit: float) -> tuple[str, str]:
    """ "passed", or "failed" with the test that did; "hung" if they take longer than `limit` s."""
    environment = {**os.environ, "STAGE_BINARIES": str(binaries), "GTEST_FAIL_FAST": "1"}
    command = [str(TESTS), f"--gtest_filter={':'.join(names)}", "--gtest_color=no"]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        running = re.findall(r"^\[ RUN +\] (\S+)", output, re.MULTILINE)
        return "hung", running[-1] if running else "?"
    if process.returncode == 0:
        return "passed", ""
    failed = re.findall(r"^\[  FAILED  \] (\S+?),? ", output, re.MULTILINE)
    running = re.findall(r"^\[ RUN +\] (\S+)", output, re.MULTILINE)
    return "failed", (failed or running or ["?"])[0]


def names_of_tests(stage: str) -> set[str]:
    """The tests of behaviour of a stage."""
    command = [str(TESTS), f"--gtest_filter=*/{stage}-{':'.join(LEFT_OUT)}", "--gtest_list_tests"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names, suite = set(), ""
    for line in listed.splitlines():
        word = line.split("#")[0].strip()
        if line.startswith(" "):
            names.add(suite + word)
        elif word.endswith("."):
            suite = word
    return names


def durations_of_ctest(stage: str) -> dict[str, float]:
    """How long each test of a stage took when ./tour test ran it; none if it has not run all."""
    path = ROOT / "build" / "Testing" / "Temporary" / "CTestCostData.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    words = [line.split() for line in lines]
    known = {each[0]: float(each[2]) for each in words if len(each) == 3}
    names = names_of_tests(stage)
    return {name: known[name] for name in names} if names <= known.keys() else {}


def durations(target: Target, few: bool) -> dict[str, dict[str, float]]:
    """For each stage, how long each of its tests takes without a mutant, in seconds. For a few
    mutants, what ./tour test has found will do."""
    found = {stage: durations_of_ctest(stage) for stage in target.tested_on}
    if few and all(found.values()):
        return found
    path = WORK / f"{target.name}.durations.json"
    stamp = f"{target.digest()} {TESTS.stat().st_mtime}"
    if path.exists() and (known := json.loads(path.read_text()))["stamp"] == stamp:
        return known["seconds"]
    binaries = WORK / "unchanged"
    seconds: dict[str, dict[str, float]] = {}
    for stage in target.tested_on:
        if not build(stage, None, binaries):
            sys.exit(f"mutate: {stage} does not compile without a mutant either")
        report = WORK / "report.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [
                str(TESTS),
                f"--gtest_filter=*/{stage}-{':'.join(LEFT_OUT)}",
                f"--gtest_output=json:{report}",
                "--gtest_brief=1",
            ],
            env={**os.environ, "STAGE_BINARIES": str(binaries)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(f"mutate: {stage} fails without a mutant:\n{done.stdout[-3000:]}")
        seconds[stage] = {
            f"{suite['name']}.{test['name']}": float(test["time"].rstrip("s"))
            for suite in json.loads(report.read_text())["testsuites"]
            for test in suite["testsuite"]
        }
    path.write_text(json.dumps({"stamp": stamp, "seconds": seconds}))
    return seconds


def batches(seconds: dict[str, float]) -> list[list[str]]:
    """The quickest tests first, in groups that take a second, then ten, then the rest."""
    ordered = sorted(seconds, key=lambda name: seconds[name])
    groups: list[list[str]] = [[], [], []]
    passed = 0.0
    for name in ordered:
        passed += seconds[name]
        groups[0 if passed < 1 else 1 if passed < 10 else 2].append(name)
    return [group for group in groups if group]


def first_failure(seconds: dict[str, float], binaries: pathlib.Path) -> tuple[str, str]:
    """ "caught" or "hung" with the test that notices, or "survived". Several mutants are tried at
    a time, and a busy machine may fail a slow test, too: so that must fail again, alone."""
    for names in batches(seconds):
        left = list(names)
        while left:
            duration = sum(seconds[name] for name in left)
            result, test = run_tests(left, binaries, 10 + 5 * duration)
            if result == "passed":
                break
            if result == "hung":
                return "hung", test
            is_quick = duration < 1 or test not in seconds
            if is_quick or run_tests([test], binaries, 10 + 5 * seconds[test])[0] != "passed":
                return "caught", test
            left.remove(test)
    return "survived", ""


def judge(
    target: Target, mutant: sites.Mutant, seconds: dict[str, dict[str, float]]
) -> dict[str, Any]:
    start = time.monotonic()
    binaries = WORK / f"mutant-{mutant.name}"
    outcome, test = "survived", ""
    for stage in target.tested_on:
        if not build(stage, mutant, binaries):
            outcome = "does not compile"
            break
        outcome, test = first_failure(seconds[stage], binaries)
        if outcome != "survived":
            break
    shutil.rmtree(binaries, ignore_errors=True)
    return {
        "name": mutant.name,
        "what": str(mutant),
        "outcome": outcome,
        "test": test,
        "tests": TESTS.stat().st_mtime,
        "seconds": round(time.monotonic() - start, 1),
    }


# ---- What is known -------------------------------------------------------------------------------


def results_file(target: Target) -> pathlib.Path:
    return WORK / f"{target.name}.{target.digest()}.jsonl"


def known_results(target: Target) -> dict[str, dict[str, Any]]:
    """What came of the mutants of this source. One that has survived is tried again when the tests
    have changed."""
    path = results_file(target)
    if not path.exists():
        return {}
    results = (json.loads(line) for line in path.read_text().splitlines())
    known = {result["name"]: result for result in results}
    now = TESTS.stat().st_mtime
    return {
        name: result
        for name, result in known.items()
        if result["outcome"] != "survived" or result.get("tests") == now
    }


def equivalent_entries() -> list[tuple[str, str]]:
    """The entries of equivalent.md: a change in backticks, and the numbers of the stages in which it
    counts; none for all that have it."""
    text = pathlib.Path(__file__).with_name("equivalent.md").read_text()
    return re.findall(r"^- `(.*)`(?: \((.*)\))?$", text, re.MULTILINE)


def equivalents(target: Target) -> set[str]:
    """The changes that do not count in this target."""
    return {
        change for change, stages in equivalent_entries() if not stages or target.name[:2] in stages
    }


@dataclasses.dataclass
class Score:
    """What came of some mutants of one target."""

    target: str
    mutants: int
    compiled: int
    equivalent: int
    caught: int

    @property
    def share(self) -> float:
        counted = self.compiled - self.equivalent
        return 100 * self.caught / counted if counted else 100

    def row(self) -> str:
        cells = [f"`{self.target}`", self.mutants, self.compiled, self.equivalent, self.caught]
        return "| " + " | ".join(map(str, cells)) + f" | {self.share:.1f} % |"


def score_of(target: Target, results: list[dict[str, Any]]) -> Score:
    """Counts, and says which have survived."""
    changes = {mutant.name: mutant.change for mutant in target.mutants()}
    for result in results:
        if result["outcome"] == "survived":
            print(f"survived: {result['name']}: {changes[result['name']]}")
    counts = collections.Counter(result["outcome"] for result in results)
    compiled = len(results) - counts["does not compile"]
    caught = counts["caught"] + counts["hung"]
    return Score(target.name, len(results), compiled, counts["equivalent"], caught)


def keep_score(score: Score) -> None:
    """Puts the row of this target into the page of scores, in place of its former one."""
    lines = SCORES.read_text().splitlines()
    start = lines.index(next(line for line in lines if line.startswith("| ---"))) + 1
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("|")), len(lines))
    rows = {line.split("|")[1].strip(): line for line in lines[start:end]}
    rows[f"`{score.target}`"] = score.row()
    lines[start:end] = [rows[name] for name in sorted(rows)]
    SCORES.write_text("\n".join(lines) + "\n")


# ---- All of them ---------------------------------------------------------------------------------


def judge_all(target: Target, mutants: list[sites.Mutant], again: bool) -> list[dict[str, Any]]:
    """What came of each, several at a time: the tests mostly wait."""
    known = {} if again else known_results(target)
    equivalent = equivalents(target)
    for mutant in mutants:
        if mutant.change in equivalent and not again:
            known[mutant.name] = {"name": mutant.name, "outcome": "equivalent"}
    todo = [mutant for mutant in mutants if mutant.name not in known]
    if todo:
        precompile()
        seconds = durations(target, few=len(todo) < 20)
    lock = threading.Lock()
    done = len(mutants) - len(todo)

    def run(mutant: sites.Mutant) -> None:
        nonlocal done
        result = judge(target, mutant, seconds)
        with lock, results_file(target).open("a") as out:
            out.write(json.dumps(result) + "\n")
            known[mutant.name] = result
            done += 1
            print(
                f"[{target.name} {done}/{len(mutants)}] {result['outcome']} {result['test']} "
                f"({result['seconds']} s)  {mutant}",
                flush=True,
            )

    with concurrent.futures.ThreadPoolExecutor(3 * (os.cpu_count() or 2)) as pool:
        try:
            list(pool.map(run, todo))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            sys.exit("mutate: interrupted; what is known is kept")
    return [known[mutant.name] for mutant in mutants]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./tour mutate", description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", help="NN or common; without it, all of them")
    parser.add_argument("--sample", type=int, metavar="N", help="so many, drawn by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the chance (1)")
    parser.add_argument("--list", action="store_true", help="only say what they are")
    parser.add_argument(
        "--only", metavar="NAME", help="this one, whether its outcome is known or not"
    )
    return parser.parse_args()


def main() -> int:
    chosen = options()
    words = [chosen.target] if chosen.target else [*(stage[:2] for stage in STAGES), "common"]
    targets = [target_named(word) for word in words]
    drawn = [(target, mutant) for target in targets for mutant in target.mutants()]
    if not chosen.target:
        changes = {mutant.change for _, mutant in drawn}
        for change, _ in equivalent_entries():
            if change not in changes:
                sys.exit(f"mutate: equivalent.md has what is no change of any source: {change}")
    if chosen.sample is not None:
        drawn = random.Random(chosen.seed).sample(drawn, min(chosen.sample, len(drawn)))
    if chosen.only:
        drawn = [(target, mutant) for target, mutant in drawn if mutant.name == chosen.only]
    if chosen.list:
        for target, mutant in drawn:
            print(f"{target.name}  {mutant.name}  {mutant}")
        return 0
    scores = []
    for target in targets:
        mutants = [mutant for owner, mutant in drawn if owner is target]
        if mutants:
            score = score_of(target, judge_all(target, mutants, bool(chosen.only)))
            if len(mutants) >= MANY or len(mutants) == len(target.mutants()):
                keep_score(score)
            scores.append(score)
    for score in scores:
        print(
            f"{score.target}: {score.mutants} mutants, {score.compiled} compile, "
            f"{score.equivalent} equivalent, {score.caught} caught: {score.share:.1f} %"
        )
    counted = sum(score.compiled - score.equivalent for score in scores)
    survived = counted - sum(score.caught for score in scores)
    # Of a small sample, one may survive.
    return 1 if survived > max(1, counted * (100 - LEAST) / 100) else 0


if __name__ == "__main__":
    sys.exit(main())
