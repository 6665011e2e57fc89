"""Is a server judged as it should be? Run: python3 -B tests/try/judge_test.py, after ./tour test."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
servers = importlib.import_module("servers")  # the file, not the folder beside it

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SERVERS = ROOT / "tests" / "try" / "servers"
LOOP_BARE = [str(ROOT / "build/bin/02_blocking_loop_bare"), "{port}"]

OWN_SERVER = """
import pathlib, signal, socket, subprocess, sys, time
port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])

def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(9)
    return listener

def answer(connection):
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += connection.recv(999)
    connection.send(b"HTTP/1.1 200 OK\\r\\n\\r\\nHello, world!")
    return head

def runs(path):
    stat = pathlib.Path("/proc", path.suffix[1:], "stat")
    return stat.exists() and stat.read_text().split()[2] != "Z"

"""


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

    def section(self, name: str) -> list[str]:
        path = self.folder / "section.ini"
        path.write_text(f"{name}\n")
        return ["--expected", str(path), "--as", "01", "--", "x", "{port}"]

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
        profile = self.folder / "python.ini"
        profile.write_text("[profile]\nbacklog = short\nexit_code = 143\n")
        command = [sys.executable, "-m", "http.server", *options]
        code, said = judge(
            "--as", "03", "--level", "4", "--profile", str(profile), "--", *command
        )  # fmt: skip
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
            (self.section("[unexpected]"), "[unexpected] is not known"),
            (["--profile", "/nowhere", "--as", "01", "--", "x", "{port}"], "/nowhere"),
        ]:
            code, said = judge(*words)
            self.assertEqual(code, 2, said)
            self.assertIn(error, said)

    def server(self, text: str, profile_line: str = "") -> list[str]:
        """A server in Python. For `text` there are port, folder, listen() and answer()."""
        path = self.folder / "server.py"
        path.write_text(OWN_SERVER + text)
        profile = self.folder / "own.ini"
        profile.write_text(f"[profile]\nexit_code = 143\n{profile_line}\n")
        command = [sys.executable, str(path), "{port}", str(self.folder)]
        return ["--profile", str(profile), "--", *command]

    def test_a_port_that_was_taken_is_no_fault(self) -> None:
        server = self.server(
            "(folder / f'start.{port}').touch()\n"
            "if len(list(folder.glob('start.*'))) < 3: sys.exit('the port is taken')\n"
            "answer(listen().accept()[0])\n"
        )
        code, said = judge("--as", "01", "--only", "ComparisonOfOneClient.Get", *server)
        self.assertEqual(code, 0, said)
        self.assertEqual(len(list(self.folder.glob("start.*"))), 3)

    def test_nothing_survives(self) -> None:
        # The test starts two servers, one after the other. Each looks for what the first has left.
        server = self.server(
            "if any(map(runs, folder.glob('here.*'))): (folder / 'survived').touch()\n"
            "for kind in ('here', 'elsewhere'):\n"
            "    left = subprocess.Popen(['sleep', '99'], start_new_session=kind == 'elsewhere')\n"
            "    (folder / f'{kind}.{left.pid}').touch()\n"
            "while listen().accept(): pass\n"
        )
        code, said = judge("--as", "02", "--only", "Lifecycle.SignalWhileIdle", *server)
        self.assertEqual(code, 0, said)
        self.assertFalse((self.folder / "survived").exists())
        left = [path.suffix[1:] for path in self.folder.glob("*here.*")]
        self.assertEqual(len(left), 4)
        self.assertEqual([pid for pid in left if pathlib.Path("/proc", pid).exists()], [])

    def test_a_slow_server_has_more_time(self) -> None:
        # A second to end is the limit for the stages, with some tries.
        server = self.server(
            "signals = [signal.SIGINT, signal.SIGTERM]\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, signals)\n"
            "listener = listen()\n"
            "number = signal.sigwait(signals)\n"
            "time.sleep(1.2)\n"
            "signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])\n"
            "signal.signal(number, signal.SIG_DFL)\n"
            "signal.raise_signal(number)\n",
            "patience = 3",
        )
        code, said = judge("--as", "02", "--only", "Lifecycle.SignalRightAfterTheStart", *server)
        self.assertEqual(code, 0, said)

    def test_connections_are_not_kept(self) -> None:
        server = self.server(
            "listener, kept = listen(), []\n"
            "while True:\n"
            "    connection, _ = listener.accept()\n"
            "    head = answer(connection).lower()\n"
            "    if b'http/1.1' in head and b'connection: close' not in head:\n"
            "        kept.append(connection)\n"
            "    connection = None\n"
        )
        for test in ("ComparisonOfOneClient.Get", "RealClients.CurlGets"):
            code, said = judge("--as", "02", "--only", test, *server)
            self.assertEqual(code, 0, said)

    def test_a_crowd_is_not_asked_of_everybody(self) -> None:
        profile = self.folder / "few.ini"
        profile.write_text("[profile]\nmost_clients = 60\n")
        code, said = judge(
            "--as", "06", "--only", "ComparisonOfHeldOpen", "--verbose",
            "--profile", str(profile), "--", "true", "{port}",
        )  # fmt: skip
        self.assertEqual(code, 0, said)
        self.assertIn("the test has 1100 clients at once", said)

    def test_what_varies_is_neither_red_nor_green(self) -> None:
        path = self.folder / "varies.ini"
        path.write_text("[varies]\nComparisonOfOneClient.Get = it depends\n")
        only = ["--as", "02", "--only", "ComparisonOfOneClient.Get", "--expected", str(path)]
        for command in (LOOP_BARE, ["true", "{port}"]):
            code, said = judge(*only, "--", *command)
            self.assertEqual(code, 0, said)
            self.assertIn("level 1, one client: 1 varies", said)

    def test_servers_that_are_not_installed_are_named(self) -> None:
        for environment, expected in (({}, 0), ({"CI": "true"}, 1)):
            with mock.patch.object(servers.Server, "is_installed", return_value=False):
                with mock.patch.object(sys, "argv", ["servers.py", "nginx"]):
                    with mock.patch.dict(os.environ, environment):
                        if not environment:
                            os.environ.pop("CI", None)
                        said = io.StringIO()
                        with contextlib.redirect_stdout(said):
                            self.assertEqual(servers.main(), expected)
            self.assertIn("Not tried: nginx.", said.getvalue())

    def test_a_server_that_does_not_listen(self) -> None:
        code, said = judge(
            "--as", "01", "--only", "ComparisonOfOneClient.Get", "--", "true", "{port}"
        )
        self.assertEqual(code, 1, said)
        self.assertIn("does not listen", said)


if __name__ == "__main__":
    unittest.main()
