#!/usr/bin/env bash
# Set-up of a checkout, step by step: packages, python, console, portraits; `all` is the four in that order, `fuzz` adds the
# fuzzer, `lock` pins the dependencies anew. A step that is fresh says nothing; one that fails says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

debian_packages=(
  python3-venv mosquitto mosquitto-clients postgresql ffmpeg chromium fonts-noto-cjk swtpm tpm2-tools libtss2-tcti-swtpm0
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav gir1.2-gst-rtsp-server-1.0 python3-gi curl rabbitmq-server onvif-tools iproute2
)

say() { printf '==> %s\n' "$*"; }
fail() { printf '==> FAILED: %s\n' "$*" >&2; exit 1; }

# Debian packages that tests need. Without root they are only named: the tests that need them are skipped.
packages() {
  command -v dpkg-query >/dev/null || { say "Not Debian: the servers that tests use are up to you"; return 0; }
  local missing=() package as_root=()
  for package in "${debian_packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
      as_root=(sudo -n env)
    else
      say "Without root these Debian packages stay missing, and the tests that need them are skipped: ${missing[*]}"
      say "To have them: sudo apt-get install ${missing[*]}"
      return 0
    fi
  fi
  say "Installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -q >/dev/null || say "apt-get update failed; going on with the lists at hand"
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; then
    [ "${CI:-}" != true ] || fail "apt-get could not install ${missing[*]}: check the machine's package sources"
    say "apt-get could not install them; tests that need them are skipped"
  fi
}

# The first Python of the right version, by name.
python_of_this_machine() {
  local name
  for name in "${PYTHON:-python3.11}" python3.11 python3.12 python3; do
    if "$name" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
      echo "$name"
      return 0
    fi
  done
  fail "Gatehouse needs Python 3.11 or 3.12 with venv: apt-get install python3 python3-venv, or set PYTHON=/path/to/python3.11"
}

# The virtual environment with every pinned dependency, checked by hash. setuptools and wheel come first: one dependency
# is a source distribution, which is built with these two and nothing else.
python_environment() {
  local stamp=.venv/.installed python
  if [ -e "$stamp" ] && [ ! requirements-dev.lock -nt "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ]; then return 0; fi
  python=$(python_of_this_machine)
  if ! .venv/bin/python -c '' 2>/dev/null; then
    say "Creating the virtual environment .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || fail "the environment could not be created: apt-get install python3-venv"
  fi
  local builders
  builders=$(mktemp)
  awk '/^[a-z]/ {wanted = /^(setuptools|wheel|packaging)==/} wanted' requirements-dev.lock >"$builders"
  say "Installing pinned Python dependencies (about 500 MB the first time)"
  .venv/bin/python -m pip install --quiet --no-deps --require-hashes -r "$builders" \
    || fail "pip could not install the build tools: check that pip reaches a package index"
  rm -f "$builders"
  .venv/bin/python -m pip install --no-deps --require-hashes --no-build-isolation -r requirements-dev.lock \
    > >(grep --line-buffered -E '^(Collecting|Installing|Successfully)' || true) \
    || fail "pip could not install requirements-dev.lock: check the network, then run this again"
  .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e . || fail "gatehouse itself could not be installed"
  touch "$stamp"
}

# The console, built with the Node that came with the environment.
console() {
  local folder=gateway/console built=gateway/console/dist/index.html installed=gateway/console/node_modules/.installed
  [ -f "$folder/package.json" ] || return 0
  PATH="$PWD/.venv/bin:$PATH"
  if [ ! -e "$installed" ] || [ "$folder/package-lock.json" -nt "$installed" ]; then
    say "Installing the console's pinned dependencies"
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error) || fail "npm ci: check that npm reaches a package registry"
    touch "$installed"
  fi
  if [ ! -e "$built" ] || [ -n "$(find "$folder" \( -name node_modules -o -name dist \) -prune -o -type f -newer "$built" -print -quit)" ]; then
    say "Building the console"
    (cd "$folder" && npm run --silent build) || fail "the console did not build: see the message above"
    touch "$built"
  fi
}

# Photographs for the simulated cameras, from the source distribution of face-recognition (public pictures).
portraits() {
  [ -f config/portraits.py ] || return 0
  .venv/bin/python -m config.portraits || fail "the portraits could not be fetched: check that pip reaches a package index"
}

# What fuzzing needs beside the environment, from a lock of its own; no other step does.
fuzz() {
  local stamp=.venv/.fuzz-installed
  [ ! -e "$stamp" ] || [ requirements-fuzz.lock -nt "$stamp" ] || [ .venv/.installed -nt "$stamp" ] || return 0
  say "Installing atheris, the fuzzer"
  .venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements-fuzz.lock \
    || fail "pip could not install requirements-fuzz.lock: atheris comes for Linux with Python 3.11 or later, from a package index"
  touch "$stamp"
}

# The lock files. No address of an index enters them.
lock() {
  local flags=(--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --override config/overrides.txt)
  python_environment
  .venv/bin/python -m pip install --quiet uv
  .venv/bin/uv pip compile "${flags[@]}" pyproject.toml --extra build -o requirements.lock --quiet "$@"
  .venv/bin/uv pip compile "${flags[@]}" pyproject.toml --extra build --extra dev -o requirements-dev.lock --quiet "$@"
  .venv/bin/python -c 'import tomllib as t; print(*t.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz"])' \
    | .venv/bin/uv pip compile "${flags[@]}" - -o requirements-fuzz.lock --quiet "$@"
}

step=${1:-all}
case "$step" in
  say) shift; say "$@" ;;
  lock) shift; lock "$@" ;;
  all) packages; python_environment; console; portraits ;;
  *)
    for step in "$@"; do
      case "$step" in
        packages | console | portraits | fuzz) "$step" ;;
        python) python_environment ;;
        *) fail "no set-up step is called $step" ;;
      esac
    done
    ;;
esac
