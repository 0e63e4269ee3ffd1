"""A server that is alone, killed and started again: it gives no id of a transaction twice.

usage: lone_test.py NODE
"""

import pathlib
import sys
import tempfile

from cluster import Cluster

ROWS = 20  # in each life
KILLS = 3


def expect(holds: bool, text: object) -> None:
    if not holds:
        raise AssertionError(str(text))


def live(cluster: Cluster, sql: str, *flags: str) -> int:
    """Starts the server, and writes. @returns the term in which it leads"""
    cluster.start(1, *flags)
    expect(cluster.leader() == 1, "it does not lead")
    for each in (sql, "INSERT INTO t VALUES('more');" * ROWS):
        said = cluster.process(1).ask(each, 60)
        expect(not said, said)
    return cluster.process(1).status()["term"]


def outcomes(cluster: Cluster, term: int) -> list[str]:
    """Of the first ids of this term, more than a life gives away."""
    asked = "\n".join(f".outcome {term}.{number}" for number in range(1, 2 * ROWS))
    return cluster.process(1).ask(asked, 60)


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(sys.argv[1], pathlib.Path(folder), [], count=1)
        try:
            terms = [live(cluster, "CREATE TABLE t(x);", "--found")]
            fates = {terms[0]: outcomes(cluster, terms[0])}
            expect(fates[terms[0]].count("committed") > ROWS, fates)
            for _ in range(KILLS):
                cluster.process(1).kill()
                terms.append(live(cluster, "INSERT INTO t VALUES('first');"))
                for term, known in fates.items():
                    # What had not been given away then belongs to nobody, for ever.
                    right = [one if one == "committed" else "not committed" for one in known]
                    now = outcomes(cluster, term)
                    expect(now == right, f"of term {term}: {known}, now {now}")
                fates[terms[-1]] = outcomes(cluster, terms[-1])
            expect(terms == sorted(set(terms)), terms)
            said = cluster.process(1).ask("SELECT count(*) FROM t;")
            expect(said == [str((KILLS + 1) * ROWS + KILLS)], said)
        finally:
            cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
