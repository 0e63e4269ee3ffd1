"""Python's own sqlite3 over a replicated database, by the name of a replica's VFS.

usage: from_python.py MODULE    the shared library that python_module.cpp makes
"""

import contextlib
import ctypes
import sqlite3
import sys

NOT_LEADER = 10250  # not applied: write on the leader

# [connect]
def connect(vfs_name: str, database: str) -> contextlib.closing:
    # isolation_level=None: who writes BEGIN and COMMIT sees their errors, too
    name = f"file:{database}?vfs={vfs_name}"
    return contextlib.closing(sqlite3.connect(name, uri=True, isolation_level=None))
# [/connect]


def check(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"this does not hold: {what}")


def main() -> None:
    module = ctypes.CDLL(sys.argv[1])
    module.example_vfs_name.restype = ctypes.c_char_p
    module.example_vfs_name.argtypes = [ctypes.c_uint64]
    module.example_leader.restype = ctypes.c_uint64
    count = module.example_start()
    leader = module.example_leader()

    def vfs_name(number: int) -> str:
        return module.example_vfs_name(number).decode()

    try:
        with connect(vfs_name(leader), "app.db") as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE note(text)")
            db.executemany("INSERT INTO note VALUES(?)", [("hello",), ("from Python",)])
            db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "no such vfs" in str(error):
            print("skipped: this Python has a SQLite of its own, which knows no VFS of ours")
            sys.exit(77)
        raise
    check(module.example_settle() == 1, "the replicas come to one state")

    for number in range(1, count + 1):
        with connect(vfs_name(number), "app.db") as db:
            rows = [text for (text,) in db.execute("SELECT text FROM note ORDER BY text")]
            check(rows == ["from Python", "hello"], f"replica {number} has {rows}")
            code = 0
            try:
                db.execute("INSERT INTO note VALUES('again')")
            except sqlite3.DatabaseError as error:
                why = db.execute("PRAGMA quorlite_error").fetchone()
                print(f"{error.sqlite_errorcode}, {error}: {why}")
                code = error.sqlite_errorcode
            check(code == (0 if number == leader else NOT_LEADER), f"replica {number}: {code}")

    with contextlib.closing(sqlite3.connect(":memory:")) as plain:  # is none of ours, and works
        check(plain.execute("SELECT 1").fetchone() == (1,), "other databases are as ever")
    module.example_stop()


if __name__ == "__main__":
    main()
