"""Tries a server of anybody's with the tests of the stages: see ./tour try, and docs/your_server.md.

stage_tests runs the tests; this chooses them, reads what came of them, and says so.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import configparser
import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import typing
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
TESTS = ROOT / "build" / "bin" / "stage_tests"
COMPARISON = ROOT / "docs" / "reference" / "comparison.md"
STAGES = [f"{number:02}" for number in range(1, 8)]
BEYOND = sorted(path.name[:2] for path in (ROOT / "beyond").glob("[01][0-9]_*"))
KNOWN = {  # what a profile may say, and how its values look
    "body_bytes_option": r".*\{value\}.*",
    "timeout_option": r".*\{value\}.*",
    "too_late": "[45][0-9][0-9]|closed",
    "too_long": "[45][0-9][0-9]",
    "max_head": "[0-9]+",
    "backlog": "short|long",
    "exit_code": "0|143",
    "patience": "[1-9][0-9]?",
    "most_clients": "[1-9][0-9]*",
}
PARTS = min(24, 3 * (os.cpu_count() or 2))  # so many tests at a time
LONGEST = 200  # seconds for a test, times the server's patience
BUSY = {  # tests that take all the CPU time there is, or look for who waits for it
    "ComparisonOfCrowd.BesideAFastReader",
    "ComparisonOfEndUnderLoad.SignalUnderLoad",
    "ComparisonOfHeldOpen.Crowd",
    "ComparisonOfOneClient.HeldOpen",
    "LimitsOfMany.EverythingComesBackAfterManyClients",
    "RealClientsAtOnce.NoFailedRequest",
}
CROWDS = {  # tests with more than 60 clients at once, and their number
    "ComparisonOfHeldOpen.Crowd": 1100,
    "Concurrency.AllWhoQueuedForOneTurnAreAccepted": 200,
    "Concurrency.HalvesInAnyOrder": 200,
    "LateServer.ClientsThatWereInTimeAreServed": 600,
    "RealClientsAtOnce.NoFailedRequest": 100,
}


def die(text: str) -> typing.NoReturn:
    print(f"tour try: {text}", file=sys.stderr)
    sys.exit(2)


# ---- What is tried -------------------------------------------------------------------------------


@dataclasses.dataclass
class Test:
    """One test: what the client does, how to do it by hand, and where to read about it."""

    name: str
    level: int
    what: str
    hand: str
    page: str


@dataclasses.dataclass
class Result:
    test: Test
    outcome: str  # passed, failed, not applicable, expected failure, unexpected pass, varies
    seen: str = ""  # a failure's text, or why it is not applicable
    cell: str = ""  # what the comparison shows


@dataclasses.dataclass
class Expected:
    """What is known of a server: by the test's name, the reason."""

    failures: dict[str, str]
    varying: dict[str, str]  # passes or fails, from run to run


def read_ini(path: pathlib.Path) -> configparser.ConfigParser:
    ini = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",), empty_lines_in_values=False
    )
    ini.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their capitals
    try:
        with path.open() as file:
            ini.read_file(file)
    except (OSError, configparser.Error) as error:
        die(f"{path}: {error}")
    return ini


def all_tests() -> tuple[list[Test], list[str]]:
    """The tests in order, and the titles of their levels."""
    ini = read_ini(HERE / "tests.ini")
    tests = []
    for level, title in enumerate(ini.sections(), 1):
        for name, text in ini[title].items():
            what, hand, page = (part.strip() for part in text.split("\n|"))
            tests.append(Test(name, level, what, hand, page))
    return tests, [title.split(" ", 1)[1] for title in ini.sections()]


def stage_cells() -> dict[str, list[str]]:
    """What the servers of the seven stages do, by test, as the page of the comparison shows it."""
    cells = {}
    for line in COMPARISON.read_text().split("## The bare programs")[0].splitlines():
        parts = [part.strip() for part in line.strip("|").split("|")]
        if len(parts) >= 9 and (found := re.search(r"`(\w+\.\w+)`", parts[8])):
            cells[found[1]] = parts[1:8]
    return cells


# ---- Running the tests ---------------------------------------------------------------------------


def read_profile(path: pathlib.Path | None) -> dict[str, str]:
    if path is None:
        return {}
    ini = read_ini(path)
    if ini.sections() != ["profile"]:
        die(f"{path}: it has one section, [profile]")
    for name, value in ini["profile"].items():
        if name not in KNOWN:
            die(f"{path}: '{name}' is not known; a profile has {', '.join(KNOWN)}")
        if not re.fullmatch(KNOWN[name], value):
            die(f"{path}: {name} = {value} does not match {KNOWN[name]}")
    return dict(ini["profile"])


def write_subject(
    path: pathlib.Path, command: list[str], profile: dict[str, str], stage: int
) -> None:
    """The file that stage_tests reads (harness/subject.h)."""
    lines = [f"as = {stage}"]
    lines += [f"word = {word}" for word in command]
    lines += [f"{name} = {value}" for name, value in profile.items()]
    path.write_text("\n".join(lines) + "\n")


def reason_against(test: Test, profile: dict[str, str], stage: int) -> str:
    """Why a test can say nothing of such a server, whatever that does; "" if it can."""
    one_by_one = stage <= 2 and profile.get("backlog") == "short"
    if test.name == "ComparisonOfHeldOpen.Crowd" and one_by_one:
        return "a crowd that waits for one client has no room in a short queue"
    if CROWDS.get(test.name, 0) > int(profile.get("most_clients", 1100)):
        return f"the test has {CROWDS[test.name]} clients at once, and most_clients is less"
    return ""


def run_tests(
    tests: list[Test], arguments: argparse.Namespace, stage: int
) -> dict[str, tuple[str, str, str]]:
    """Of each test: its outcome, what was seen, and its cell.

    Most tests wait most of the time. So several are run at once, each by a process of its own, and
    then, one by one, those that keep the machine busy.
    """
    with tempfile.TemporaryDirectory(prefix="try.") as name:
        folder = pathlib.Path(name)
        profile = read_profile(arguments.profile)
        write_subject(folder / "subject", arguments.command, profile, stage)
        (folder / ".curlrc").write_text('header = "Connection: close"\n')
        (folder / "tmp").mkdir()
        run = TestRun(folder, LONGEST * int(profile.get("patience", 1)))
        outcomes: dict[str, tuple[str, str, str]] = {}
        for test in tests:
            if reason := reason_against(test, profile, stage):
                outcomes[test.name] = ("not applicable", reason, "")
        left = [test for test in tests if test.name not in outcomes]
        with concurrent.futures.ThreadPoolExecutor(PARTS) as pool:
            try:
                for found in pool.map(run.one, [t for t in left if t.name not in BUSY]):
                    outcomes.update(found)
                for test in left:
                    if test.name in BUSY:
                        outcomes.update(run.one(test))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                run.end()
        return outcomes


class TestRun:
    """The processes that run tests, and what else they have left behind when they end."""

    def __init__(self, folder: pathlib.Path, longest: int) -> None:
        self.folder = folder
        self.longest = longest  # seconds for one test
        self.environment = {
            **os.environ,
            "TRY_SUBJECT": str(folder / "subject"),
            "COMPARISON_FRAGMENTS": str(folder / "cells"),
            "CURL_HOME": str(folder),  # the one client here that speaks HTTP/1.1
            "TMPDIR": str(folder / "tmp"),
        }
        self.lock = threading.Lock()
        self.running: set[int] = set()
        adopt_orphans()

    def one(self, test: Test) -> dict[str, tuple[str, str, str]]:
        """Runs one test; nothing comes of it if it is not for this stage."""
        report = self.folder / f"{test.name}.json"
        words = [f"--gtest_filter={test.name}/yours", f"--gtest_output=json:{report}"]
        with self.lock:  # so that no new process is taken for an orphan
            process = subprocess.Popen(
                [str(TESTS), *words],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            )  # fmt: skip
            self.running.add(process.pid)
        try:
            said, _ = process.communicate(timeout=self.longest)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {test.name: ("failed", f"it did not end within {self.longest} seconds", "")}
        finally:
            self.end_orphans(process.pid)
        if not report.exists():
            return {test.name: ("failed", f"the test did not run: {said[-1000:]}", "")}
        found = {}
        for suite in json.loads(report.read_text()).get("testsuites", []):
            for case in suite["testsuite"]:
                found[test.name] = outcome_of(case, self.folder / "cells" / f"{test.name}.yours")
        return found

    def end_orphans(self, ended: int) -> None:
        """Ends what servers have started in sessions of their own; the tests end the rest."""
        with self.lock:
            self.running.discard(ended)
            for pid in children():
                if pid not in self.running:
                    end(pid)

    def end(self) -> None:
        with self.lock:
            while left := children():
                for pid in left:
                    end(pid)


def adopt_orphans() -> None:
    """Whoever loses its parent below this process becomes its child: PR_SET_CHILD_SUBREAPER."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def children() -> list[int]:
    found = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def end(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def outcome_of(test: dict[str, object], fragment: pathlib.Path) -> tuple[str, str, str]:
    failures = [str(failure["failure"]) for failure in test.get("failures", [])]  # type: ignore
    cell = fragment.read_text().splitlines()[1] if fragment.exists() else ""
    if test.get("result") == "SKIPPED":
        return "not applicable", "it cannot be run here", cell
    if not failures:
        return "passed", "", cell
    if len(failures) == 1 and (found := re.search(r'not applicable: ([^"\n]*)', failures[0])):
        return "not applicable", found[1], ""
    text = failures[0].split("\n", 1)[-1].strip()
    return "failed", text, cell


def judged(
    tests: list[Test], outcomes: dict[str, tuple[str, str, str]], expected: Expected
) -> list[Result]:
    results = []
    for test in tests:
        if test.name in outcomes:
            outcome, seen, cell = outcomes[test.name]
        else:
            outcome, seen, cell = "not applicable", "it is not for this stage", ""
        if outcome in ("passed", "failed"):
            if test.name in expected.failures:
                outcome = "expected failure" if outcome == "failed" else "unexpected pass"
            elif test.name in expected.varying:
                outcome = "varies"
        results.append(Result(test, outcome, seen, cell))
    return results


def likeness(outcomes: dict[str, tuple[str, str, str]]) -> list[int]:
    """How many cells of the comparison are those of each stage."""
    cells = stage_cells()
    return [
        sum(
            1
            for name, (_, _, cell) in outcomes.items()
            if cell and name in cells and cells[name][i] == cell
        )
        for i in range(len(STAGES))
    ]


# ---- The report ----------------------------------------------------------------------------------


def print_table(results: list[Result]) -> None:
    cells = stage_cells()
    rows = [
        (r.test.what, r.cell or "-", *cells[r.test.name])
        for r in results
        if r.test.name in cells and r.cell
    ]
    if not rows:
        return
    print(f"{'What a client does':38}{'yours':22}" + "".join(f"{stage:11}" for stage in STAGES))
    for row in rows:
        columns = [
            wrapped(row[0], 36),
            wrapped(row[1], 20),
            *(wrapped(cell, 10) for cell in row[2:]),
        ]
        for line in range(max(len(column) for column in columns)):
            parts = [column[line] if line < len(column) else "" for column in columns]
            text = f"{parts[0]:38}{parts[1]:22}" + "".join(f"{part:11}" for part in parts[2:])
            print(text.rstrip())
    print()


def wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def print_levels(results: list[Result], titles: list[str]) -> None:
    for level, title in enumerate(titles, 1):
        own = [result for result in results if result.test.level == level]
        counts = [
            f"{sum(1 for r in own if r.outcome == outcome)} {outcome}"
            for outcome in (
                "passed",
                "failed",
                "expected failure",
                "unexpected pass",
                "varies",
                "not applicable",
            )
            if any(r.outcome == outcome for r in own)
        ]
        if own:
            print(f"level {level}, {title}: {', '.join(counts)}")
    print()


def print_details(results: list[Result], expected: Expected, verbose: bool) -> None:
    for result in results:
        test = result.test
        if result.outcome == "failed":
            print(f"FAILED {test.name}")
            print(f"    The client {test.what}.")
            for line in result.seen.splitlines()[:8]:
                print(f"    | {line}")
            print(f"    By hand: {test.hand.replace('8080', 'PORT')}")
            print(f"    Read:    docs/{test.page}")
        elif result.outcome == "unexpected pass":
            reason = expected.failures[test.name]
            print(f"UNEXPECTED PASS {test.name}: expected to fail, as {reason}")
        elif verbose and result.outcome == "expected failure":
            print(f"expected failure {test.name}: {expected.failures[test.name]}")
        elif verbose and result.outcome == "varies":
            print(f"varies {test.name}: {expected.varying[test.name]}")
        elif verbose and result.outcome == "not applicable":
            print(f"not applicable {test.name}: {result.seen}")


def write_junit(path: pathlib.Path, results: list[Result]) -> None:
    bad = [r for r in results if r.outcome in ("failed", "unexpected pass")]
    suite = xml.Element(
        "testsuite", name="tour try", tests=str(len(results)), failures=str(len(bad))
    )
    for result in results:
        suite_name, name = result.test.name.split(".")
        case = xml.SubElement(suite, "testcase", classname=suite_name, name=name)
        if result in bad:
            failure = xml.SubElement(case, "failure", message=result.outcome)
            failure.text = result.seen
        elif result.outcome != "passed":
            xml.SubElement(case, "skipped", message=f"{result.outcome}: {result.seen}"[:300])
    xml.ElementTree(suite).write(path, encoding="unicode", xml_declaration=True)


# ---- The command ---------------------------------------------------------------------------------


def arguments_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./tour try",
        description="Tries your server with the tests of the stages. See docs/your_server.md.",
    )
    parser.add_argument(
        "--as", dest="stage", choices=STAGES + BEYOND, help="judge it as this stage"
    )
    parser.add_argument("--level", type=int, choices=range(1, 10), help="only up to this level")
    parser.add_argument("--only", metavar="SUITE", help="only tests whose names begin so")
    parser.add_argument("--list", action="store_true", help="list the tests, and run nothing")
    parser.add_argument(
        "--junit", metavar="FILE", type=pathlib.Path, help="write a report for machines"
    )
    parser.add_argument(
        "--expected",
        metavar="FILE",
        type=pathlib.Path,
        help="tests that are known to fail, with reasons",
    )
    parser.add_argument(
        "--profile", metavar="FILE", type=pathlib.Path, help="what else your server can do"
    )
    parser.add_argument("--verbose", action="store_true", help="say more of what did not fail")
    parser.add_argument(
        "command", nargs="*", metavar="-- COMMAND", help="starts your server; {port} is its port"
    )
    return parser.parse_args(words)


def read_expected(path: pathlib.Path | None, tests: list[Test]) -> Expected:
    expected = Expected({}, {})
    if path is None:
        return expected
    ini = read_ini(path)
    kinds = {"expected": expected.failures, "varies": expected.varying}
    known = {test.name for test in tests}
    for section in ini.sections():
        if section not in kinds:
            die(f"{path}: [{section}] is not known; there are [expected] and [varies]")
        for name, reason in ini[section].items():
            if name not in known:
                die(f"{path}: there is no test {name}; --list names them")
            kinds[section][name] = reason
    return expected


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    tests, titles = all_tests()
    expected = read_expected(arguments.expected, tests)
    chosen = [
        test
        for test in tests
        if test.level <= (arguments.level or 9) and test.name.startswith(arguments.only or "")
    ]
    if not chosen:
        die(f"no test's name begins with '{arguments.only}'; --list names them")
    if arguments.list:
        for test in chosen:
            print(f"{test.level}  {test.name:60} {test.what}")
        return 0
    if not arguments.command:
        die("which server? For example: ./tour try -- ./my_server --port {port}")
    if not any("{port}" in word for word in arguments.command):
        die(
            "nothing in the command is {port}, which stands for the port that your server is to listen on"
        )
    stage = int(arguments.stage) if arguments.stage else most_alike(chosen, arguments)
    results = judged(chosen, run_tests(chosen, arguments, stage), expected)
    print(f"\n{' '.join(arguments.command)}\njudged as stage {stage:02}\n")
    print_table(results)
    print_levels(results, titles)
    print_details(results, expected, arguments.verbose)
    if arguments.junit:
        write_junit(arguments.junit, results)
    bad = [result for result in results if result.outcome in ("failed", "unexpected pass")]
    if any(result.outcome == "failed" and "PID" in result.test.hand for result in results):
        print("\nPID stands for your server's process number.")
    print("Nothing failed." if not bad else f"{len(bad)} of {len(results)} tests failed.")
    return 1 if bad else 0


def most_alike(tests: list[Test], arguments: argparse.Namespace) -> int:
    """The stage whose cells in the comparison the server has most often; the later one of two."""
    compared = [test for test in tests if test.name in stage_cells()]
    same = likeness(run_tests(compared, arguments, 3))
    best = max(range(len(STAGES)), key=lambda i: (same[i], i))
    print(f"Your server behaves most like stage {STAGES[best]}: the same in {same[best]} rows.")
    return best + 1


if __name__ == "__main__":
    sys.exit(main())
