#!/usr/bin/env bash
# Proves the other Debian release: both commands of the README, in a new and bare system of that
# release (debootstrap --variant=minbase, in a folder that is removed at the end), with fewer tests
# than usual. The last line is `N passed, N failed`, with `, N skipped` where it could not be done;
# a line that begins with `skipped: ` then says why.
#
# usage: tests/other_debian.sh [12 | 13]    default: the one that this machine does not run
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/packages.sh
. tests/support/stages.sh

declare -A names=([12]=bookworm [13]=trixie)
# The newest clang of each that the headers are checked with.
declare -A clangs=([12]=clang-14 [13]=clang-19)

# What another compiler, another SQLite, another Catch2 and another Python can break. Left out:
# consumers, clusters of processes, the sweep of crashes, and what takes long.
chosen=(--suite unit --suite go_dqlite --suite golden --suite archetype --suite compile_fail
  --suite tidy --suite fuzz --suite example)

skip() {
  echo "skipped: Debian $release in a chroot: $1"
  skipped=1
  sum_of_stages
  exit
}

fail() {
  echo "failed: Debian $release in a chroot: $1"
  failed=1
  sum_of_stages
  exit
}

# ---- inside: the same script, as root of the new system ----------------------------------------

if [ "${1:-}" = --inside ]; then
  release=$2
  launcher=""
  if [ -n "${CCACHE_DIR:-}" ] && install_packages ccache >/dev/null; then
    export CCACHE_SLOPPINESS=time_macros
    launcher="ccache "
  fi
  export CXX="${launcher}g++" WARNINGS_ARE_ERRORS=true
  done_or_failed "quickstart on Debian $release" docs/quickstart.sh
  counted "tests on Debian $release" env MESON_ARGS=-Doptimization=0 TEST_TIMEOUT_MULTIPLIER=3 \
    tests/run.sh --short "${chosen[@]}"
  clang=${clangs[$release]}
  if apt-cache show "$clang" >/dev/null 2>&1; then
    done_or_failed "$clang" install_packages "$clang"
    counted "headers with $clang" tests/support/check_headers.sh "clang++-${clang#clang-}"
  else
    echo "skipped: headers with $clang: this system has no package of that name"
    skipped=$((skipped + 1))
  fi
  sum_of_stages
  exit
fi

# ---- outside: what a chroot takes ---------------------------------------------------------------

here=$(. /etc/os-release 2>/dev/null && echo "${ID:-}${VERSION_ID:-}")
case "${1:-$here}" in
  12 | debian13) release=12 ;;
  13 | debian12) release=13 ;;
  *)
    release="12 or 13"
    skip "there is no other one: this machine runs ${here:-an unknown system}"
    ;;
esac

[ "$(id -u)" -eq 0 ] || skip "it takes root"
install_packages debootstrap debian-archive-keyring || skip "debootstrap cannot be installed"
namespace=(unshare --mount)
why=$("${namespace[@]}" true 2>&1) || skip "no namespace for its mounts: $why"

root=$(mktemp -d "${TMPDIR:-/tmp}/quorlite-debian-$release-XXXXXX")
trap 'rm -rf --one-file-system "$root" "$stage_logs"' EXIT

# The mirror that apt uses here; without one, debootstrap has its own.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' \
  'Label: Debian' 2>/dev/null | head -n 1)

if ! stage "debootstrap ${names[$release]}" debootstrap --variant=minbase "${names[$release]}" \
  "$root" ${mirror:+"$mirror"}; then
  # What only this machine or its network can have caused; anything else is for us to mend.
  not_ours='Failed getting release file|Couldn.t download|Release signed by unknown key'
  not_ours+='|No such script|noexec or nodev|mknod: .*not permitted'
  why=$(grep -m 1 -E "$not_ours" "$stage_logs/last") && skip "$why"
  fail "debootstrap ended badly, see above"
fi

mkdir "$root/src" "$root/ccache" &&
  tar -c --exclude=./.git --exclude=./.cache --exclude='./build*' . | tar -x -C "$root/src" ||
  fail "the source tree cannot be copied"

cache=""
if command -v ccache >/dev/null; then
  cache=$(ccache --get-config cache_dir 2>/dev/null) && mkdir -p "$cache" || cache=""
fi

# The mounts are seen by this process and its children only, and go with them.
counted "Debian $release" "${namespace[@]}" bash -c '
  set -e
  root=$1 release=$2 cache=$3
  mount -t proc proc "$root/proc"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  mount -t tmpfs tmpfs "$root/dev/shm"
  if [ -n "$cache" ]; then
    mount --bind "$cache" "$root/ccache"
  fi
  exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    ${cache:+CCACHE_DIR=/ccache} \
    chroot "$root" bash /src/tests/other_debian.sh --inside "$release"
' inside "$root" "$release" "$cache"
sum_of_stages
