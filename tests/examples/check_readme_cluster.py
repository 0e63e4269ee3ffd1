"""Does what the README's section "A cluster" tells a reader to do, with pipes for terminals.

usage: check_readme_cluster.py README PROGRAM
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

PROGRAM = "build/docs/examples/sql_node"


def expect(holds: bool, text: object) -> None:
    if not holds:
        sys.exit(str(text))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Section:
    """The blocks of the section, in their order."""

    def __init__(self, readme: str):
        text = pathlib.Path(readme).read_text(encoding="utf-8")
        (section,) = re.findall(r"^## A cluster\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        kinds = [kind for kind, _ in blocks]
        wanted = ["sh", "", "sql", "", "sh", "sql"]
        expect(kinds == wanted, f"other blocks than expected: {kinds}")
        starts, self.add, self.first, refusal, kill, self.second = (
            block.strip() for _, block in blocks
        )
        self.starts = starts.split("\n")
        self.refusal = refusal
        self.kill = kill
        (self.select,) = re.findall(r"`(SELECT [^`]*;)`", section)
        expect(len(self.starts) == 3 and PROGRAM in starts, f"three commands: {starts}")
        founds, *joins = self.starts
        expect(founds.endswith(" --found"), founds)
        expect(all(one.endswith(" --join") for one in joins), joins)


class Terminal:
    """A shell's window: what is typed goes to the program that runs in it."""

    def __init__(self, folder: str, command: str):
        self.command = command
        self.process = subprocess.Popen(
            f"exec {command}",
            shell=True,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def paste(self, text: str) -> str:
        self.process.stdin.write(f"{text}\n.print that is all\n")
        self.process.stdin.flush()
        said = ""
        for line in self.process.stdout:
            if line == "that is all\n":
                return said.rstrip("\n")
            said += line
        sys.exit(f"it ended at {text!r}: {said}")

    def leader(self, limit: float = 20.0, other_than: str = "") -> str:
        end = time.monotonic() + limit
        while True:
            said = self.paste(".leader")
            if said != other_than and said.startswith("127.0.0.1:"):
                return said
            expect(time.monotonic() < end, f"no new leader: {said}")
            time.sleep(0.1)

    def app_hash(self) -> tuple[str, int]:
        (database,) = json.loads(self.paste(".status"))["databases"]
        expect(database["name"] == "app.db", database)
        return database["hash"], database["pages"]


def wait_for(terminals: dict[str, Terminal], rows: str, section: Section) -> None:
    """A follower hears of a commit a moment later."""
    end = time.monotonic() + 20
    while {one.paste(section.select) for one in terminals.values()} != {rows}:
        expect(time.monotonic() < end, f"not the same rows everywhere, wanted {rows!r}")
        time.sleep(0.05)


def walk(section: Section, folder: str) -> None:
    terminals = {}
    lines = []
    for command in section.starts:
        number, address = re.search(r"--id (\d) .*--address ([\d.]+:\d+)", command).groups()
        expect(f"/data/{number} " in command, command)
        terminals[address] = Terminal(folder, command)
        if command.endswith(" --join"):
            said = terminals[address].paste("")
            line = re.search(rf"\.add {number}\.[0-9a-f]{{10}}={address}", said)
            expect(line is not None, f"server {number} prints no line: {said!r}")
            lines.append(line.group())
    digits = r"\.[0-9a-f]{10}="
    expect(re.sub(digits, "=", section.add) == re.sub(digits, "=", lines[0]), section.add)
    founder = next(iter(terminals.values()))
    for line in lines:
        expect(founder.paste(line) == "", f"server 1 does not take it: {line}")
    old = next(iter(terminals.values())).leader()
    said = terminals[old].paste(section.first)
    expect(said == "", f"the first write: {said!r}")
    wait_for(terminals, "hello", section)

    words = section.refusal.replace("127.0.0.1:9001", old)
    for address, one in terminals.items():
        if address != old:
            said = one.paste("INSERT INTO note VALUES('lost');")
            said = re.sub(r" near line \d+:", ":", said)
            expect(said == words, f"a write on a follower: {said!r}, the README: {words!r}")

    killed = terminals.pop(old)
    number = re.search(r"--id (\d)", killed.command).group(1)
    if shutil.which("pkill"):
        kill = shlex.split(section.kill.replace("--id 1", f"--id {number}"))
        kill[1:1] = ["-P", str(os.getpid())]  # only ours, not a reader's
        subprocess.run(kill, check=True)
    else:
        killed.process.kill()
    expect(killed.process.wait(10) == -9, "the leader was killed")

    new = next(iter(terminals.values())).leader(other_than=old)
    # Others hear of a leader before it may lead: it commits an entry of its own term first.
    expect(terminals[new].leader() == new, "whom the other one names leads")
    said = terminals[new].paste(section.second)
    expect(said == "", f"the second write: {said!r}")
    terminals[old] = Terminal(folder, killed.command.replace(" --found", ""))
    wait_for(terminals, "hello\nstill here", section)
    hashes = {one.app_hash() for one in terminals.values()}
    expect(len(hashes) == 1, f"hashes of app.db: {hashes}")
    for one in terminals.values():
        one.process.communicate(".quit\n", timeout=30)
        expect(one.process.returncode in (0, 1), f"{one.command}: {one.process.returncode}")
    print(f"server {number} led first; {new} took over; the same content everywhere")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    section = Section(sys.argv[1])
    if not all(map(is_free, (9001, 9002, 9003))):
        print("skipped: the README's ports 9001 to 9003 are in use")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder) / PROGRAM
        place.parent.mkdir(parents=True)
        place.symlink_to(os.path.abspath(sys.argv[2]))
        walk(section, folder)


if __name__ == "__main__":
    main()
