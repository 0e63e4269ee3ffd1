"""Prints the files under a folder that match a pattern, relative to it, sorted, one a line."""

import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.rglob(sys.argv[2])):
    print(path.relative_to(folder).as_posix())
