"""Does the program of the README that keeps its databases in files go on where it was?

usage: check_one_server.py PROGRAM
"""

import socket
import subprocess
import sys
import tempfile


def expect(holds: bool, text: object) -> None:
    if not holds:
        sys.exit(str(text))


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def main() -> None:
    (program,) = sys.argv[1:]
    address = free_address()
    with tempfile.TemporaryDirectory(prefix="quorlite-one-server-") as place:
        for rows in ("1", "2", "3"):
            command = [program, place, address, *(["--found"] if rows == "1" else [])]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            expect(ran.returncode == 0 and ran.stdout.split() == [rows], ran)
    ran = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    expect(ran.returncode == 2 and "usage" in ran.stderr, ran)


if __name__ == "__main__":
    main()
