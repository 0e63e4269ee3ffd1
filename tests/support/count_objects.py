"""Succeeds when a static library holds the expected number of objects.

The compilation of the library is the real test: this gives it a line in the test report, and
notices a library that was built from fewer sources than it should have been.
"""

import argparse
import subprocess
import sys


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library")
    parser.add_argument("expected", type=int)
    parser.add_argument("--archiver", default="ar")
    options = parser.parse_args()
    listing = subprocess.run(
        [options.archiver, "t", options.library], check=True, capture_output=True, text=True
    )
    found = len(listing.stdout.split())
    print(f"{found} of {options.expected} sources compiled")
    return 0 if found == options.expected else 1


if __name__ == "__main__":
    sys.exit(main())
