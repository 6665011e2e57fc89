"""Is a server judged as it should be? Run: python3 -B tests/try/judge_test.py, after ./tour test."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SERVERS = ROOT / "tests" / "try" / "servers"
LOOP_BARE = [str(ROOT / "build/bin/02_blocking_loop_bare"), "{port}"]


def judge(*words: str) -> tuple[int, str]:
    """The exit code, and all that was said."""
    command = [sys.executable, "-B", str(ROOT / "tests/try/judge.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


class Judge(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="judge.")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def expected(self, text: str) -> list[str]:
        path = self.folder / "expected.ini"
        path.write_text("[expected]\n" + text)
        return ["--expected", str(path)]

    def profile(self, line: str) -> list[str]:
        path = self.folder / f"{line.split()[0]}.ini"
        path.write_text(f"[profile]\n{line}\n")
        return ["--as", "01", "--profile", str(path), "--", "x", "{port}"]

    def test_a_stage_passes_everything_as_itself(self) -> None:
        program = str(ROOT / "build/bin/06_epoll_level")
        command = [program, "--host", "127.0.0.1", "--port", "{port}", "--quiet"]
        profile = ["--profile", str(SERVERS / "stage.ini")]
        code, said = judge("--as", "06", *profile, "--verbose", "--", *command)
        self.assertEqual(code, 0, said)
        skipped = [line for line in said.splitlines() if line.startswith("not applicable")]
        reasons = {line.split(": ", 1)[1] for line in skipped}
        self.assertEqual(reasons, set(), said)

    def test_a_server_of_others_is_tried(self) -> None:
        (self.folder / "index.html").write_text("Hello, world!")
        options = ["--bind", "127.0.0.1", "--directory", str(self.folder), "{port}"]
        profile = ["--profile", str(SERVERS / "python.ini")]
        command = [sys.executable, "-m", "http.server", *options]
        code, said = judge("--as", "03", "--level", "4", *profile, "--", *command)
        self.assertEqual(code, 0, said)
        self.assertIn("level 1, one client: 3 passed, 1 not applicable", said)
        self.assertIn("level 3, the next client: 4 passed", said)

    def test_the_stage_that_it_is_like_is_found(self) -> None:
        program = str(ROOT / "build/bin/02_blocking_loop")
        command = [program, "--host", "127.0.0.1", "--port", "{port}"]
        profile = ["--profile", str(SERVERS / "stage.ini")]
        code, said = judge("--only", "ComparisonOfNextClient", *profile, "--", *command)
        self.assertEqual(code, 0, said)
        self.assertIn("most like stage 02", said)

    def test_failures_and_what_is_known_of_them(self) -> None:
        only = ["--as", "03", "--only", "ComparisonOfNextClient.WhileTheFirstTypes"]
        report = self.folder / "report.xml"
        code, said = judge(*only, "--junit", str(report), "--", *LOOP_BARE)
        self.assertEqual(code, 1, said)
        self.assertIn("FAILED ComparisonOfNextClient.WhileTheFirstTypes", said)
        self.assertIn("By hand: ", said)
        self.assertIn("<failure", report.read_text())
        known = ["--expected", str(SERVERS / "bare_loop_expected.ini")]
        code, said = judge(*only, *known, "--", *LOOP_BARE)
        self.assertEqual(code, 0, said)

    def test_a_pass_that_was_not_expected_is_red(self) -> None:
        known = self.expected("ComparisonOfOneClient.Get = it never answers\n")
        code, said = judge(
            "--as", "02", "--only", "ComparisonOfOneClient.Get", *known, "--", *LOOP_BARE
        )
        self.assertEqual(code, 1, said)
        self.assertIn("UNEXPECTED PASS", said)

    def test_errors_are_named(self) -> None:
        for words, error in [
            (["--as", "03"], "which server?"),
            (["--", "true"], "{port}"),
            (["--only", "Nothing", "--", "x", "{port}"], "no test's name begins with 'Nothing'"),
            (self.expected("No.Test = x\n") + ["--", "x", "{port}"], "there is no test No.Test"),
            (self.profile("to_late = 408"), "'to_late' is not known"),
            (self.profile("exit_code = 1"), "exit_code = 1 does not match 0|143"),
            (["--profile", "/nowhere", "--as", "01", "--", "x", "{port}"], "/nowhere"),
        ]:
            code, said = judge(*words)
            self.assertEqual(code, 2, said)
            self.assertIn(error, said)

    def test_a_server_that_does_not_listen(self) -> None:
        code, said = judge(
            "--as", "01", "--only", "ComparisonOfOneClient.Get", "--", "true", "{port}"
        )
        self.assertEqual(code, 1, said)
        self.assertIn("does not listen", said)


if __name__ == "__main__":
    unittest.main()
