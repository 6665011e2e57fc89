"""Builds exercises, and runs what judges them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from tests.exercises.page import ROOT, Exercise

TESTS = ROOT / "build" / "bin" / "stage_tests"
TEST_SECONDS = 100  # a test that takes longer does not end
# How long the tests of an exercise wait for what does not come, in seconds: a learner waits for them.
PATIENCE = 4
PARALLEL = 3 * (os.cpu_count() or 2)  # most tests wait most of the time
# What reads the sources, expects certain system calls, or is not about one stage's behaviour. Any
# right solution counts.
LEFT_OUT = (
    "HouseStyle*:Steps*:Standalone.*:Calls*:RealClientsAtOnce.*:InjectionComparison.*:"
    "InjectionWhileServing.TableIsComplete/*:*_bare"
)


# What Ninja says before and after the compiler.
NOISE = re.compile(r"\[\d+/\d+\]|ninja|FAILED: |: && |/\S+\+\+\S* ")


@dataclasses.dataclass
class Outcome:
    passed: bool
    text: str = ""  # what to tell about a failure


# ---- Building ------------------------------------------------------------------------------------


class Workshop:
    """A folder with exercises, and the tree that they are built in."""

    def __init__(self, work: pathlib.Path, tree: pathlib.Path) -> None:
        self.work = work
        self.tree = tree

    def register(self, programs: dict[str, Exercise]) -> None:
        """Names the programs of this folder to CMake: target and exercise."""
        lines = [
            f"exercise({name} {exercise.stage} {exercise.flags})"
            for name, exercise in sorted(programs.items())
        ]
        path = self.work / "targets.cmake"
        text = "\n".join(lines) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    def configure(self) -> Outcome:
        """Writes compile_commands.json, too, which tells an editor how each program is compiled."""
        source = str(ROOT / "tests/exercises")
        command = [
            "cmake",
            "-S",
            source,
            "-B",
            str(self.tree),
            "-G",
            "Ninja",
            f"-DWORK={self.work}",
        ]
        done = run(command)
        return Outcome(done.returncode == 0, done.stdout)

    def build(self, name: str) -> Outcome:
        """What the compiler says is the text, even where it only warns."""
        if not (self.tree / "build.ninja").exists():
            configured = self.configure()
            if not configured.passed:
                sys.exit(f"tour exercise: CMake could not set up {self.tree}:\n{configured.text}")
        done = run(["cmake", "--build", str(self.tree), "--target", name])
        lines = [line for line in done.stdout.splitlines() if not NOISE.match(line)]
        return Outcome(done.returncode == 0, "\n".join(lines).replace(f"{ROOT}/", ""))

    def binaries(self, name: str) -> pathlib.Path:
        return self.tree / "bin" / name


def run(command: list[str], seconds: float = 600, **options: object) -> subprocess.CompletedProcess:
    """Runs it in a process group of its own, and leaves nothing of it behind. 124: it did not end."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
        code = 124
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        output.seek(0)
        return subprocess.CompletedProcess(command, code, output.read())


# ---- The tests -----------------------------------------------------------------------------------


def run_test(name: str, stage: str, binaries: pathlib.Path, patience: int = 0) -> Outcome:
    """One test of the suite, on the program in this folder; with its own patience if that is 0."""
    command = [str(TESTS), f"--gtest_filter={name}/{stage}", "--gtest_color=no"]
    environment = {**os.environ, "STAGE_BINARIES": str(binaries)}
    if patience:
        environment["TEST_PATIENCE"] = str(patience)
    done = run(command, TEST_SECONDS, env=environment)
    if done.returncode == 124:
        return Outcome(False, f"It had not ended after {TEST_SECONDS} seconds.")
    if "[  PASSED  ] 1 test" in done.stdout and done.returncode == 0:
        return Outcome(True)
    told = re.search(r"^\[ RUN .*?\n(.*?)^\[  FAILED  \]", done.stdout, re.S | re.M)
    return Outcome(False, told[1].strip() if told else done.stdout.strip())


def run_tests(exercise: Exercise, binaries: pathlib.Path) -> dict[str, Outcome]:
    """The tests that the exercise names."""
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(
            lambda name: run_test(name, exercise.stage, binaries, PATIENCE), exercise.tests
        )
        return dict(zip(exercise.tests, found))


def run_suite(exercise: Exercise, binaries: pathlib.Path) -> dict[str, Outcome]:
    """What fails of the whole suite of the stage. On a busy machine a slow test may fail once: so
    it counts only if it fails again, alone."""
    environment = {**os.environ, "STAGE_BINARIES": str(binaries)}
    environment["GTEST_TOTAL_SHARDS"] = str(PARALLEL)
    wanted = f"--gtest_filter=*/{exercise.stage}-{LEFT_OUT}"

    def run_shard(index: int, folder: str) -> list[str]:
        report = pathlib.Path(folder) / f"{index}.json"
        command = [str(TESTS), wanted, f"--gtest_output=json:{report}"]
        shard = {**environment, "GTEST_SHARD_INDEX": str(index)}
        done = run(command, 2 * TEST_SECONDS, env=shard)
        if not report.exists():  # it was killed in this test
            return re.findall(r"^\[ RUN +\] (\S+)/", done.stdout, re.MULTILINE)[-1:]
        suites = json.loads(report.read_text()).get("testsuites", [])
        return [
            f"{suite['name']}.{test['name'].split('/')[0]}"
            for suite in suites
            for test in suite["testsuite"]
            if test.get("failures")
        ]

    with tempfile.TemporaryDirectory(prefix="exercise.") as folder:
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            shards = pool.map(lambda index: run_shard(index, folder), range(PARALLEL))
            suspects = [name for names in shards for name in names]
    again = {name: run_test(name, exercise.stage, binaries) for name in suspects}
    return {name: outcome for name, outcome in again.items() if not outcome.passed}


def try_server(exercise: Exercise, program: pathlib.Path) -> Outcome:
    """Judges it as ./tour try does."""
    profile = exercise.beside(".profile.ini")
    words = ["--as", exercise.judged_as, "--profile", str(profile), "--", str(program), "{port}"]
    done = run([sys.executable, "-B", str(ROOT / "tests/try/judge.py"), *words], 3600)
    return Outcome(done.returncode == 0, done.stdout)


# ---- Experiments ---------------------------------------------------------------------------------


def run_experiment(exercise: Exercise, program: pathlib.Path) -> str:
    """What it has found: the last line that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", str(exercise.beside(".py")), str(program)]
    done = run(command, TEST_SECONDS, env=environment)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise ExperimentFailed(done.stdout.strip() or "It printed nothing.")
    return lines[-1].strip()


class ExperimentFailed(Exception):
    """It could not be run to its end; the text says what it has printed."""
