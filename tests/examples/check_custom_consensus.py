"""Runs docs/examples/custom_consensus again and again: what it committed must be there."""

import pathlib
import subprocess
import sys
import tempfile


def run(program: str, folder: str) -> subprocess.CompletedProcess:
    return subprocess.run([program, folder], capture_output=True, text=True, timeout=60)


def expect(program: str, folder: str, row: int) -> None:
    result = run(program, folder)
    wanted = f"row {row}\n"
    if result.returncode != 0 or result.stdout != wanted:
        sys.exit(f"wanted {wanted!r}, got {result}")


def main() -> None:
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for row in (1, 2, 3):
            expect(program, folder, row)
        log = pathlib.Path(folder) / "app.log"
        whole = log.read_bytes()

        # A record that was torn by a crash: the row is gone, and all before it is there.
        log.write_bytes(whole[:-1])
        expect(program, folder, 3)
        # The same with one byte damaged.
        log.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        expect(program, folder, 3)
        # Noise after the end, as of a record whose length was not written yet.
        log.write_bytes(whole + b"\0" * 100)
        expect(program, folder, 4)
        expect(program, folder, 5)

        missing = run(program, folder + "/missing")
        if missing.returncode == 0 or "No such file" not in missing.stderr:
            sys.exit(f"a folder that is not there: {missing}")
    print("every row was there again")


if __name__ == "__main__":
    main()
