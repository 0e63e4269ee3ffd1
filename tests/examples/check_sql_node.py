"""Runs docs/examples/sql_node as a cluster of one, and checks what its shell answers.

usage: check_sql_node.py CASE PROGRAM
"""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "data" / "golden"

SHORTER = re.compile(r": app\.db, byte 4096: it is shorter than")

SCRIPT = """\
.print hello
CREATE TABLE t(a, b); INSERT INTO t VALUES(1, NULL), (2.5, 'x|y');
SELECT * FROM t; select count(*) from t;

-- a comment; with a semicolon
/* one more; */
SELECT *
  FROM nosuch;
insert into t
 values (1;
SELEC 1;
# not SQL
create table u(a unique); insert into u values(1),(1);
select 'a
b', x'414200', 1e300*10;
.foo
select max(a) frm t;
select 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', max(a) frm tt x from;
select 'äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöü', max(a) frm tt x from;
select abs(-9223372036854775808);
begin; insert into t values(9,9); rollback;
create trigger g after insert on t begin update t set b = new.a; select 1; end;
insert into t values ('after', 'a trigger');
select 1; selec 2; select 3;
select a, typeof(b), quote(b) from t order by 1;
.headers on
select a as first, b second from t where a = 'after';
select 1 where 0;
.headers off
select 7
"""


def expect(holds: bool, text: object) -> None:
    if not holds:
        sys.exit(str(text))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The flags of a server that is a cluster by itself."""

    def __init__(self, program: str, folder: str):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data" / "1"
        self.address = f"127.0.0.1:{free_port()}"
        self.command = [program, "--id", "1", "--data", str(self.data), "--address", self.address]

    def started(self) -> list[str]:
        """The command: the first time it founds the cluster."""
        return [*self.command, *([] if self.data.exists() else ["--found"])]

    def run(self, script: str, *flags: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*self.started(), *flags], input=script, capture_output=True, text=True, timeout=60
        )

    def lines(self, script: str, *flags: str) -> list[str]:
        """Of a script that must go well."""
        result = self.run(script, *flags)
        expect(result.returncode == 0 and result.stderr == "", result)
        return result.stdout.split("\n")[:-1]


def as_sqlite3(program: str, folder: str) -> None:
    """The same lines give the same rows and the same errors as in the sqlite3 shell."""
    shell = shutil.which("sqlite3")
    expect(shell is not None, "sqlite3 is not installed: nothing to compare with")
    theirs = subprocess.run([shell], input=SCRIPT, capture_output=True, text=True, timeout=60)
    ours = Server(program, folder).run(SCRIPT)
    for name in ("stdout", "stderr"):
        mine, other = ((getattr(one, name) + "\nend").split("\n") for one in (ours, theirs))
        for line, wanted in zip(mine, other):
            expect(line == wanted, f"{name}: {line!r}, the sqlite3 shell: {wanted!r}\n{ours}")
    expect(ours.returncode == theirs.returncode == 1, f"{ours}\n{theirs}")


def commands(program: str, folder: str) -> None:
    server = Server(program, folder)
    expect(server.lines("CREATE TABLE t(a, b); CREATE VIEW v AS SELECT a FROM t;") == [], "create")
    expect(server.lines(".tables") == ["t", "v"], ".tables")
    expect(server.lines(".schema T") == ["CREATE TABLE t(a, b);"], ".schema")
    expect(len(server.lines(".schema")) == 2, ".schema of all")
    json_rows = "INSERT INTO t VALUES (1, NULL), (2.5, 'x\"y'), ('ä', x'00');\n.mode json\n"
    json_rows += "SELECT * FROM t; SELECT 1 WHERE 0;"
    rows = json.loads("\n".join(server.lines(json_rows)))
    wanted = [{"a": 1, "b": None}, {"a": 2.5, "b": 'x"y'}, {"a": "ä", "b": "\0"}]
    expect(rows == wanted, rows)

    (line,) = server.lines(".leader\n")
    expect(line == server.address, line)
    status = json.loads(server.lines("SELECT 1 WHERE 0;\n.status\n")[0])
    expect(status["role"] == "leader" and status["leader"]["id"] == 1, status)
    (member,) = status["servers"]
    expect(member["id"] == status["id"] == 1 and not status["waits"], status)
    expect(re.fullmatch(r"1\.[0-9a-f]{10}", status["server"]) is not None, status)
    expect(member["server"] == status["leader"]["server"] == status["server"], status)
    expect(status["databases"][0]["name"] == "app.db" and status["term"] > 0, status)
    expect(re.fullmatch("[0-9a-f]{32}", status["cluster"]) is not None, status)
    expect(re.fullmatch("[0-9a-f]{32}", status["history"]) is not None, status)
    expect(server.lines(".upgrade") == [], "the history has begun: nothing is done")
    expect(status["commit_index"] > 0 and status["memory_bytes"] > 0, status)
    expect(status["pinned_bytes"] == 0 and status["snapshots_ended"] == 0, status)

    nobody = f"127.0.0.1:{free_port()}"
    told = server.run(f".add 2.1f3a09c4d7={nobody}\n.remove 2\n", "--wait", "2")
    expect("server 2.1f3a09c4d7 is listed and has no vote yet" in told.stderr, told)
    expect(f"at {nobody}" in told.stderr and "try again" not in told.stderr, told)

    plain = server.folder / "with spaces.db"
    expect(server.lines(f".backup '{plain}'\n") == [], ".backup")
    database = sqlite3.connect(plain)
    expect(database.execute("SELECT count(*) FROM t").fetchone() == (3,), "rows of the backup")
    database.close()
    told = server.run(f".backup '{plain}'\n")
    expect("File exists" in told.stderr and told.returncode == 1, told)
    expect(server.lines("DELETE FROM t;\nSELECT count(*) FROM t;\n") == ["0"], "deleted")
    restored = server.lines(f".restore '{plain}'\nSELECT count(*) FROM t;\n.tables\n")
    expect(restored == ["3", "t", "v"], restored)

    other = ".open other.db\nCREATE TABLE o(a);\n.open app.db\n.tables\n.databases\n"
    expect(server.lines(other) == ["t", "v", "app.db", "other.db"], ".open")
    script = server.folder / "script.sql"
    script.write_text("INSERT INTO t VALUES (4, 4);\nSELECT count(*) FROM t")
    expect(server.lines(f".read {script}\n.print 'a  b' c\n") == ["4", "a  b c"], ".read")
    script.write_text(f"SELECT 1;\n.read {script}\n")
    deep = server.run(f".read {script}\n")
    expect(deep.stdout == "1\n" * 25 and "deeply" in deep.stderr, deep)
    script.write_text(".bail on\nSELECT 1;\nSELEC;\nSELECT 2;\n")
    bailed = server.run(f".read {script}\nSELECT 3;\n")
    expect(bailed.stdout == "1\n" and bailed.returncode == 1, bailed)
    expect(server.lines("SELECT 1;\n.quit\nSELECT 2;\n", "--serve") == ["1"], ".quit")


def wrong_commands(program: str, folder: str) -> None:
    wrong = {
        ".nonsense": "unknown command",
        ".": "unknown command",
        ".backup": "unknown command or invalid arguments",
        ".backup /nowhere/file": "cannot write '/nowhere/file'",
        ".restore": "unknown command or invalid arguments",
        ".restore /nowhere/file": "No such file",
        ".restore /dev/null": "cannot restore from '/dev/null': empty",
        ".read /nowhere/file": "cannot open",
        ".open ../a": "not a database name",
        ".open": "unknown command or invalid arguments",
        ".mode box": "takes list or json",
        ".headers maybe": "takes on or off",
        ".timeout soon": "takes a number",
        ".add 2": "ID=HOST:PORT",
        ".add 2=127.0.0.1": "ID=HOST:PORT",
        ".add 2=127.0.0.1:1": "the id that server 2 printed",
        ".add 2.1f3a09c4d7=localhost:1": "wants an IPv4 address",
        ".add 1=127.0.0.1:1": "the id that server 1 printed",
        ".add 2.1f=127.0.0.1:1": "takes a number",
        ".readmit": "unknown command or invalid arguments",
        ".readmit two": "takes a number",
        ".readmit 2": "no server of that id is refused",
        ".remove two": "takes a number",
        ".remove 2": "no such server",
        ".remove 1": "it is the only one that votes",
        ".transfer": "unknown command or invalid arguments",
        ".outcome 3": "takes a number",
    }
    result = Server(program, folder).run("\n".join(wrong) + "\nSELECT 'still here';\n")
    said = result.stderr.rstrip("\n").split("\n")
    expect(len(said) == len(wrong), result)
    for line, (command, words) in zip(said, wrong.items()):
        expect(line.startswith("Error: ") and words in line, f"{command}: {line}")
    expect(result.stdout == "still here\n" and result.returncode == 1, result)


def older_joiner(program: str, folder: str) -> None:
    """A server that waits under an id of before prints no .add line: the leader refuses it."""
    data = pathlib.Path(folder) / "data"
    old = GOLDEN / "libraft_three" / "1"  # its log does not name server 9
    shutil.copytree(old, data)
    sizes = json.loads((old.parent / "manifest.json").read_text())["sizes"][old.name]
    for name, size in sizes.items():
        os.truncate(data / name, size)  # zeros at the end are not kept there
    told = subprocess.run(
        [program, "--id", "9", "--data", data, "--address", f"127.0.0.1:{free_port()}"],
        input=".status\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    expect("server 9 waits, under an id of before" in told.stderr, told)
    expect("Say on the leader" not in told.stderr, told)
    status = json.loads(told.stdout)
    expect(status["waits"] and status["to_be_said_on_leader"] == [], status)


def bad_flags(program: str, folder: str) -> None:
    good = ["--id", "1", "--data", folder + "/d", "--address", "127.0.0.1:9001"]
    listed = [*good[:4], "--cluster"]
    file = pathlib.Path(folder) / "file"
    file.write_text("")
    wrong: dict[tuple, str] = {
        ("--nonsense",): "--nonsense",
        ("stray",): "stray",
        tuple(good[2:]): "--id is missing",
        tuple(good[:2] + good[4:]): "--data is missing",
        tuple(good[:4]): "--address is missing",
        (*good, "--id"): "--id needs a value",
        (*good, "--id", "0"): "--id takes a number",
        (*listed, "1=127.0.0.1:9001", "--id", "2"): "does not name server 2",
        (*good, "--found", "--join"): "--found and --join",
        (*good, "--address", "127.0.0.1"): "HOST:PORT",
        (*good, "--address", "127.0.0.1:0"): "the port",
        (*good, "--address", "localhost:9001"): "wants an IPv4 address",
        (*good, "--address", "[::1]:9001"): "wants an IPv4 address",
        (*good, "--address", "0.0.0.0:9001"): "nobody else finds a server at '0.0.0.0:9001'",
        (*listed, "1=localhost:9001"): "wants an IPv4 address",
        (*good, "--cluster", "1=127.0.0.1:9002"): "--cluster says 127.0.0.1:9002",
        (*good, "--wait", "long"): "--wait takes a number",
        (*good, "--memory=yes"): "unknown flag",
        (*listed, "127.0.0.1:9001"): "ID=HOST:PORT",
        (*listed, "1=127.0.0.1"): "ID=HOST:PORT",
        (*listed, "1=127.0.0.1:0"): "the port",
        (*listed, "one=127.0.0.1:1"): "the id",
        (*listed, "1=127.0.0.1:1,1=127.0.0.1:2"): "ids and addresses differ",
        (*listed, "1=127.0.0.1:1,2=127.0.0.1:1"): "ids and addresses differ",
        (*good, "--data", str(file)): "not a folder",
        (*good, "--data", str(file / "below")): "not a folder",
        (*good, "--json"): "--json goes with --check",
        ("--check",): "--check needs a value",
    }
    for arguments, words in wrong.items():
        result = subprocess.run(
            [program, *arguments], input="", capture_output=True, text=True, timeout=60
        )
        expect(result.returncode == 2 and result.stdout == "", f"{arguments}: {result}")
        expect(words in result.stderr and "--help" in result.stderr, f"{arguments}: {result}")
    help_text = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60)
    expect(help_text.returncode == 0 and help_text.stderr == "", help_text)
    flags = ("--id", "--data", "--address", "--found", "--join", "--moved", "--cluster")
    for flag in (*flags, "--memory", "--serve", "--wait", "--check", "--json"):
        expect(f"  {flag} " in help_text.stdout, f"{flag} is not in {help_text.stdout}")


def read_with_sqlite(file: pathlib.Path, query: str) -> str:
    """What stock SQLite says of a file."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        try:
            return str(database.execute(query).fetchone()[0])
        except sqlite3.DatabaseError as error:
            return str(error)


def restarts(program: str, folder: str) -> None:
    """However it ends, what was acknowledged is there again. Other tools read a clean end only."""
    server = Server(program, folder)
    server.lines("CREATE TABLE t(n INTEGER PRIMARY KEY);")
    file = server.folder / "data" / "1" / "databases" / "app.db"
    refused = "file is not a database"
    rows = 0
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None):
        process = subprocess.Popen(
            server.started(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        process.stdin.write("INSERT INTO t DEFAULT VALUES; SELECT count(*) FROM t;\n")
        process.stdin.flush()
        rows += 1
        expect(process.stdout.readline() == f"{rows}\n", f"rows before {end}")
        told = read_with_sqlite(file, "SELECT count(*) FROM t")
        expect(told == refused, f"another tool, beside the server: {told}")
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        status = process.wait(30)
        expect(status == (-9 if end == signal.SIGKILL else 0), f"{end}: status {status}")
        told = read_with_sqlite(file, "SELECT count(*) FROM t")
        wanted = refused if end == signal.SIGKILL else str(rows)
        expect(told == wanted, f"another tool, after {end}: {told}")
    check = read_with_sqlite(file, "PRAGMA integrity_check")
    expect(check == "ok", check)
    expect(server.lines("SELECT count(*) FROM t;") == [str(rows)], "rows in the end")
    (check,) = server.lines("PRAGMA integrity_check;")
    expect(check == "ok", check)


def serves_on(program: str, folder: str) -> None:
    """--serve outlives its input; SIGTERM ends it, also in the middle of a query."""
    server = Server(program, folder)
    with subprocess.Popen(
        [*server.started(), "--serve"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        time.sleep(1)
        expect(process.poll() is None, f"it ended: {process.returncode}")
        process.terminate()
        expect(process.wait(30) == 0, "its exit status")
    process = subprocess.Popen(
        server.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n WHERE 0;"
    process.stdin.write(f"SELECT 'begins';\n{endless}\n".encode())
    process.stdin.flush()
    process.stdout.readline()
    time.sleep(0.3)
    process.terminate()
    said = process.communicate(timeout=30)
    expect(process.returncode == 0, f"after a long query: {process.returncode} {said}")


def read_terminal(terminal: int, words: bytes, limit: float = 20.0) -> bytes:
    said = b""
    end = time.monotonic() + limit
    while words not in said:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        expect(bool(ready), f"no {words!r} on the terminal: {said!r}")
        said += os.read(terminal, 4096)
    return said


def on_a_terminal(program: str, folder: str) -> None:
    """A prompt, another one inside a statement, and errors without line numbers."""
    server = Server(program, folder)
    process, terminal = pty.fork()
    if process == 0:
        os.environ["TERM"] = "dumb"
        os.execv(program, server.started())
    read_terminal(terminal, b"sql> ")
    os.write(terminal, b"SELECT 40 +\n")
    read_terminal(terminal, b"...> ")
    os.write(terminal, b"2;\n")
    read_terminal(terminal, b"42")
    os.write(terminal, b"SELEC;\n")
    said = read_terminal(terminal, b"syntax error")
    expect(b"near line" not in said, said)
    os.write(terminal, b".status\n")
    read_terminal(terminal, b'"role": "leader"')
    os.write(terminal, b".quit\n")
    _, status = os.waitpid(process, 0)
    expect(os.waitstatus_to_exitcode(status) == 1, f"status {status}")  # there was an error


def flip(file: pathlib.Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def content_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}


def checks_folders(program: str, folder: str) -> None:
    """--check says what a folder holds, and what is damaged in it; a start refuses that."""
    server = Server(program, folder)
    server.lines("CREATE TABLE t(x); INSERT INTO t VALUES(1);")
    server.lines("INSERT INTO t VALUES(randomblob(5000));")
    data = server.folder / "data" / "1"

    def check(*flags: str) -> subprocess.CompletedProcess:
        command = [program, "--check", str(data), *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    whole = check()
    expect(whole.returncode == 0 and whole.stdout.endswith("\nwhole\n"), whole)
    expect("app.db: " in whole.stdout and "as their hashes say" in whole.stdout, whole)
    told = json.loads(check("--json").stdout)
    expect(told["whole"] and not told["log"]["defects"], told)
    expect(told["log"]["position"] >= told["databases"]["position"] > 0, told)
    expect(told["databases"]["databases"][0]["bad_pages"] == 0, told)
    ranges = told["log"]["ranges"]
    expect(ranges[0]["first"] == 1 and ranges[-1]["last"] == told["log"]["last_index"], told)
    end = told["log"]["log_end"]  # of what was answered: a write may have been under way
    expect(told["log"]["last_index"] - 1 <= end["index"] <= told["log"]["last_index"], told)
    expect(f"log_end: it had entry {end['index']} of term {end['term']}\n" in whole.stdout, whole)
    # No command is behind what was stored, so there is one history, and it is the server's.
    status = json.loads(server.lines("SELECT 1 WHERE 0;\n.status\n")[0])
    told = json.loads(check("--json").stdout)
    log, databases = told["log"]["history"], told["databases"]["history"]
    expect(told["log"]["compared"] and log["cluster"] == databases["cluster"], told)
    expect(log["cluster"] == told["log"]["cluster"] == status["cluster"], (told, status))
    expect(log["hash"] == databases["hash"] == status["history"], (told, status))
    expect(log["hash"] == told["log"]["log_end"]["applied_hash"], told)
    expect(0 < log["begins_at"] == databases["begins_at"] <= databases["position"], told)
    whole = check()
    expect(f", of cluster {log['cluster']}\n" in whole.stdout, whole)
    line = f"since position {log['begins_at']}; at its end, history {log['hash']}\n"
    expect(line in whole.stdout, whole)

    segment = data / told["log"]["ranges"][-1]["file"]
    flip(segment, 30)
    before = content_of(data)
    told = json.loads(check("--json").stdout)
    (defect,) = told["log"]["defects"]
    expect(not told["whole"] and defect["fault"] == "damaged", told)
    expect(defect["file"] == segment.name and defect["byte"] == 8 and defect["remedy"], defect)
    text = check()
    expect(text.returncode == 1 and f"DAMAGE: {segment.name}, byte 8: " in text.stdout, text)
    started = server.run("SELECT 1;")
    expect(started.returncode == 1 and started.stdout == "", started)
    expect("the log is damaged" in started.stderr, started)
    expect(f"{segment.name}, byte 8: " in started.stderr, started)
    expect(defect["remedy"] in started.stderr, started)
    expect(content_of(data) == before, "a refused start changes the log")
    flip(segment, 30)

    database = data / "databases" / "app.db"
    flip(database, 4096 + 2000)
    told = json.loads(check("--json").stdout)
    expect(not told["whole"] and not told["log"]["defects"], told)
    (one,) = told["databases"]["databases"]
    expect(one["bad_pages"] == 1 and one["first_bad"] == 2, told)
    flip(database, 4096 + 2000)
    expect(check().returncode == 0, check())
    whole = database.read_bytes()
    database.write_bytes(whole[:4096])
    text = check()
    expect(text.returncode == 1 and SHORTER.search(text.stdout), text)
    started = server.run("SELECT 1;")
    expect(started.returncode == 1 and SHORTER.search(started.stderr), started)
    expect(f"that file is in '{database.parent}'" in started.stderr, started)
    database.write_bytes(whole)
    expect(check().returncode == 0, check())

    # They are on another volume, which is not mounted.
    (data / "databases").rename(data / "kept")
    (data / "databases").symlink_to(server.folder / "not mounted")
    text = check()
    expect(text.returncode == 1 and "databases: Not a directory" in text.stdout, text)
    expect(not json.loads(check("--json").stdout)["whole"], check("--json"))
    started = server.run("SELECT 1;")
    expect(started.returncode == 1, started)
    expect(f"'{data}/databases' is no folder" in started.stderr, started)
    expect("restore" not in started.stderr, started)
    (data / "databases").unlink()
    (data / "kept").rename(data / "databases")
    expect(check().returncode == 0, check())

    # Where the databases do not stand behind the log's end, log_end tells.
    (data / "databases").rename(data / "kept")
    segment.rename(data / "away")
    before = content_of(data)
    (defect,) = json.loads(check("--json").stdout)["log"]["defects"]
    expect(defect["fault"] == "too_short" and "by log_end it had" in defect["what"], defect)
    started = server.run("SELECT 1;")
    expect(started.returncode == 1 and defect["what"] in started.stderr, started)
    expect(content_of(data) == before, "a refused start changes the log")
    (data / "away").rename(segment)
    shutil.rmtree(data / "databases", ignore_errors=True)
    (data / "kept").rename(data / "databases")

    # The databases of another cluster, and its log.
    other = Server(program, str(server.folder / "other"))
    other.lines("CREATE TABLE t(x); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2);")

    def is_refused(what: str) -> None:
        before = content_of(data)
        text = check()
        (defect,) = json.loads(check("--json").stdout)["log"]["defects"]
        expect(text.returncode == 1 and text.stdout.endswith("see what is said above\n"), text)
        expect(defect["fault"] == "another_cluster" and what in defect["what"], defect)
        expect((data / defect["file"]).is_file(), defect)
        started = server.run("SELECT 1;")
        place = f"{defect['file']}, byte {defect['byte']}: "
        expect(started.returncode == 1 and place + defect["what"] in started.stderr, started)
        expect(defect["remedy"] in started.stderr, started)
        expect(content_of(data) == before, "a refused start changes the log")

    shutil.move(data / "databases", data / "kept")
    shutil.copytree(other.data / "databases", data / "databases")
    is_refused("what the databases hold to cluster")
    shutil.rmtree(data / "databases")

    def is_of_log(file: pathlib.Path) -> bool:
        return file.is_file() and file.name not in {"server", "quorlite.lock"}

    ours = {file.name: file.read_bytes() for file in data.iterdir() if is_of_log(file)}
    for file in ours:
        (data / file).unlink()
    for file in filter(is_of_log, other.data.iterdir()):
        shutil.copy(file, data / file.name)
    is_refused("and its log to cluster")
    shutil.rmtree(data / "databases", ignore_errors=True)
    for file in filter(is_of_log, data.iterdir()):
        file.unlink()
    for name, content in ours.items():
        (data / name).write_bytes(content)
    shutil.move(data / "kept", data / "databases")
    expect(check().returncode == 0, check())

    for file in data.glob("0*"):
        file.unlink()
    told = json.loads(check("--json").stdout)
    expect([one["fault"] for one in told["log"]["defects"]] == ["too_short"], told)
    started = server.run("SELECT 1;")
    expect(started.returncode == 1 and "the databases stand at" in started.stderr, started)
    expect("metadata" in told["log"]["defects"][0]["file"], told)  # it is all that is left

    missing = subprocess.run(
        [program, "--check", folder + "/none"], capture_output=True, text=True, timeout=60
    )
    expect(missing.returncode == 1 and "No such file" in missing.stdout, missing)

    # A backup is looked at, by the wrong name.
    for wrong in (server.folder, data / "databases"):
        text = subprocess.run(
            [program, "--check", str(wrong)], capture_output=True, text=True, timeout=60
        )
        expect(text.returncode == 1 and "nothing in this folder is a server's" in text.stdout, text)
        command = [program, "--check", str(wrong), "--json"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        expect(told.returncode == 1 and json.loads(told.stdout)["of_nobody"], told)


CASES = [
    as_sqlite3,
    commands,
    wrong_commands,
    older_joiner,
    bad_flags,
    restarts,
    checks_folders,
    serves_on,
    on_a_terminal,
]


def main() -> None:
    by_name = {case.__name__: case for case in CASES}
    if len(sys.argv) != 3 or sys.argv[1] not in by_name:
        sys.exit(f"{__doc__}CASE: {' '.join(by_name)}")
    with tempfile.TemporaryDirectory() as folder:
        by_name[sys.argv[1]](sys.argv[2], folder)


if __name__ == "__main__":
    main()
