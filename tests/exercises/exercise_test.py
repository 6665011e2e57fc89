"""Does ./tour exercise do what it says? Run: python3 -B -m tests.exercises.exercise_test, after ./tour test."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from tests.exercises import page
from tests.exercises.page import ROOT

PREDICT, FIND, WRITE = "06", "07", "18"


class ExerciseTest(unittest.TestCase):
    """All of them use one folder, and so one build tree: that takes most of the time."""

    folder: tempfile.TemporaryDirectory[str]
    work: pathlib.Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="exercise_test.")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.work = pathlib.Path(cls.folder.name)

    def setUp(self) -> None:
        for path in self.work.glob("*"):
            if path.name not in ("build", "targets.cmake"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-B", "-m", "tests.exercises.exercise", *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "EXERCISE_WORK": str(self.work)}

    def tour(self, *words: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        done = subprocess.run(
            self.command(*words), cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def place(self, number: str) -> pathlib.Path:
        return next(self.work.glob(f"{number}_*"))

    def test_the_list_says_what_is_next(self) -> None:
        code, said = self.tour()
        self.assertEqual(code, 0, said)
        self.assertIn("next > 01", said)
        self.assertIn("0 of ", said)
        self.tour("skip", "01")
        self.assertIn("skipped 01", self.tour()[1])
        self.assertIn("next > 02", self.tour()[1])
        code, said = self.tour("next")
        self.assertIn("02. ", said)
        self.assertIn("begun > 02", self.tour()[1])

    def test_next_is_what_follows(self) -> None:
        self.tour("skip", "18")
        self.assertIn("next > 19", self.tour()[1])
        self.tour("skip", "63")
        self.assertIn("next > 01", self.tour()[1])

    def test_a_prediction_is_compared_with_what_happens(self) -> None:
        code, said = self.tour(PREDICT)
        self.assertIn("./tour exercise check 06", said)
        answer = self.place(PREDICT) / "answer.txt"
        code, said = self.tour("check")
        self.assertEqual((code, "is empty" in said), (1, True), said)
        answer.write_text("3\n")
        code, said = self.tour("check")
        self.assertEqual((code, "That is not what happens" in said), (1, True), said)
        answer.write_text("4\n")
        code, said = self.tour("check")
        self.assertEqual((code, "What you have learnt" in said), (0, True), said)
        self.assertIn("done 06", self.tour()[1])
        code, said = self.tour("check", PREDICT)
        self.assertEqual((code, "06 was done, and is still right" in said), (0, True), said)
        answer.write_text("3\n")
        code, said = self.tour("check", PREDICT)
        self.assertEqual((code, "06 was done. It stays done" in said), (1, True), said)
        self.assertIn("done 06", self.tour()[1])

    def test_a_prediction_may_be_written_in_other_ways(self) -> None:
        self.tour(PREDICT)
        (self.place(PREDICT) / "answer.txt").write_text("`4`.\n")
        code, said = self.tour("check")
        self.assertEqual(code, 0, said)

    def test_commands_do_not_undo_each_other(self) -> None:
        """While watch runs, another exercise is done."""
        self.tour("01")
        self.tour(PREDICT)
        watching, output = self.watch(PREDICT)
        (self.place("01") / "answer.txt").write_text("reset\n")
        self.assertEqual(self.tour("check", "01")[0], 0)
        (self.place(PREDICT) / "answer.txt").write_text("4\n")
        self.assertEqual(watching.wait(60), 0, output.read_text())
        self.assertIn("done 01", self.tour()[1])
        self.assertIn("done 06", self.tour()[1])

    def test_what_must_be_built_is_told(self) -> None:
        self.assertEqual(self.tour("--needed", "check", PREDICT)[1], "\n")
        self.tour(PREDICT)
        self.assertEqual(self.tour("--needed", "check", PREDICT)[1], "\n")  # no answer yet
        (self.place(PREDICT) / "answer.txt").write_text("4\n")
        self.assertEqual(self.tour("--needed", "check", PREDICT)[1], "02_blocking_loop\n")
        self.tour(FIND)
        self.assertEqual(self.tour("--needed", "check")[1], "stage_tests\n")
        self.assertEqual(self.tour("--needed", "run")[1], "\n")

    def test_code_is_judged_and_never_touched(self) -> None:
        self.tour(FIND)
        code, said = self.tour("check")
        self.assertEqual(code, 1, said)
        self.assertIn("FAILED  Misbehaving.HeldClientsCostNoCpu: a client connects and", said)
        self.assertIn("Expected: (used())", said)  # the test's own text
        self.assertIn("This is how it begins", said)
        source = self.place(FIND) / "conversation.h"
        source.write_text(source.read_text() + "oops\n")
        code, said = self.tour("check")
        self.assertEqual(code, 1, said)
        self.assertIn("It does not compile.\n", said)
        self.assertNotIn("-std=c++20", said)
        self.assertIn("error: ‘oops’ does not name a type", said.replace("'oops'", "‘oops’"))
        self.assertTrue(source.read_text().endswith("oops\n"))
        shutil.copy(ROOT / "02_blocking_loop" / "conversation.h", source)
        code, said = self.tour("check")
        self.assertEqual(code, 0, said)
        self.assertIn("07 is done.", said)

    def test_a_start_may_not_compile_yet(self) -> None:
        self.tour("17")
        code, said = self.tour("check")
        self.assertEqual((code, "It does not compile, as expected" in said), (1, True), said)
        source = self.place("17") / "common.h"
        source.write_text(source.read_text() + "oops\n")
        code, said = self.tour("check")
        self.assertEqual((code, "It does not compile.\n" in said), (1, True), said)

    def test_what_passes_its_tests_must_pass_the_suite(self) -> None:
        self.tour(FIND)
        source = self.place(FIND) / "conversation.h"
        text = (ROOT / "02_blocking_loop" / "conversation.h").read_text()
        self.assertIn("return responses.too_late;", text)
        source.write_text(text.replace("return responses.too_late;", "return responses.too_large;"))
        code, said = self.tour("check")
        self.assertEqual(code, 1, said)
        self.assertIn("passed  Misbehaving.HeldClientsCostNoCpu", said)
        self.assertIn("But these pass with the stage", said)

    def test_hints_come_one_by_one(self) -> None:
        self.tour(FIND)
        for number in (1, 2, 3):
            code, said = self.tour("hint")
            self.assertIn(f"Hint {number} of 3", said)
            self.assertEqual(said.count("Hint "), 1)
            self.assertEqual("There are no more" in said, number == 3)

    def test_the_answer_is_shown_and_changes_nothing(self) -> None:
        self.tour(FIND)
        before = (self.place(FIND) / "conversation.h").read_text()
        code, said = self.tour("answer")
        self.assertIn('+            throw std::runtime_error("the client left before', said)
        self.assertEqual((self.place(FIND) / "conversation.h").read_text(), before)
        self.assertIn("begun > 07", self.tour()[1])

    def test_reset_keeps_what_was_there(self) -> None:
        self.tour(FIND)
        (self.place(FIND) / "conversation.h").write_text("mine\n")
        code, said = self.tour("reset")
        self.assertEqual(code, 0, said)
        kept = list(self.work.glob("07_*.1"))
        self.assertEqual([(each / "conversation.h").read_text() for each in kept], ["mine\n"])
        self.assertNotEqual((self.place(FIND) / "conversation.h").read_text(), "mine\n")

    def test_watch_judges_each_save(self) -> None:
        self.tour(PREDICT)
        watching, output = self.watch(PREDICT)
        (self.place(PREDICT) / "answer.txt").write_text("5\n")
        self.until(lambda: "That is not what happens" in output.read_text())
        (self.place(PREDICT) / "answer.txt").write_text("4\n")
        self.assertEqual(watching.wait(60), 0, output.read_text())
        self.assertIn("06 is done", output.read_text())

    def watch(self, number: str) -> tuple[subprocess.Popen[bytes], pathlib.Path]:
        """Begins to watch; and the file with what it says."""
        output = self.work / "watched"
        with output.open("w") as file:
            watching = subprocess.Popen(
                self.command("watch", number), cwd=ROOT, env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        self.addCleanup(watching.kill)
        self.until(lambda: "Ctrl-C ends this" in output.read_text())
        return watching, output

    def until(self, condition: object) -> None:
        end = time.monotonic() + 60
        while not condition():  # type: ignore[operator]
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_errors_are_named(self) -> None:
        for words, error in [
            (["99"], "there is no exercise or command '99'"),
            (["check", "07"], "07 is not begun yet"),
            (["7", "8"], "one exercise at a time"),
        ]:
            code, said = self.tour(*words)
            self.assertEqual((code, error in said), (2, True), said)

    def test_a_body_is_taken_away(self) -> None:
        text = "class A {\npublic:\n    int f(int a,\n          int b) {\n        return a + b;\n    }\n};\n"
        left = page.without_body(text, "A::f")
        self.assertEqual(left.splitlines()[4:6], ["        // Write this.", "        return 0;"])
        self.assertEqual(left.splitlines()[6:], ["    }", "};"])


if __name__ == "__main__":
    unittest.main()
