"""Are the golden folders the bytes that were once written? tests/data/golden/README.md.

usage: golden_bytes.py [--root DIR] [--add]

--add appends the files of new cases to the list of checksums; it changes no line of it.
"""

import argparse
import hashlib
import pathlib
import sys

LIST = "SHA256SUMS"


def is_of_a_case(path: pathlib.Path, golden: pathlib.Path) -> bool:
    return path.is_file() and len(path.relative_to(golden).parts) > 1


def checksums(golden: pathlib.Path) -> dict[str, str]:
    found = sorted(path for path in golden.rglob("*") if is_of_a_case(path, golden))
    return {
        path.relative_to(golden).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
    }


def recorded(golden: pathlib.Path) -> dict[str, str]:
    file = golden / LIST
    lines = file.read_text().splitlines() if file.exists() else []
    return {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}


def faults(golden: pathlib.Path) -> list[str]:
    there, wanted = checksums(golden), recorded(golden)
    found = [f"{name}: changed" for name in there if wanted.get(name, there[name]) != there[name]]
    found += [f"{name}: missing" for name in wanted if name not in there]
    found += [f"{name}: not in {LIST}" for name in there if name not in wanted]
    manifests = {name.split("/")[0] for name in there if name.endswith("/manifest.json")}
    found += [
        f"{case}: no manifest" for case in {name.split("/")[0] for name in there} - manifests
    ]
    text = (golden / "README.md").read_text()
    found += [f"{case}: not in README.md" for case in manifests if f"`{case}`" not in text]
    return sorted(found)


def add(golden: pathlib.Path) -> None:
    wanted = recorded(golden)
    cases = {name.split("/")[0] for name in wanted}
    with (golden / LIST).open("a") as file:
        for name, checksum in checksums(golden).items():
            if name.split("/")[0] not in cases:
                file.write(f"{checksum}  {name}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent
    )
    parser.add_argument("--add", action="store_true")
    options = parser.parse_args()
    golden = options.root / "tests" / "data" / "golden"
    if options.add:
        add(golden)
    found = faults(golden)
    print(*found, f"{len(checksums(golden))} golden files, {len(found)} faults", sep="\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
