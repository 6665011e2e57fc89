"""Tries the servers of servers.ini, which others have written or which are wrong: ./tour try --servers.

Each has to do what is checked in: servers/NAME/expected.ini names what it fails, and the table in
docs/reference/others.md shows what came of each client.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import judge  # noqa: E402

PAGE = judge.ROOT / "docs" / "reference" / "others.md"
BEGIN, END = "<!-- servers -->\n", "<!-- end of servers -->"
COUNTED = ("passed", "expected failure", "varies", "not applicable")  # of the outcomes


@dataclasses.dataclass
class Server:
    name: str
    title: str
    command: list[str]
    stage: int
    probe: str
    package: str
    version_command: list[str]

    def folder(self) -> pathlib.Path:
        return judge.HERE / "servers" / self.name

    def is_installed(self) -> bool:
        return shutil.which(self.probe) is not None

    def version(self) -> str:
        """Such as "nginx 1.22.1"."""
        done = subprocess.run(self.version_command, capture_output=True, text=True)
        found = re.search(r"[0-9]+(\.[0-9]+)+", done.stdout + done.stderr)
        title = {"node": "Node", "busybox": "BusyBox", "python3": "Python"}
        return f"{title.get(self.probe, self.probe)} {found[0] if found else '?'}"


def all_servers() -> list[Server]:
    ini = judge.read_ini(judge.HERE / "servers.ini")
    servers = []
    for name in ini.sections():
        probe, package, _ = ini[name]["needs"].split("|")
        servers.append(
            Server(
                name,
                ini[name]["title"],
                shlex.split(ini[name]["command"]),
                int(ini[name]["as"]),
                probe,
                package,
                shlex.split(ini[name]["version"]),
            )
        )
    return servers


# ---- One server ----------------------------------------------------------------------------------


def tried(server: Server) -> list[judge.Result]:
    tests, _ = judge.all_tests()
    arguments = argparse.Namespace(command=server.command, profile=server.folder() / "profile.ini")
    expected = judge.read_expected(server.folder() / "expected.ini", tests)
    return judge.judged(tests, judge.run_tests(tests, arguments, server.stage), expected)


def is_as_expected(server: Server, results: list[judge.Result], seconds: float) -> bool:
    """Says what came of it, and shows the report if it is not what is checked in."""
    counts = [f"{sum(r.outcome == outcome for r in results)} {outcome}" for outcome in COUNTED]
    bad = [r for r in results if r.outcome not in COUNTED]
    verdict = "NOT as expected" if bad else "as expected"
    print(
        f"{server.name:10} as stage {server.stage:02}: {verdict} ({', '.join(counts)}; "
        f"{seconds:.0f} s; {server.version()})",
        flush=True,
    )
    if bad:
        tests, _ = judge.all_tests()
        expected = judge.read_expected(server.folder() / "expected.ini", tests)
        judge.print_details(results, expected, verbose=False)
    return not bad


# ---- The page ------------------------------------------------------------------------------------


def column(results: list[judge.Result]) -> dict[str, str]:
    """What the page's table shows of a server, by the row's title."""
    titles = row_titles()
    cells = {}
    for result in results:
        if result.test.name not in titles:
            continue
        cell = result.cell
        if result.outcome == "varies":
            cell = "varies"
        elif not cell:
            cell = "-" if result.outcome == "not applicable" else "fails"
        cells[titles[result.test.name]] = cell
    for outcome, title in (
        ("passed", "*tests that pass*"),
        ("expected failure", "*tests that fail, as expected*"),
        ("varies", "*tests that pass or fail by chance*"),
        ("not applicable", "*tests that don't apply*"),
    ):
        cells[title] = str(sum(r.outcome == outcome for r in results))
    return cells


def row_titles() -> dict[str, str]:
    """The rows of the comparison that ./tour try has a test for: the titles, by test."""
    known = {test.name for test in judge.all_tests()[0]}
    titles = {}
    for line in judge.COMPARISON.read_text().split("## The bare programs")[0].splitlines():
        if (found := re.search(r"`(\w+\.\w+)`", line)) and found[1] in known:
            titles[found[1]] = line.strip("|").split("|")[0].strip()
    return titles


@dataclasses.dataclass
class Table:
    versions: dict[str, str]  # by the server's title
    cells: dict[str, dict[str, str]]  # by the server's title, and the row's


def read_table() -> Table:
    text = PAGE.read_text()
    if BEGIN not in text or END not in text:
        judge.die(f"{PAGE}: it has no lines {BEGIN.strip()} and {END}")
    lines = text.split(BEGIN)[1].split(END)[0].splitlines()
    rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    table = Table({}, {})
    if not rows:
        return table
    for i, title in enumerate(rows[0][1:], 1):
        table.cells[title] = {row[0]: row[i] for row in rows[3:]}
        table.versions[title] = rows[2][i]
    return table


def write_table(table: Table, servers: list[Server]) -> None:
    titles = [server.title for server in servers if server.title in table.cells]
    rows = list(dict.fromkeys(row for title in titles for row in table.cells[title]))
    lines = [
        ["what a client does", *titles],
        ["---"] * (len(titles) + 1),
        ["*seen with*", *(table.versions[title] for title in titles)],
        *([row, *(table.cells[title].get(row, "-") for title in titles)] for row in rows),
    ]
    before, rest = PAGE.read_text().split(BEGIN)
    written = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    PAGE.write_text(before + BEGIN + written + END + rest.split(END)[1])


def is_the_pages(server: Server, table: Table) -> bool:
    """Whether the page speaks of this version: the same first two numbers."""
    version = table.versions.get(server.title, server.version())
    return version.split(".")[:2] == server.version().split(".")[:2]


def agrees(server: Server, seen: dict[str, str], table: Table) -> bool:
    """Whether the page shows what was seen."""
    shown = table.cells.get(server.title, {})
    wrong = [row for row in {**shown, **seen} if shown.get(row) != seen.get(row)]
    for row in wrong:
        print(f"    {row}: the page has '{shown.get(row)}', and this was '{seen.get(row)}'")
    if wrong:
        print(f"    ./tour try --servers {server.name} --update writes docs/reference/others.md")
    return not wrong


# ---- The command ---------------------------------------------------------------------------------


def chosen(arguments: argparse.Namespace, servers: list[Server]) -> list[Server]:
    """Those that were named, or a sample that follows from the commit, or all."""
    names = [server.name for server in servers]
    for name in arguments.names:
        if name not in names:
            judge.die(f"there is no server '{name}'; there are {', '.join(names)}")
    if arguments.sample is not None:
        git = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(git, cwd=judge.ROOT, capture_output=True, text=True)
        count = min(arguments.sample, len(names))
        names = random.Random(done.stdout.strip() or "none").sample(names, count)
    elif arguments.names:
        names = arguments.names
    return [server for server in servers if server.name in names]


def is_fine(server: Server, arguments: argparse.Namespace, table: Table) -> bool:
    """Tries a server, once or twice. With --update, `table` takes what was seen."""
    fine = True
    seen: list[dict[str, str]] = []
    for _ in range(2 if arguments.twice else 1):
        start = time.monotonic()
        results = tried(server)
        fine = is_as_expected(server, results, time.monotonic() - start) and fine
        seen.append(column(results))
    if seen[0] != seen[-1]:
        print("    It isn't the same both times:")
        for row in seen[0]:
            if seen[0][row] != seen[-1][row]:
                print(f"    {row}: first '{seen[0][row]}', then '{seen[-1][row]}'")
        return False
    if arguments.update:
        table.cells[server.title] = seen[0]
        table.versions[server.title] = server.version()
        return fine
    if not is_the_pages(server, table):
        print(f"    The page is about {table.versions[server.title]}, so it isn't compared.")
        return fine
    return agrees(server, seen[0], table) and fine


def arguments_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./tour try --servers",
        description="Tries the servers of tests/try/servers.ini: is each as it was?",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="such a server; all if none")
    parser.add_argument("--sample", type=int, metavar="N", help="N of them, by the commit")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--twice", action="store_true", help="each twice: is it the same?")
    parser.add_argument(
        "--update", action="store_true", help="write what is seen to docs/reference/others.md"
    )
    parser.add_argument("--list", action="store_true", help="list them, and run nothing")
    return parser.parse_args(words)


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    # This Python, and not a script that starts one; and what only root has in its PATH.
    os.environ["PATH"] = ":".join(
        [str(pathlib.Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]
    )
    servers = all_servers()
    if arguments.list:
        for server in servers:
            print(f"{server.name:10} as stage {server.stage:02}: {shlex.join(server.command)}")
        return 0
    table = read_table()
    wrong, skipped = [], []
    for server in chosen(arguments, servers):
        if not server.is_installed():
            print(
                f"{server.name:10} skipped: {server.probe} is not here (package {server.package})"
            )
            skipped.append(server.name)
        elif not is_fine(server, arguments, table):
            wrong.append(server.name)
    if arguments.update:
        write_table(table, servers)
    if wrong:
        print(f"Not as expected: {', '.join(wrong)}.")
    if skipped:
        print(f"Not tried: {', '.join(skipped)}.")
    return 1 if wrong or (skipped and os.environ.get("CI")) else 0


if __name__ == "__main__":
    sys.exit(main())
