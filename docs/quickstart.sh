#!/usr/bin/env bash
# Builds one program, three replicas of a SQLite database in one process, and runs it through
# three failovers. Arguments are passed on to the program, e.g. docs/quickstart.sh --failovers 10
# Environment: BUILD_DIR, CXX and WARNINGS_ARE_ERRORS, as tests/run.sh --help says.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
build_dir=${BUILD_DIR:-build-quickstart}

. tests/support/packages.sh
install_packages "${build_packages[@]}"

setup=(meson setup "$build_dir" --buildtype=release)
setup+=(-Dexamples=enabled -Dtests=disabled -Dbenchmarks=disabled -Dlibraft=disabled)
setup+=(-Dwerror="${WARNINGS_ARE_ERRORS:-false}")
if [ -f "$build_dir/meson-private/coredata.dat" ]; then
  setup+=(--reconfigure)
fi

echo "== configure ($build_dir)"
"${setup[@]}"
echo "== build three_replicas"
meson compile -C "$build_dir" three_replicas
echo "== run three_replicas"
"$build_dir/docs/examples/three_replicas" --failovers 3 "$@"
