# Sourced by the scripts that need Debian packages: install_packages NAME…

# Installs those of the named packages that are missing, and says which. On a system without dpkg
# it only lists them: the build itself then tells what it cannot find.
install_packages() {
  local package missing=() as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "not a Debian system: these packages (or their like) are needed: $*"
    return 0
  fi
  for package in "$@"; do
    if ! dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
      missing+=("$package")
    fi
  done
  if [ ${#missing[@]} -eq 0 ]; then
    return 0
  fi
  echo "installing: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"
}

# What every build needs.
build_packages=(
  g++ meson ninja-build pkg-config python3
  libsqlite3-dev libexpected-dev libxxhash-dev libfmt-dev nlohmann-json3-dev
)

# What the tests add: their framework, the engine whose adapter they examine, the shell that ours is
# compared with, networks to cut, another build system for the programs that use ours, and another
# wrapper of SQLite that is to open our databases.
test_packages=(catch2 libraft-dev libuv1-dev sqlite3 iproute2 cmake libsqlitecpp-dev)
