"""Random damages of one server's folder while another lags; then the servers restart and write.

Each damage has to be harmless, or to be told: the start is refused and the text names the file, the
others refuse that server, or it halts and names the index. What was acknowledged is there
afterwards, and no two servers have other bytes at one position. Excused is what no server can know:
a cut of the last second of a log without a trace, and a rollback of the whole folder while all
others are down; both are counted by themselves. Only with --never-upgraded come clusters whose
history never began: there a log that was shifted or rolled back may pass for whole, which is
excused and counted, and what .upgrade is for.

A base is a cluster of three whose folders were left by a kill, or a stop, while one of them lagged;
copies of one base are damaged again and again. Which damage it is, and to what, comes of the seed;
the bytes of a base and the timing of its servers are the system's, so a repetition is likely, not
certain, to end in the same way.
"""

import argparse
import collections
import json
import os
import pathlib
import queue
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster"))
import processes

OUTCOMES = (
    "harmless",
    "refused at start",
    "refused by peers",
    "halted",
    "waits to be added",
    "told by a check later",
    "excused",
    "violation",
)
SILENCE = 120.0  # seconds without a word of a worker: it hangs
LIVE = threading.Event()  # set: the run is to end


def violation(number: int, text: str, did: str) -> dict:
    return {
        "kind": did.split(":")[0],
        "what": did,
        "number": number,
        "outcome": "violation",
        "seen": "not told",
        "findings": [text],
    }


class Results:
    """Of all damages, as they come. Any thread."""

    def __init__(self, wanted: int):
        self.wanted = wanted
        self.began = time.monotonic()
        self.all: list[dict] = []
        self._lock = threading.Lock()
        self._told = 0.0

    def take(self, one: dict) -> None:
        with self._lock:
            self.all.append(one)
            if one["outcome"] == "violation":
                say(f"{json.dumps(one)}")
            self._progress()

    def _progress(self) -> None:
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._told < (0.2 if terminal else 60.0) and len(self.all) != self.wanted:
            return
        self._told = now
        seconds = now - self.began
        bad = sum(one["outcome"] == "violation" for one in self.all)
        text = (
            f"{len(self.all)} of {self.wanted} damages, {bad} violations, "
            f"{len(self.all) / max(seconds, 0.001):.1f}/s"
        )
        print(f"\r{text} " if terminal else text, end="" if terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def violations(self) -> list[dict]:
        return [one for one in self.all if one["outcome"] == "violation"]

    def table(self, key: str) -> dict[str, dict[str, int]]:
        """How often each outcome came of what."""
        made: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        for one in self.all:
            made[one.get(key) or "several"][one["outcome"]] += 1
        return {
            name: {outcome: made[name][outcome] for outcome in OUTCOMES if made[name][outcome]}
            for name in sorted(made)
        }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Worker:
    """The program that does damages to replicas of its own process; it may fall, and is renewed."""

    def __init__(self, options: argparse.Namespace, number: int, folder: pathlib.Path):
        self.options = options
        self.folder = folder / f"worker-{number}"
        # Servers listen there: of each run, and each worker, another one.
        self.network = f"127.{128 + os.getpid() // 4 % 120}.{(os.getpid() % 4) * 64 + number % 64}"
        self._process: subprocess.Popen | None = None

    def run(self, base: int, first: int, last: int, results: Results) -> None:
        """The damages `first` to `last`, of one base."""
        while first <= last and not LIVE.is_set():
            first = self._some(base, first, last, results)

    def _some(self, base: int, first: int, last: int, results: Results) -> int:
        """@returns the one to go on with"""
        if self._process is None:
            self._begin()
        self._process.stdin.write(f"{base} {first} {last}\n".encode())
        self._process.stdin.flush()
        at, did = first, "a base is made"
        while True:
            line = self._line()
            if line is None or line == "":
                how = "does not end" if line is None else f"fell: {self._fallen()}"
                results.take(violation(at, f"the process {how}", did))
                self.end()
                return at + 1
            if line == "done":
                return last + 1
            if line.startswith("at "):
                at, did = int(line[3:]), "nothing yet"
            elif line.startswith("did "):
                did = line[4:]
            elif line.startswith("{"):
                results.take(json.loads(line))
                at += 1

    def _line(self) -> str | None:
        """@returns an empty text: it has ended; None: it says nothing any more"""
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            if not ready.select(SILENCE):
                return None
        return self._process.stdout.readline().decode().rstrip("\n")

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._words = open(self.folder / "words.log", "wb")
        asked = [self.options.worker, str(self.options.seed), str(self.folder), self.network]
        asked += ["--never-upgraded"] if self.options.never_upgraded else []
        self._process = subprocess.Popen(
            asked,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            start_new_session=True,
        )

    def _fallen(self) -> str:
        status = self._process.wait(30)
        words = (self.folder / "words.log").read_text(encoding="utf-8", errors="replace")
        return f"status {status}: {words.strip()[-500:]}"

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process.stdin.close()
            self._process.stdout.close()
            self._words.close()
            self._process = None


def lots(options: argparse.Namespace, of_processes: bool) -> list[tuple[int, int, int]]:
    """Bases, and the first and the last damage that is done to each."""
    size = options.per_base
    if options.only is not None:
        return [(options.only // size, options.only, options.only)]
    count = options.processes if of_processes else options.count - options.processes
    return [(i // size, i, min(i + size, count) - 1) for i in range(0, count, size)]


def run_all(options: argparse.Namespace, folder: pathlib.Path, results: Results) -> None:
    """Lots are handed out to so many threads, each with servers of its own."""
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    with_processes = options.with_processes or options.only is None
    within = not options.with_processes
    for kind, wanted in ((processes.Trials, with_processes), (Worker, within)):
        for lot in lots(options, kind is processes.Trials) if wanted else []:
            waiting.put((kind, lot))

    def work(number: int) -> None:
        made: dict[type, object] = {}
        try:
            while not LIVE.is_set():
                kind, lot = waiting.get_nowait()
                if kind not in made:
                    made[kind] = kind(options, number, folder)
                made[kind].run(*lot, results)
        except queue.Empty:
            pass
        finally:
            for one in made.values():
                one.end()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(options.jobs)]
    for one in threads:
        one.start()
    try:
        for one in threads:
            while one.is_alive():
                one.join(0.5)
    except KeyboardInterrupt:
        LIVE.set()
        raise


def summary(options: argparse.Namespace, results: Results) -> dict:
    excused = collections.Counter(
        one["excuse"] for one in results.all if one["outcome"] == "excused"
    )
    healed = collections.Counter(one["healed"] for one in results.all if one.get("healed"))
    return {
        "damages": len(results.all),
        "with_processes": sum(bool(one.get("processes")) for one in results.all),
        "seed": options.seed,
        "outcomes": dict(collections.Counter(one["outcome"] for one in results.all)),
        "excused": dict(excused),
        "healed": dict(healed),
        "refusals_name": dict(
            collections.Counter(one["named"] for one in results.all if one.get("named"))
        ),
        "by_kind": results.table("kind"),
        "by_file": results.table("file"),
        "seconds": round(time.monotonic() - results.began, 1),
        "violations": len(results.violations()),
        "findings": sorted(results.violations(), key=lambda one: one["number"])[:50],
    }


def print_table(title: str, rows: dict[str, dict[str, int]]) -> None:
    columns = [one for one in OUTCOMES if any(one in row for row in rows.values())]
    widths = {one: len(one) + 2 for one in columns}
    print(f"\n{title:<28}" + "".join(f"{one:>{widths[one]}}" for one in columns))
    for name, row in rows.items():
        cells = (f"{row.get(one, 0) or '.':>{widths[one]}}" for one in columns)
        print(f"{name:<28}" + "".join(cells))


def print_summary(told: dict) -> None:
    print_table("damage", told["by_kind"])
    print_table("file", told["by_file"])
    print()
    for name, count in told["excused"].items():
        print(f"excused, {name}: {count}")
    for name, count in told["refusals_name"].items():
        print(f"refusals at a start that name {name}: {count}")
    for name, count in told["healed"].items():
        print(f"healed, {name}: {count}")
    print(
        f"\n{told['damages']} damages, {told['with_processes']} of them with processes, "
        f"{told['violations']} violations, {told['seconds']} s"
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="damage_test", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--worker", required=True, metavar="PROGRAM", help=argparse.SUPPRESS)
    parser.add_argument("--node", required=True, metavar="PROGRAM", help="the sql_node to run")
    parser.add_argument("--count", type=int, help="damages in all (default 400)")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="so many of them with servers that are processes, and SIGKILL (default: a tenth)",
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses the damages (default 1)")
    parser.add_argument("--jobs", type=int, default=4, help="clusters at a time (default 4)")
    parser.add_argument(
        "--per-base", type=int, metavar="N", help="damages of one base's copies (default 100)"
    )
    parser.add_argument(
        "--never-upgraded",
        action="store_true",
        help="clusters whose history never began; none with processes",
    )
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this one damage, on its base")
    parser.add_argument(
        "--with-processes", action="store_true", help="with --only: the one of that number there"
    )
    parser.add_argument("--short", action="store_true", help="40 damages, 6 with processes")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--lines", metavar="FILE", help="a line of JSON for each damage")
    parser.add_argument("--folder", metavar="DIR", help="where servers work (default: a new one)")
    options = parser.parse_args()
    options.count = options.count or (40 if options.short else 400)
    if options.processes is None and options.never_upgraded:
        options.processes = 0
    if options.processes is None:
        options.processes = 6 if options.short else options.count // 10
    options.per_base = options.per_base or (12 if options.short else 100)
    if options.processes > options.count:
        parser.error("--processes: not more than --count")
    if options.never_upgraded and (options.processes or options.with_processes):
        parser.error("--never-upgraded: not with processes")
    if options.only is not None:
        options.count = 1
    return options


def main() -> int:
    options = parsed()
    folder = pathlib.Path(options.folder or tempfile.mkdtemp(prefix="damage_test_"))
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(options.count)
    try:
        run_all(options, folder, results)
    finally:
        if not options.folder:
            shutil.rmtree(folder, ignore_errors=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if options.lines:
        with open(options.lines, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in results.all)
    told = summary(options, results)
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        print_summary(told)
    for one in told["findings"]:
        again = [sys.executable, sys.argv[0], "--worker", options.worker, "--node", options.node]
        again += ["--seed", str(options.seed), "--per-base", str(options.per_base)]
        again += ["--only", str(one["number"])]
        again += ["--with-processes"] if one.get("processes") else []
        again += ["--never-upgraded"] if options.never_upgraded else []
        say(f"to repeat: {shlex.join(again)}")
    whole = len(results.all) == results.wanted
    return 0 if whole and not results.violations() else 1


if __name__ == "__main__":
    sys.exit(main())
