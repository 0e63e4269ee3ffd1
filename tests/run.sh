#!/usr/bin/env bash
# Builds the project and runs its tests. The last line is `N passed, N failed`.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/run.sh [--short] [--suite NAME]... [--test NAME]... [--without NAME]... [--help]

  --short        long tests do less (QUORLITE_TEST_PROFILE=short)
  --suite NAME   only this suite, and only what it needs is built; may be given more than once:
                 unit stress go_dqlite fuzz header archetype compile_fail tidy consumer example
                 cluster sqlite_tcl
  --test NAME    only this test, likewise; may be given more than once
  --without NAME not this suite, though what it needs is built; may be given more than once

environment:
  BUILD_DIR      where to build (default: build)
  CXX            the compiler, e.g. CXX=clang++ (for a new build folder)
  MESON_ARGS     more arguments for `meson setup`, e.g. MESON_ARGS=-Db_sanitize=thread, or
                 MESON_ARGS="-Ddebug=true -Doptimization=0" for a debugger
  WARNINGS_ARE_ERRORS
                 true: the first warning ends the build, as in .ci/run (default: false)
  TEST_TIMEOUT_MULTIPLIER
                 how much longer than usual a test may take (default: 1)
TEXT
}

suites=()
names=()
left_out=()
while [ $# -gt 0 ]; do
  case "$1" in
    --short) export QUORLITE_TEST_PROFILE=short ;;
    --suite)
      if [ $# -lt 2 ]; then
        usage >&2
        exit 2
      fi
      suites+=(--suite "$2")
      shift
      ;;
    --test)
      if [ $# -lt 2 ]; then
        usage >&2
        exit 2
      fi
      names+=("$2")
      shift
      ;;
    --without)
      if [ $# -lt 2 ]; then
        usage >&2
        exit 2
      fi
      left_out+=(--no-suite "$2")
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      echo "unknown argument: $1" >&2
      usage >&2
      exit 2
      ;;
  esac
  shift
done

caller_dir=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build_dir=${BUILD_DIR:-build}
if [ -n "${BUILD_DIR:-}" ] && [ "${BUILD_DIR#/}" = "$BUILD_DIR" ]; then
  build_dir=$caller_dir/$BUILD_DIR
fi

. tests/support/packages.sh
install_packages "${build_packages[@]}" "${test_packages[@]}"

# Many programs are linked; gold, where the compiler's linker has it beside it, is twice as fast.
if [ -z "${CXX_LD:-}" ] && command -v ld.gold >/dev/null; then
  export CXX_LD=gold
fi

# Meson puts ccache before a compiler that it chooses itself. Where that does nothing, tests are
# compiled with a precompiled header instead.
if [ -n "${CCACHE_DISABLE:-}" ] && [ -z "${CXX:-}" ]; then
  export CXX=c++
fi

# Words of MESON_ARGS are arguments of their own.
read -r -a meson_args <<<"${MESON_ARGS:-}"
# The unit tests are compiled in half the time if several make one program; a few of them are not.
together=true
if [ ${#names[@]} -gt 0 ]; then
  together=false
fi
# Lightly optimised, without -g: compiling is most of the time. Benchmarks are no tests: .ci/run
# builds them. Both kinds of library: one links the objects of the other.
setup=(meson setup "$build_dir" -Dtests=enabled -Dexamples=enabled -Dbenchmarks=disabled
  -Ddefault_library=both -Dtests_together="$together"
  -Dwerror="${WARNINGS_ARE_ERRORS:-false}" -Doptimization=1 -Ddebug=false)
if [ -f "$build_dir/meson-private/coredata.dat" ]; then
  setup+=(--reconfigure)
fi

fail_build() {
  echo "failed: the build"
  echo "0 passed, 1 failed"
  exit 1
}

"${setup[@]}" "${meson_args[@]}" || fail_build

# The log of an earlier run must not be counted.
log=$build_dir/meson-logs/testlog.json
rm -f "$log"

run_tests=(meson test -C "$build_dir" --print-errorlogs)
run_tests+=("${left_out[@]}")
run_tests+=(--timeout-multiplier "${TEST_TIMEOUT_MULTIPLIER:-1}")
# Four more than there are processors: some wait for a clock or a disk.
run_tests+=(--num-processes "$(($(nproc) + 4))")

if [ ${#suites[@]} -eq 0 ] && [ ${#names[@]} -eq 0 ]; then
  meson compile -C "$build_dir" || fail_build
  "${run_tests[@]}" --no-rebuild || true
else
  # Meson builds what the chosen tests need, and no more; Meson 1.7 only if names are given.
  [ ${#names[@]} -gt 0 ] || names=(quorlite:)
  "${run_tests[@]}" "${suites[@]}" "${names[@]}" || true
  [ -f "$log" ] || fail_build
fi

python3 tests/support/summary.py "$log"
