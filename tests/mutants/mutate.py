#!/usr/bin/python3
"""Makes one-change mutants of the stages, and says which of them the tests of behaviour notice.

./tour mutate                      all of them: hours. Interrupt it; it goes on where it was
./tour mutate 06 --sample 20       20 of stage 06, drawn with --seed
./tour mutate common               those of common.h and console.h
./tour mutate 06 --list            what they are, without running them
./tour mutate 06 --only NAME       one of them again, with the test that notices it

Each mutant is compiled, and the tests of its stage run, the quickest first, until one fails. What
comes out is kept in build/mutants/, by the mutant's name, for as long as its source is the same.
A change that nobody outside could notice is named in equivalent.md, with the reason, and does not
count.
"""

import argparse
import collections
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
import time
from collections.abc import Iterable

import sites

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutants"
TESTS = ROOT / "build" / "bin" / "stage_tests"
STAGES = sorted(path.name for path in ROOT.glob("[0-9][0-9]_*"))
COMMON = {"common.h", "console.h"}
COMMON_STAGES = ["06_epoll_level", "03_threaded", "01_blocking_single"]
FLAGS = ["-std=c++20", "-O1", "-pthread", "-w"]
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


def precompile() -> pathlib.Path:
    """The headers of libraries, which take most of the time to compile, read once."""
    header = WORK / "libraries.h"
    names = {
        line
        for source in ROOT.glob("[0-9]*/*.[hc]*")
        for line in re.findall(r"^#include <.*>$", source.read_text(), re.MULTILINE)
    }
    text = "\n".join(sorted(names)) + "\n"
    if not header.exists() or header.read_text() != text:
        WORK.mkdir(parents=True, exist_ok=True)
        header.write_text(text)
        subprocess.run(["g++", *FLAGS, "-x", "c++-header", str(header)], check=True)
    return header


def compile_stage(folder: pathlib.Path, program: pathlib.Path) -> bool:
    command = ["g++", *FLAGS, "-include", str(precompile()), "main.cpp", "-o", str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode == 0


def build(target: Target, mutant: sites.Mutant | None, into: pathlib.Path) -> bool:
    """Compiles the stages that the target is tested on, with the mutant in them if there is one."""
    for stage in target.tested_on:
        copy = into / "source" / stage
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(ROOT / stage, copy)
        if mutant:
            path = copy / mutant.file
            text = path.read_bytes()
            path.write_bytes(text[: mutant.begin] + mutant.text.encode() + text[mutant.end :])
        if not compile_stage(copy, into / stage):
            return False
    return True


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


def durations(target: Target) -> dict[str, dict[str, float]]:
    """For each stage, how long each of its tests takes without a mutant, in seconds."""
    path = WORK / f"{target.name}.durations.json"
    stamp = f"{target.digest()} {TESTS.stat().st_mtime}"
    if path.exists() and (known := json.loads(path.read_text()))["stamp"] == stamp:
        return known["seconds"]
    binaries = WORK / "unchanged"
    if not build(target, None, binaries):
        sys.exit(f"mutate: {target.name} does not compile without a mutant either")
    seconds: dict[str, dict[str, float]] = {}
    for stage in target.tested_on:
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


def judge(target: Target, mutant: sites.Mutant, seconds: dict[str, dict[str, float]]) -> dict:
    start = time.monotonic()
    binaries = WORK / f"mutant-{os.getpid()}"
    outcome, test = "survived", ""
    if not build(target, mutant, binaries):
        outcome = "does not compile"
    else:
        for stage in target.tested_on:
            for names in batches(seconds[stage]):
                limit = 20 + 5 * sum(seconds[stage][name] for name in names)
                result, test = run_tests(names, binaries, limit)
                if result != "passed":
                    outcome = "caught" if result == "failed" else "hung"
                    break
            if outcome != "survived":
                break
    shutil.rmtree(binaries, ignore_errors=True)
    return {
        "name": mutant.name,
        "what": str(mutant),
        "change": mutant.change,
        "outcome": outcome,
        "test": test,
        "seconds": round(time.monotonic() - start, 1),
    }


# ---- What is known -------------------------------------------------------------------------------


def results_file(target: Target) -> pathlib.Path:
    return WORK / f"{target.name}.{target.digest()}.jsonl"


def known_results(target: Target) -> dict[str, dict]:
    path = results_file(target)
    if not path.exists():
        return {}
    results = (json.loads(line) for line in path.read_text().splitlines())
    return {result["name"]: result for result in results}


def equivalents() -> set[str]:
    """The changes in equivalent.md: the lines that begin with a dash, in backticks."""
    text = pathlib.Path(__file__).with_name("equivalent.md").read_text()
    return set(re.findall(r"^- `(.*)`$", text, re.MULTILINE))


def report(target: Target, results: list[dict]) -> None:
    equivalent = equivalents()
    for result in results:
        if result["outcome"] == "survived" and result["change"] in equivalent:
            result["outcome"] = "equivalent"
    counts = collections.Counter(result["outcome"] for result in results)
    caught = counts["caught"] + counts["hung"]
    compiled = len(results) - counts["does not compile"] - counts["equivalent"]
    for result in results:
        if result["outcome"] == "survived":
            print(f"survived: {result['name']}: {result['what']}")
    share = f", {100 * caught / compiled:.1f} %" if compiled else ""
    print(
        f"{target.name}: {len(results)} mutants, {counts['does not compile']} do not compile, "
        f"{counts['equivalent']} equivalent; of {compiled}, {caught} caught{share}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="./tour mutate", description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", default="all", help="NN, common, or all of them")
    parser.add_argument("--sample", type=int, help="so many of each, drawn by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the chance (1)")
    parser.add_argument("--list", action="store_true", help="only say what they are")
    parser.add_argument(
        "--only", metavar="NAME", help="this one, whether its outcome is known or not"
    )
    chosen = parser.parse_args()
    words = (
        [*(stage[:2] for stage in STAGES), "common"] if chosen.target == "all" else [chosen.target]
    )
    for word in words:
        target = target_named(word)
        mutants = target.mutants()
        if chosen.sample is not None:
            chance = random.Random(chosen.seed)
            mutants = chance.sample(mutants, min(chosen.sample, len(mutants)))
        if chosen.only:
            mutants = [mutant for mutant in mutants if mutant.name == chosen.only]
        if chosen.list:
            for mutant in mutants:
                print(f"{mutant.name}  {mutant}")
            continue
        known = {} if chosen.only else known_results(target)
        seconds = durations(target)
        results = []
        for number, mutant in enumerate(mutants, 1):
            if mutant.name not in known:
                result = judge(target, mutant, seconds)
                with results_file(target).open("a") as out:
                    out.write(json.dumps(result) + "\n")
                known[mutant.name] = result
                print(
                    f"[{number}/{len(mutants)}] {result['outcome']} {result['test']} "
                    f"({result['seconds']} s)  {mutant}",
                    flush=True,
                )
            results.append(known[mutant.name])
        report(target, results)


if __name__ == "__main__":
    main()
