"""One sql_node process: started, spoken to over its pipes, stopped in every way there is."""

import collections
import collections.abc
import json
import pathlib
import signal
import subprocess
import threading
import time


class Lost(Exception):
    """The process has no answer: it is gone, or it does not answer in time."""


class Request:
    """Text that was sent, and the lines that came back for it."""

    def __init__(self, text: str, whole: collections.abc.Callable | None = None):
        self.text = text
        self.lines: list[str] = []
        self.answered = False  # else, once done: the process went away first
        self.done = threading.Event()
        self._whole = whole

    def finish(self, answered: bool) -> None:
        self.answered = answered
        if self._whole is not None:
            self._whole(self)
        self.done.set()


class SqlProcess:
    """Speaks to the standard input; a marker behind each request tells where its answer ends.

    Answers are taken by a thread of its own, so that one that comes late (from a process that was
    paused) is still counted for what it is.
    """

    def __init__(self, command: list[str], log: pathlib.Path):
        self.command = command
        self.log = log
        self.expected_to_end = False
        self._requests: collections.deque[tuple[str, Request]] = collections.deque()
        self._lock = threading.Lock()
        self._count = 0
        self._ended = False
        self._log_file = open(log, "a", encoding="utf-8")
        self._log_file.write(f"---- {' '.join(command)}\n")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # errors in their place among the answers
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # What it says before it reads its first line is no answer to whoever asks first.
        try:
            self.send(Request(""))
        except Lost:
            pass  # it did not start; whoever asks is told

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        lines: list[str] = []
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self._log_file.write(line + "\n")
            marker, request = self._requests[0] if self._requests else ("", None)
            if request is not None and line == marker:
                self._requests.popleft()
                request.lines, lines = lines, []
                request.finish(True)
            else:
                lines.append(line)
        with self._lock:
            self._ended = True
            waiting = list(self._requests)
            self._requests.clear()
            self._log_file.close()
        for _, request in waiting:
            request.finish(False)

    def send(self, request: Request) -> Request:
        """@raises Lost: nothing was sent"""
        with self._lock:
            if self._ended:
                raise Lost("it does not run")
            self._count += 1
            marker = f"answered {self.pid}.{self._count}"
            self._requests.append((marker, request))
            try:
                asked = f"{request.text}\n" if request.text else ""
                self._process.stdin.write(f"{asked}.print {marker}\n".encode())
                self._process.stdin.flush()
            except OSError:
                pass  # part of it may have been read: the answer is what the reader makes of it
        return request

    def send_line(self, text: str) -> None:
        """That needs no answer, or ends the process."""
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def ask(self, text: str, limit: float = 10.0) -> list[str]:
        """The lines of the answer. @raises Lost"""
        request = self.send(Request(text))
        if not request.done.wait(limit):
            raise Lost(f"no answer in {limit} s to: {text}")
        if not request.answered:
            raise Lost(f"it ended at: {text}")
        return request.lines

    def status(self, limit: float = 10.0) -> dict:
        lines = self.ask(".status", limit)
        try:
            return json.loads(lines[-1])
        except (IndexError, ValueError) as error:
            raise Lost(f"not a status: {lines}") from error

    # ---- its end

    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, which: int) -> None:
        if self.running():
            self._process.send_signal(which)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.expected_to_end = True
        self.signal(signal.SIGKILL)
        self._process.wait(30)
        self._reader.join(30)

    def stop(self, limit: float = 30.0) -> int | None:
        """SIGTERM. @returns the exit status; None: it does not end"""
        self.expected_to_end = True
        self.signal(signal.SIGTERM)
        return self.wait(limit)

    def wait(self, limit: float) -> int | None:
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(30)
        return status

    def last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8").rstrip("\n").split("\n")
        return " / ".join(lines[-5:])


def wait_until(holds: collections.abc.Callable[[], bool], limit: float, pause: float = 0.02):
    """@returns whether it came to hold within `limit` seconds"""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
