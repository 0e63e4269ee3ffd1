"""The same with servers that are processes of sql_node, which are killed."""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster"))
from cluster import Cluster
from sql_process import Lost, wait_until

LAST_SECOND = 1.0  # what a cut of a log may take with it
SCHEMA = "CREATE TABLE IF NOT EXISTS item(number INTEGER PRIMARY KEY, body);"
# What a start makes in an empty folder before it refuses it: locks, and a blank record.
MADE = {"quorlite.lock", "databases/.quorlite/lock", "databases/.quorlite/double-write"} | {
    f"databases/.quorlite/superblock-{slot}" for slot in (0, 1)
}
ORDERS = ("lagging first", "all at once", "whole first", "damaged last")


def copy_folder(source: pathlib.Path, target: pathlib.Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    # Most of an open segment is zeros.
    subprocess.run(["cp", "-r", "--sparse=always", source, target], check=True)


class Rows:
    """What was written, and what a client was told: its number, and when it was acknowledged."""

    def __init__(self):
        self.acknowledged: dict[int, float] = {}
        self.refused: set[int] = set()
        self.next = 1

    def copy(self) -> "Rows":
        made = Rows()
        made.acknowledged = dict(self.acknowledged)
        made.refused = set(self.refused)
        made.next = self.next
        return made

    def insert(self, cluster: Cluster, count: int, chance: random.Random, limit: float) -> bool:
        """So many are acknowledged. @returns false: not in time"""
        end = time.monotonic() + limit
        while count > 0:
            left = end - time.monotonic()
            leader = cluster.leader(max(left, 0.0)) if left > 0 else None
            if leader is None:
                return False
            number, self.next = self.next, self.next + 1
            size = chance.choice((20, 300, 900, 5000))
            sql = f"INSERT INTO item VALUES({number}, randomblob({size}));"
            try:
                said = cluster.process(leader).ask(sql, max(left, 1.0))
            except Lost:
                continue
            if not said:
                self.acknowledged[number] = time.monotonic()
                count -= 1
            elif "(10250)" in said[0]:
                self.refused.add(number)
        return True


class Base:
    """A cluster that was killed while one of its servers lagged, and older copies of folders."""

    def __init__(self, options: argparse.Namespace, root: pathlib.Path, chance: random.Random):
        shutil.rmtree(root, ignore_errors=True)
        self.root = root
        (root / "live").mkdir(parents=True)
        flags = ["--wait", "3"]
        if chance.random() < 0.5:
            flags += ["--snapshot-bytes", "65536"]
        if chance.random() < 0.6:
            flags += ["--flush-bytes", "32768"]
        self.text = "founded, processes " + " ".join(flags[2:])
        self.cluster = Cluster(options.node, root / "live", flags)
        self.rows = Rows()
        try:
            self._another_cluster(options)
            self._fill(chance)
        finally:
            self.cluster.close()

    def end(self, server: int) -> pathlib.Path:
        return self.root / "end" / str(server)

    def stale(self, server: int) -> list[pathlib.Path]:
        return sorted(self.root.glob(f"older copy */{server}"))

    def another_cluster(self, server: int) -> pathlib.Path:
        return self.root / "another cluster" / str(server)

    def _another_cluster(self, options: argparse.Namespace) -> None:
        """Three of one server each, with the numbers and the addresses of ours."""
        for server in self.cluster.ids:
            data = self.another_cluster(server)
            command = [options.node, "--id", str(server), "--data", str(data), "--found"]
            data.parent.mkdir(exist_ok=True)
            subprocess.run(
                [*command, "--address", self.cluster.addresses[server]],
                input=f".leader 30\n{SCHEMA}\nINSERT INTO item VALUES(1, 'of another cluster');\n",
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )

    def _copy(self, name: str, which: list[int]) -> None:
        (self.root / name).mkdir()
        for server in which:
            copy_folder(self.cluster.data(server), self.root / name / str(server))

    def _some(self, least: int, most: int, chance: random.Random) -> None:
        if not self.rows.insert(self.cluster, chance.randint(least, most), chance, 60.0):
            raise Lost("a base cannot be made: no row is taken")

    def _fill(self, chance: random.Random) -> None:
        cluster = self.cluster
        cluster.start_all()
        cluster.ask_leader(SCHEMA)
        self._some(5, 30, chance)
        cluster.even(30)
        # A server with another cluster's folder may lead there: nobody asks it for ours.
        cluster.identity = cluster.process(cluster.leader()).status()["cluster"]
        self._copy("older copy 1", cluster.ids)
        self._some(20, 100, chance)
        cluster.even(30)
        self._copy("older copy 2", cluster.ids)
        self.lagging = chance.choice(cluster.ids)
        others = [server for server in cluster.ids if server != self.lagging]
        if chance.random() < 0.3:
            cluster.process(self.lagging).stop()
        else:
            cluster.process(self.lagging).kill()
        self._some(10, 60, chance)
        self._copy("older copy 3", others)
        self._some(3, 10, chance)
        time.sleep(LAST_SECOND + 0.3)
        self._some(1, 6, chance)
        self.ended = time.monotonic()
        for server in others:
            cluster.process(server).kill()
        self._copy("end", cluster.ids)

    def is_of_last_second(self, number: int) -> bool:
        return self.rows.acknowledged[number] > self.ended - LAST_SECOND


class Trial:
    """One damage, and what comes of it."""

    def __init__(self, options: argparse.Namespace, base: Base, number: int):
        self.options = options
        self.base = base
        self.number = number
        self.chance = random.Random(f"{options.seed}.{number}")
        self.cluster = base.cluster
        self.rows = base.rows.copy()
        self.findings: list[str] = []
        self.lost: list[int] = []
        self.outcome = ""
        self.told = ""
        self.excuse = ""
        self.named = ""
        self.healed = ""
        self.others_down = True
        self.diverged = False
        ids = self.cluster.ids
        likely = [server for server in ids if server != base.lagging]
        self.hurt = self.chance.choice(ids if self.chance.random() < 0.45 else likely)
        others = [server for server in ids if server != self.hurt]
        self.lagging = base.lagging if base.lagging in others else others[0]
        self.whole = next(server for server in others if server != self.lagging)
        self.order = self.chance.choice(ORDERS + ORDERS[:1])
        self.flags = ["--join"] if self.chance.random() < 0.3 else []

    def run(self) -> dict:
        began = time.monotonic()
        try:
            self._damage()
            self._start_in_order()
            self._settle()
            if self.outcome != "excused":
                self._heal()
        except Lost as error:
            self._find(str(error))
        finally:
            self.cluster.close()
        return {
            "kind": self.done["kind"],
            "file": self.done["file"],
            "what": self.done["what"],
            "server": self.hurt,
            "lags": self.hurt == self.base.lagging,
            "base": self.base.text,
            "order": self.order,
            "join": bool(self.flags),
            "outcome": "violation" if self.findings else self.outcome,
            "seen": self.outcome,
            "excuse": self.excuse,
            "told": self.told,
            "named": self.named,
            "healed": self.healed,
            "findings": self.findings,
            "number": self.number,
            "processes": True,
            "seconds": round(time.monotonic() - began, 1),
        }

    def _find(self, text: str) -> None:
        self.findings.append(text)

    def _worker(self, *arguments: object) -> str:
        told = subprocess.run(
            [self.options.worker, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return told.stdout

    def _damage(self) -> None:
        for server in self.cluster.ids:
            copy_folder(self.base.end(server), self.cluster.data(server))
            self._worker("--seal", self.options.seed, self.cluster.data(server))
        other = self.chance.choice([self.lagging, self.whole])
        self.had = self._files()
        told = self._worker(
            "--hurt",
            self.options.seed,
            self.number,
            self.cluster.data(self.hurt),
            self.base.end(other),
            self.base.another_cluster(self.hurt),
            *self.base.stale(self.hurt),
        )
        self.done = json.loads(told)
        self.had |= self._files()

    # ---- the course

    def _start_hurt(self) -> None:
        self.cluster.start(self.hurt, *self.flags)

    def _start_whole(self, server: int) -> None:
        self.cluster.start(server)
        if not self._answers(server):
            words = self.cluster.process(server).last_words()
            self._find(f"server {server}, which is whole, does not start: {words}")

    def _answers(self, server: int) -> bool:
        """@returns false: it has ended, or says nothing"""
        if server not in self.cluster.statuses():
            process = self.cluster.process(server)
            wait_until(lambda: not process.running() or self._status(server) is not None, 20.0)
        process = self.cluster.process(server)
        process.expected_to_end = process.expected_to_end or server == self.hurt
        return process.running()

    def _status(self, server: int) -> dict | None:
        try:
            return self.cluster.process(server).status(2.0)
        except (Lost, KeyError):
            return None

    def _try_some(self) -> None:
        if self._answers(self.hurt):
            self.rows.insert(self.cluster, self.chance.randint(1, 3), self.chance, 4.0)

    def _start_in_order(self) -> None:
        if self.order == "damaged last":
            self._start_whole(self.whole)
            self._start_whole(self.lagging)
            if not self.rows.insert(self.cluster, 2, self.chance, 30.0):
                self._find("two whole servers do not take a row within 30 s")
            self.others_down = False
            self._start_hurt()
            return
        self._start_hurt()
        first, second = self.lagging, self.whole
        if self.order == "whole first":
            first, second = second, first
        self._start_whole(first)
        if self.order != "all at once":
            self._try_some()
        self._start_whole(second)

    # ---- what came of it

    def _settle(self) -> None:
        runs = self._answers(self.hurt)
        written = self.rows.insert(self.cluster, 3, self.chance, 30.0)
        told = []

        def settled() -> bool:
            told[:] = self._told_of()
            return bool(told) or self._alike(self.cluster.ids)

        even = wait_until(settled, 20.0, 0.1) if runs else False
        even = even and not told
        without = even or wait_until(lambda: self._alike([self.whole, self.lagging]), 20.0, 0.1)
        self._name_outcome(even, told)
        self._compare()
        if self.lost:
            self._judge_loss()
        if self.outcome != "excused":
            if not written:
                self._find("no row is taken within 30 s, though two servers are whole")
            if not without:
                self._find(f"the two whole servers do not come even: {self.cluster.statuses()}")

    def _told_of(self) -> list[str]:
        """What came of the damaged server, and its words; empty: nothing yet."""
        process = self.cluster.process(self.hurt)
        if not process.running():
            return ["refused at start", self._refusal()]
        mine = self._status(self.hurt)
        if mine and mine["role"] == "halted":
            return ["halted", f"{mine.get('halted')}; {mine.get('engine_failed')}"]
        refused = [
            f"server {server} refuses {one['server']}: {one['why']} at {one['position']}"
            for server, status in self.cluster.statuses().items()
            for one in status.get("refused", [])
        ]
        refused += [
            f"server {server} hears {one['server']} in the place of {one['in_the_place_of']}"
            for server, status in self.cluster.statuses().items()
            for one in status.get("strangers", [])
        ]
        if refused:
            return ["refused by peers", "; ".join(refused)]
        if mine and mine["waits"]:
            return ["waits to be added", str(mine["to_be_said_on_leader"])]
        return []

    def _refusal(self) -> str:
        """What the last start said behind its first line, which has the command in it."""
        text = self.cluster.process(self.hurt).log.read_text(encoding="utf-8")
        lines = text[text.rindex("---- ") :].split("\n")
        told = [line for line in lines if line.startswith("sql_node: ")]
        first = told[0].rsplit(": ", 1)[-1] if told else ""
        return " | ".join([first, *(line[10:] for line in told[1:])])

    def _alike(self, servers: list[int]) -> bool:
        said = self.cluster.statuses()
        stands = {
            (said[one]["position"], said[one].get("history")) for one in servers if one in said
        }
        leads = any(said[one]["role"] == "leader" for one in servers if one in said)
        return leads and all(one in said for one in servers) and len(stands) == 1

    def _name_outcome(self, even: bool, told: list[str]) -> None:
        told = told or self._told_of()
        if even or not told:
            self.outcome = "harmless" if even else "not told"
            if not even:
                self._find(f"it does not come even, and nobody says why: {self.cluster.statuses()}")
            return
        self.outcome, self.told = told
        if self.outcome == "refused at start":
            self._check_refusal()
        elif self.outcome == "halted" and "index" not in self.told and "page" not in self.told:
            self._find(f"the halt names no index: {self.told}")

    def _files(self) -> set[str]:
        folder = self.cluster.data(self.hurt)
        return {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}

    def _check_refusal(self) -> None:
        """It has to name a file that is in that folder, or was."""
        left = self._files()  # the engine closes segments as it reads them
        # Of a pair one tells that the other is missing, also where it is the one that changed; a
        # record of another server may name a database that is not there.
        others = self.had | left | {"metadata1", "metadata2", "databases/app.db"}
        is_empty = left <= MADE and "this is an empty folder" in self.told
        self.named = (
            "the damaged file"
            if any(map(self._names, self.done["files"]))
            else "another file"
            if any(map(self._names, others))
            else "the folder"
            if is_empty
            else ""
        )
        if not self.named:
            self._find(f"the refusal names no file: {self.told}")

    def _names(self, path: str) -> bool:
        """What says how to go on has names of the log's files, too: the first form alone counts."""
        name = pathlib.PurePath(path).name
        ways = [f"{name}, byte ", f"{name}: ", f"{name} and ", f"'{name}'"]
        return any(way in self.told for way in ways[: 4 if path.startswith("databases/") else 1])

    def _compare(self) -> None:
        images = {}
        parted = set()  # who has said that the other is of another history
        said_by = self.cluster.statuses()
        server_id_of = {status["server"]: server for server, status in said_by.items()}
        for server in self.cluster.ids:
            before = self._status(server)
            if before is None or before["role"] == "halted" or before["waits"]:
                continue
            file = self.cluster.folder / f"backup-{server}.db"
            file.unlink(missing_ok=True)
            said = self.cluster.process(server).ask(f".backup {file}", 30.0)
            after = self._status(server)
            if said and server != self.hurt:
                self._find(f"server {server}, which is whole, .backup: {said}")
            elif said:
                self._name_outcome(False, [])  # a page that was read only now
            elif after and after["position"] == before["position"]:
                images[server] = (after["position"], file.read_bytes())
                refused = {each["server"] for each in after.get("refused", [])}
                parted |= {(server, server_id_of[each]) for each in refused & set(server_id_of)}
        for one, (position, image) in images.items():
            for other, (same, bytes_there) in images.items():
                alike = image == bytes_there or {(one, other), (other, one)} & parted
                if one < other and position == same and not alike:
                    self.diverged = True
                    self._find(f"servers {one} and {other} have other bytes at {position}")
        self._compare_rows()

    def _compare_rows(self) -> None:
        leader = self.cluster.leader(5.0) or self.whole
        said = self.cluster.process(leader).ask("SELECT number FROM item;", 30.0)
        present = {int(line) for line in said if line.isdecimal()}
        self.lost = sorted(set(self.rows.acknowledged) - present)
        if refused := present & self.rows.refused:
            self._find(f"rows {sorted(refused)} are there although they were refused")
        if strange := [number for number in present if number >= self.rows.next]:
            self._find(f"rows {strange} are there although nobody wrote them")
        integrity = self.cluster.process(leader).ask("PRAGMA integrity_check;", 30.0)
        if integrity != ["ok"]:
            self._find(f"integrity: {integrity}")

    def _judge_loss(self) -> None:
        text = f"{len(self.lost)} acknowledged rows are lost, the first is {self.lost[0]}"
        of_base = all(number < self.base.rows.next for number in self.lost)
        last_second = of_base and all(map(self.base.is_of_last_second, self.lost))
        cut = self.done["cut_without_trace"]
        # No loss excuses servers that differ: neither is excused then.
        rolled_back = self.done["kind"] == "folder rolled back" and self.others_down
        if rolled_back and not self.diverged:
            self.excuse = "a rollback of the whole folder while all others were down"
        elif cut and last_second and not self.diverged:
            self.excuse = "a cut of the last second of a log without a trace"
        else:
            self._find(text + (" (the log ends earlier, without a trace)" if cut else ""))
            return
        self.outcome = "excused"
        self.told = f"{text} | {self.told}"
        self.findings.clear()  # of what came of that: servers that part

    # ---- what the text says is done, and the server is back

    def _heal(self) -> None:
        broken = self.outcome in ("refused at start", "refused by peers", "halted")
        if self.findings or not broken or self.chance.random() > 0.3:
            return
        self.cluster.process(self.hurt).kill()
        if "and server" in self.told and "was asked for" in self.told:
            self.healed = "its own folder is brought back"
            copy_folder(self.base.end(self.hurt), self.cluster.data(self.hurt))
            self._worker("--seal", self.options.seed, self.cluster.data(self.hurt))
            self.cluster.start(self.hurt)
        else:
            self.healed = "removed, and added with an empty folder"
            self.cluster.ask_leader(f".remove {self.hurt}", 30.0)
            self.cluster.wipe(self.hurt)
            self.cluster.start(self.hurt, "--join")
            self.cluster.take_in(self.hurt, 30.0)
        if not wait_until(lambda: self._alike(self.cluster.ids), 30.0, 0.1):
            self._find(f"healed ({self.healed}), it does not come even: {self.cluster.statuses()}")
            return
        self._compare()
        if self.lost:
            self._find(f"rows {self.lost} are lost after the healing")


class Trials:
    """Trials of one thread, one after the other."""

    def __init__(self, options: argparse.Namespace, number: int, folder: pathlib.Path):
        self.options = options
        self.folder = folder / f"processes-{number}"
        self.base: Base | None = None
        self.of = -1

    def run(self, base: int, first: int, last: int, results) -> None:
        """The damages `first` to `last`, of one base."""
        if self.of != base:
            chance = random.Random(f"{self.options.seed}.base.{base}")
            self.base = Base(self.options, self.folder, chance)
            self.of = base
        for number in range(first, last + 1):
            results.take(Trial(self.options, self.base, number).run())

    def end(self) -> None:
        pass
