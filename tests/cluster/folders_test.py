"""Whose folder it is, with real processes: who may start on which, and who has a vote.

usage: folders_test.py CASE NODE [PRELOAD]

PRELOAD is tests/cluster/killed_at_call.cpp as a library. A CASE is a sentence, see CASES.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from cluster import Cluster, free_ports, has_inodes
from sql_process import wait_until

ELECTION_TIMEOUT = 1.0  # of sql_node, seconds


def expect(holds: bool, text: object) -> None:
    if not holds:
        raise AssertionError(str(text))


def refusal(cluster: Cluster, server: int, data: pathlib.Path, *flags: str) -> str:
    """What a start says that has to fail, and must change nothing."""
    before = content_of(data)
    command = [cluster.program, "--id", str(server), "--data", str(data)]
    told = subprocess.run(
        [*command, "--address", cluster.addresses[server], *flags],
        input="SELECT 1;\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    expect(told.returncode == 1 and told.stdout == "", told)
    expect(content_of(data) == before, f"a refused start changes the folder: {told}")
    return told.stderr


def content_of(folder: pathlib.Path) -> dict[str, bytes]:
    """Of the log; of an empty folder the lock file is left out."""
    if not folder.exists():
        return {}
    files = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    return {name: content for name, content in files.items() if content or len(files) > 1}


def write(cluster: Cluster, sql: str) -> None:
    leader = cluster.leader()
    expect(leader is not None, "nobody leads")
    said = cluster.process(leader).ask(sql, 60)
    expect(not said, said)


def kill_all(cluster: Cluster) -> None:
    for server in cluster.ids:
        cluster.process(server).kill()


# ---- the cases


def a_wiped_server_that_starts_under_its_old_number_has_no_vote(cluster: Cluster) -> None:
    cluster.start_all()
    write(cluster, "CREATE TABLE t(x); INSERT INTO t VALUES(1);")
    expect(not isinstance(cluster.even(60), str), "the servers do not come even")
    leader = cluster.leader()
    wiped, other = [server for server in cluster.ids if server != leader]
    old = cluster.process(wiped).status()["server"]
    cluster.process(wiped).kill()
    # The other one has what the third acknowledged as well; the leader alone has what comes now.
    cluster.wipe(wiped)
    cluster.start(wiped, "--join")
    now = cluster.process(wiped).status()
    expect(now["server"] != old and now["server"].startswith(f"{wiped}."), now)
    expect(now["waits"], now)
    write(cluster, "INSERT INTO t VALUES(2);")
    cluster.process(leader).kill()

    def leads() -> bool:
        return cluster.process(other).status()["role"] == "leader"

    expect(not wait_until(leads, 6 * ELECTION_TIMEOUT), "the wiped server gave its vote away")
    expect(cluster.process(wiped).status()["waits"], "it takes part unasked")
    cluster.start(leader)
    expect(cluster.leader() in (leader, other), "a majority of those that remember does not lead")
    said = cluster.process(cluster.leader()).ask(f".add {now['server']}={cluster.addresses[wiped]}")
    expect(len(said) == 1 and f".remove {old}" in said[0], said)
    cluster.ask_leader(f".remove {wiped}")
    cluster.take_in(wiped)
    write(cluster, "INSERT INTO t VALUES(3);")
    expect(not isinstance(cluster.even(60), str), "the servers do not come even again")
    rows = cluster.process(wiped).ask("SELECT group_concat(x) FROM t;")
    expect(rows == ["1,2,3"], rows)


def an_empty_folder_is_refused_and_the_commands_to_say_instead_are_told(cluster: Cluster) -> None:
    data = cluster.data(1)
    told = refusal(cluster, 1, data)
    command = f"sql_node --id 1 --data {data} --address {cluster.addresses[1]}"
    expect(f"{command} --found\n" in told and f"{command} --join\n" in told, told)
    told = refusal(cluster, 1, data, "--cluster", f"1={cluster.addresses[1]}")
    expect(f"{command} --found\n" in told and f"{command} --join\n" in told, told)
    # What was refused can be said right afterwards.
    cluster.start(1, "--found")
    write(cluster, "CREATE TABLE t(x);")
    cluster.process(1).kill()
    cluster.start(1)
    write(cluster, "INSERT INTO t VALUES(1);")
    cluster.process(1).kill()
    # A service file of before goes on.
    cluster.options = ["--cluster", ",".join(f"{i}={a}" for i, a in cluster.addresses.items())]
    cluster.start(1)
    write(cluster, "INSERT INTO t VALUES(2);")
    rows = cluster.process(1).ask("SELECT count(*) FROM t;")
    expect(rows == ["2"], rows)


def a_copied_folder_is_refused_and_another_servers_is_too(cluster: Cluster) -> None:
    cluster.start_all()
    write(cluster, "CREATE TABLE t(x); INSERT INTO t VALUES(1);")
    ids = {server: cluster.process(server).status()["server"] for server in cluster.ids}
    kill_all(cluster)
    for flags in ((), ("--join",), ("--moved",)):
        told = refusal(cluster, 1, cluster.data(2), *flags)
        expect(f"server {ids[2]}'s, and server 1 " in told, told)
    copy = cluster.folder / "copy"
    shutil.copytree(cluster.data(2), copy)
    told = refusal(cluster, 3, copy)
    expect(f"server {ids[2]}'s, and server 3 " in told, told)
    if has_inodes(copy):
        for flags in ((), ("--join",)):
            told = refusal(cluster, 2, copy, *flags)
            expect("this folder is a copy" in told and "with moved" in told, told)
    # Somebody cleans up: rm *.lock. Nothing is copied, and nothing has to be set up anew.
    lock = cluster.data(1) / "quorlite.lock"
    lock.write_bytes(b"")
    told = refusal(cluster, 1, cluster.data(1))
    expect("its file quorlite.lock was removed" in told, told)
    expect("If somebody has removed that file" in told, told)
    cluster.start(1, "--moved")
    expect(cluster.process(1).status()["server"] == ids[1], "it has another id")
    cluster.process(1).kill()
    # The original is gone for good: it is said, once, and from then on the copy is the folder.
    cluster.wipe(2)
    copy.rename(cluster.data(2))
    cluster.start(1)
    cluster.start(2, "--moved")
    write(cluster, "INSERT INTO t VALUES(2);")
    expect(cluster.process(2).status()["server"] == ids[2], "it has another id")
    cluster.process(2).kill()
    cluster.start(2, "--join")  # may stay in a service file
    cluster.start(3)
    write(cluster, "INSERT INTO t VALUES(3);")
    expect(not isinstance(cluster.even(60), str), "the servers do not come even")
    expect(cluster.process(2).status()["server"] == ids[2], "it has another id")


def a_joiner_that_is_killed_while_it_waits_keeps_its_id(cluster: Cluster) -> None:
    cluster.start(1, "--found")
    cluster.start(2, "--join")
    waiting = cluster.process(2).status()
    line = f".add {waiting['server']}={cluster.addresses[2]}"
    expect(waiting["waits"] and waiting["to_be_said_on_leader"] == [line], waiting)
    cluster.process(2).kill()
    told = cluster.process(2).log.read_text()
    expect(f"Say on the leader:  {line}\n" in told, told)
    told = refusal(cluster, 2, cluster.data(2), "--found")
    expect("it waits to be added" in told, told)
    cluster.start(2)
    now = cluster.process(2).status()
    expect(now["server"] == waiting["server"] and now["waits"], now)
    cluster.ask_leader(line)
    expect(wait_until(lambda: not cluster.process(2).status()["waits"], 30), "it waits for ever")
    write(cluster, "CREATE TABLE t(x);")


def a_server_that_starts_at_another_address_is_told_where_it_is_looked_for(
    cluster: Cluster,
) -> None:
    cluster.start_all()
    write(cluster, "CREATE TABLE t(x); INSERT INTO t VALUES(1);")
    leader = cluster.leader()
    moved = next(server for server in cluster.ids if server != leader)
    before, id = cluster.addresses[moved], cluster.process(moved).status()["server"]
    expect("looked_for_at" not in cluster.process(moved).status(), "it runs where it should")
    expect(not isinstance(cluster.even(60), str), "the servers do not come even")
    cluster.process(moved).kill()
    (port,) = free_ports(1, random.Random())
    cluster.addresses[moved] = f"127.0.0.1:{port}"
    cluster.start(moved)
    expect(cluster.process(moved).status()["looked_for_at"] == before, "it does not know")
    cluster.process(moved).kill()
    told = cluster.process(moved).log.read_text()
    cluster.start(moved)
    expect(f"Start it with --address {before}. " in told, told)
    line = f".add {id}={cluster.addresses[moved]}"
    expect(f"\n.remove {id}\n{line}\n" in told, told)
    # To add a member once more changes nothing, and must not be answered as if it did.
    said = cluster.process(leader).ask(line, 60)
    expect(len(said) == 1 and before in said[0] and f".remove {id}  first" in said[0], said)
    cluster.ask_leader(f".remove {id}")
    cluster.ask_leader(line)
    write(cluster, "INSERT INTO t VALUES(2);")
    expect(not isinstance(cluster.even(60), str), "the servers do not come even again")
    expect("looked_for_at" not in cluster.process(moved).status(), "it was taken in there")
    rows = cluster.process(moved).ask("SELECT group_concat(x) FROM t;")
    expect(rows == ["1,2"], rows)


def two_servers_that_exchange_their_addresses_refuse_nobody(cluster: Cluster) -> None:
    cluster.start_all()
    write(cluster, "CREATE TABLE t(x); INSERT INTO t VALUES(1);")
    kill_all(cluster)
    right = dict(cluster.addresses)
    cluster.addresses |= {2: right[3], 3: right[2]}
    for server in cluster.ids:
        cluster.start(server)
    for server in (2, 3):
        told = cluster.process(server).status().get("looked_for_at")
        expect(told == right[server], f"server {server} is looked for at {told}")

    def leads_where_another_is_looked_for() -> bool:
        leader = cluster.leader()
        if leader == 1:
            cluster.process(1).ask(f".transfer {random.choice((2, 3))}", 60)
        return leader in (2, 3)

    # What it sends to the other one comes to itself.
    expect(wait_until(leads_where_another_is_looked_for, 60, 0.2), "neither of them leads")
    write(cluster, "INSERT INTO t VALUES(2);")
    time.sleep(2 * ELECTION_TIMEOUT)
    for server, status in cluster.statuses().items():
        expect("refused" not in status, f"server {server} refuses: {status}")
    kill_all(cluster)
    cluster.addresses = right
    for server in cluster.ids:
        cluster.start(server)
    write(cluster, "INSERT INTO t VALUES(3);")
    expect(not isinstance(cluster.even(60), str), "the servers do not come even")
    rows = cluster.process(2).ask("SELECT group_concat(x) FROM t;")
    expect(rows == ["1,2,3"], rows)


def run_lone(
    cluster: Cluster, asked: str, *flags: str, killed_at: int = 0
) -> subprocess.CompletedProcess:
    """From start to end of server 1, or to its Nth call that changes a file."""
    command = [cluster.program, "--id", "1", "--data", str(cluster.data(1))]
    environment = dict(os.environ)
    if killed_at:
        environment |= {"LD_PRELOAD": sys.argv[3], "KILLED_AT_CALL": str(killed_at)}
    return subprocess.run(
        [*command, "--address", cluster.addresses[1], *flags],
        input=asked,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def names_cluster(cluster: Cluster) -> bool:
    """Whether the file of server 1 has the name: docs/design/history.md, section 9."""
    told = subprocess.run(
        [cluster.program, "--check", str(cluster.data(1)), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    log = json.loads(told.stdout)["log"]
    return log is not None and log["cluster"] is not None


def a_founder_that_is_killed_at_any_call_goes_on_with_the_same_flag(cluster: Cluster) -> None:
    """From its first call until the cluster has its name, and the flag has done its work."""
    asked = ".leader 30\nCREATE TABLE IF NOT EXISTS t(x);\n.status\n"

    def run(*flags: str, killed_at: int = 0) -> subprocess.CompletedProcess:
        return run_lone(cluster, asked, *flags, killed_at=killed_at)

    ids = set()
    named = 0
    for call in range(1, 1000):
        shutil.rmtree(cluster.data(1), ignore_errors=True)
        first = run("--found", killed_at=call)
        expect(first.returncode in (0, -9), first)
        # Which call gives it its name is not the same each time: threads write beside each other.
        has_name = names_cluster(cluster)
        again = run("--found")
        is_refused = "it belongs to cluster" in again.stderr
        expect(is_refused == has_name, f"killed at call {call}, named {has_name}: {again}")
        if has_name:
            named += 1
            again = run()
        expect(again.returncode == 0 and again.stderr == "", f"killed at call {call}: {again}")
        expect('"role":"leader"' in again.stdout, f"killed at call {call}: {again}")
        ids.add(again.stdout.split('"server":"')[1][:12])
        if first.returncode == 0:
            print(f"killed at each of {call - 1} calls; {named} times the cluster had its name")
            expect(named > 0 and call - named > 20, "the founding was not seen from end to end")
            expect(len(ids) == call, f"{len(ids)} ids of {call} foundings")
            return
    raise AssertionError("it never comes to an end")


def a_server_that_is_killed_at_any_call_starts_again_with_all_its_rows(cluster: Cluster) -> None:
    """From the first call of a start to the last one of a stop, log_end written in between."""
    first = run_lone(cluster, ".leader 30\nCREATE TABLE t(x);\n", "--found")
    expect(first.returncode == 0, first)
    asked = ".leader 30\n" + 12 * "INSERT INTO t VALUES(1);\nSELECT count(*) FROM t;\n"
    for call in range(1, 1000):
        killed = run_lone(cluster, asked, killed_at=call)
        expect(killed.returncode in (0, -9), killed)
        told = [int(line) for line in killed.stdout.splitlines() if line.isdigit()]
        again = run_lone(cluster, ".leader 30\nSELECT count(*) FROM t;\n")
        expect(again.returncode == 0 and again.stderr == "", f"killed at call {call}: {again}")
        rows = int(again.stdout.splitlines()[-1])
        expect(rows >= max(told, default=0), f"killed at call {call}: {rows} rows, and {killed}")
        if killed.returncode == 0:
            print(f"killed at each of {call - 1} calls; {rows} rows")
            expect(call > 40, "a run was not seen from end to end")
            return
    raise AssertionError("it never comes to an end")


CASES = {
    case.__name__: (case, count)
    for case, count in (
        (a_wiped_server_that_starts_under_its_old_number_has_no_vote, 3),
        (an_empty_folder_is_refused_and_the_commands_to_say_instead_are_told, 1),
        (a_copied_folder_is_refused_and_another_servers_is_too, 3),
        (a_joiner_that_is_killed_while_it_waits_keeps_its_id, 2),
        (a_server_that_starts_at_another_address_is_told_where_it_is_looked_for, 3),
        (two_servers_that_exchange_their_addresses_refuse_nobody, 3),
        (a_founder_that_is_killed_at_any_call_goes_on_with_the_same_flag, 1),
        (a_server_that_is_killed_at_any_call_starts_again_with_all_its_rows, 1),
    )
}


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] not in CASES:
        sys.exit(f"{__doc__}\nCASES: {' '.join(CASES)}")
    case, count = CASES[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(sys.argv[2], pathlib.Path(folder), [], count=count)
        try:
            case(cluster)
            fallen = cluster.fallen()
            expect(not fallen, fallen)
        finally:
            cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
