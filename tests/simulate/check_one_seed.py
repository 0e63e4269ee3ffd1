"""Does `simulate --seed N` say every option that N stands for, as text and as one JSON object?

usage: check_one_seed.py SIMULATE
"""

import json
import re
import subprocess
import sys

SEED = ("--seed", "77")


def output_of(program: str, *arguments: str) -> str:
    command = [program, *SEED, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    (program,) = sys.argv[1:]
    for more in ((), ("--damage",)):
        text = output_of(program, *more)
        said = dict(re.findall(r"^ {4}(\S.{19}) (.+)$", text, re.MULTILINE))
        options = {name.strip(): value for name, value in said.items()}
        told = json.loads(output_of(program, *more, "--json"))
        assert {"replicas", "page_size", "mean_ms crash"} <= options.keys(), text
        assert told["options"] == options, (told["options"], options)
        assert told["ok"] and told["seed"] == 77 and told["damage"] == bool(more), told
        assert f"hash {told['hash']}, {told['events']} events" in text, text
        assert bool(more) == ("marks" in told), told
    print(f"{len(options)} options of a seed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
