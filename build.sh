#!/usr/bin/env bash
# Sets up what it needs in .venv beside itself, then runs, tests or builds Oculus.
set -euo pipefail

usage() {
    cat <<'END'
usage: ./build.sh [command]

  run [arguments]      run Oculus from this checkout; needs only Python 3.11 or newer
  test [arguments]     run the tests (the arguments go to pytest)
  lint                 check style, format and types
  pyz                  build dist/oculus.pyz (also without a command)
  styles               make static/css/oculus.css from static/css/src and the templates (needs npm)
  lock [arguments]     write the lock files anew (--upgrade: with the newest packages)
  help                 show this

PYTHON names the Python to use, CHROMIUM the browser for the tests.
END
}

say() { echo "build.sh: $*" >&2; }
die() {
    say "$@"
    exit 1
}

here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$here/.venv
stamps=$venv/oculus-stamps

# A home that is unset or empty would make pip keep its cache in odd places. The password file names it.
if [ -z "${HOME:-}" ]; then
    unset HOME
    HOME=~
    export HOME
fi

# What an activated environment or a shell's start-up file may have left must not reach the project's own.
unset PYTHONHOME PYTHONPATH PYTHONSAFEPATH VIRTUAL_ENV
export PYTHONNOUSERSITE=1
for name in "${!PIP_@}"; do
    case $name in
        # Where packages come from, and how they are reached, stays the user's choice.
        PIP_*INDEX* | PIP_FIND_LINKS | PIP_*HOST* | PIP_*CERT* | PIP_PROXY | PIP_*TIMEOUT | PIP_RETRIES) ;;
        PIP_*CACHE* | PIP_CONFIG_FILE | PIP_KEYRING_PROVIDER) ;;
        *) unset "$name" ;;
    esac
done
# The same, for what a pip.conf may say.
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# Prints "fit", or what keeps a Python from running Oculus, and its version; any Python understands it.
# shellcheck disable=SC2016  # Python, not bash
probe='
import sys
version = "%d.%d" % sys.version_info[:2]
def verdict():
    if sys.version_info < (3, 11): return "old"
    if sys.maxsize < 2**32: return "32-bit"
    if sys.implementation.name != "cpython" or "t" in getattr(sys, "abiflags", ""): return "foreign"
    try: import ensurepip, venv
    except ImportError: return "bare"
    return "fit"
sys.stdout.write("%s %s\n" % (verdict(), version))
'

# Sets `python` to a Python to make .venv with, or says what is missing.
find_python() {
    local candidates=(python3.14 python3.13 python3.12 python3.11 python3 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    local candidate verdict version
    local problem=none name="" found=""
    for candidate in "${candidates[@]}"; do
        read -r verdict version < <("$candidate" -c "$probe" 2>/dev/null || true) || continue
        if [ "$verdict" = fit ]; then
            python=$candidate
            return
        fi
        # The nearest miss is the one to tell about.
        if [ "$problem" = none ] || [ "$problem" = old ]; then
            problem=$verdict name=$candidate found=$version
        fi
    done
    case $problem in
        none)
            [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON does not run"
            say "Python 3.11 or newer is needed, and none is installed"
            die "install it: sudo apt install python3 python3-venv"
            ;;
        old)
            say "Python 3.11 or newer is needed; $name is Python $found"
            die "install one: sudo apt install python3.11 python3.11-venv   (or name one: PYTHON=/path/to/python)"
            ;;
        bare)
            say "$name (Python $found) has no venv module, which .venv is made with"
            # The unnumbered package is for the Python that the system calls python3.
            [ "$(/usr/bin/python3 -c "$probe" 2>/dev/null)" = "bare $found" ] && found=3
            die "install it: sudo apt install python$found-venv"
            ;;
        32-bit)
            say "$name is a 32-bit Python; DuckDB and gevent are published for 64-bit ones only"
            die "install a 64-bit system (the 64-bit Raspberry Pi OS runs on a Raspberry Pi 3 and newer)"
            ;;
        foreign)
            die "$name is not the standard CPython, the only one that DuckDB and gevent are published for"
            ;;
    esac
}

# What a stamp starts with: a moved folder or another Python needs a new .venv.
identity() {
    [ -x "$venv/bin/python" ] || return
    echo "$venv $("${PYTHON:-"$venv/bin/python"}" -I -S -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)"
}

# Tells whether .venv holds the packages of a lock file: the stamp is a copy of it.
ready() {
    [ -f "$stamps/$1" ] && [ "$(<"$stamps/$1")" = "$(identity && cat "$here/$1")" ]
}

# Tells whether .venv was completed once, for this folder and this Python.
sound() {
    local stamp first
    for stamp in "$stamps"/*; do
        [ -f "$stamp" ] && read -r first <"$stamp" && [ "$first" = "$(identity)" ] && return
    done
    return 1
}

# Makes .venv hold the packages of a lock file; `requirements-dev.lock` includes the other one's.
prepare() {
    ready "$1" && return
    # One at a time: the folder itself is the lock, which needs no file of its own.
    if command -v flock >/dev/null; then
        exec 9<"$here"
        flock --nonblock 9 || { say "waiting for another build.sh" && flock 9; } || true
    fi
    if ! ready "$1"; then
        if ! sound; then
            find_python
            say "making .venv with $python"
            rm -rf "$venv"
            "$python" -m venv "$venv" || die ".venv could not be made with $python"
        fi
        fill "$1"
    fi
    exec 9<&-
}

fill() {
    local name
    say "installing the packages of $1 in .venv"
    # Without stamps, an installation that is cut off starts from nothing the next time.
    mkdir -p "$stamps"
    rm -rf "$stamps.old"
    mv "$stamps" "$stamps.old"
    trap 'exit 130' INT TERM
    if ! "$venv/bin/python" -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r "$here/$1"; then
        # pip gets everything before it changes anything, so what was usable still is.
        mv "$stamps.old" "$stamps"
        die "the packages could not be installed; pip says why above"
    fi
    mkdir "$stamps"
    for name in requirements.lock "$1"; do
        { identity && cat "$here/$name"; } >"$stamps/$name"
    done
    rm -rf "$stamps.old"
    trap - INT TERM
}

find_browser() {
    local name
    for name in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome; do
        if CHROMIUM=$(command -v "$name"); then
            export CHROMIUM
            return
        fi
    done
    unset CHROMIUM
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Installs the programs that the tests drive, where that takes no questions.
prepare_programs() {
    local missing=()
    find_browser || missing+=(chromium fonts-liberation)
    command -v ping >/dev/null || missing+=(iputils-ping)
    [ -x /usr/lib/nagios/plugins/check_disk ] || missing+=(monitoring-plugins-basic)
    # Its package starts a service, which nobody else's machine should get.
    [ "${CI:-}" != true ] || [ -x /usr/bin/prometheus-node-exporter ] || missing+=(prometheus-node-exporter)
    if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        say "installing ${missing[*]} for the tests"
        local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
        # A source of packages that fails need not be the one that is needed.
        as_root "${apt[@]}" update >/dev/null || true
        as_root "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null ||
            say "apt-get could not install them"
    fi
    if [ "${CI:-}" = true ]; then
        # The tests then fail without a browser or a program instead of skipping.
        export OCULUS_REQUIRE_BROWSER=1 OCULUS_REQUIRE_PLUGINS=1 OCULUS_REQUIRE_PROGRAMS=1
    elif ! find_browser; then
        say "no Chromium found: the browser tests will be skipped"
    fi
}

lint() {
    local status=0
    "$venv/bin/python" -m ruff check . || status=1
    "$venv/bin/python" -m ruff format --check . || status=1
    "$venv/bin/python" -m mypy || status=1
    return $status
}

# Pins every package with its hashes, for all Pythons and processors at once, and names no registry.
lock() {
    local scratch
    find_python
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name is known now
    trap "rm -rf '$scratch'" EXIT
    "$python" -m venv "$scratch"
    "$scratch/bin/python" -m pip install --quiet uv
    local compile=("$scratch/bin/python" -m uv pip compile --quiet pyproject.toml --universal --python-version 3.11
        --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "./build.sh lock")
    "${compile[@]}" "$@" --output-file requirements.lock >/dev/null
    "${compile[@]}" "$@" --group dev --constraint requirements.lock --output-file requirements-dev.lock >/dev/null
}

command=${1:-pyz}
[ $# -eq 0 ] || shift
case $command in
    run)
        prepare requirements.lock
        # From the caller's folder, so that a relative --config is found; exec, so that signals reach Oculus.
        exec "$venv/bin/python" "$here/oculus.py" "$@"
        ;;
    test)
        prepare requirements-dev.lock
        prepare_programs
        cd "$here"
        [ $# -gt 0 ] || exec "$venv/bin/python" -m tests
        exec "$venv/bin/python" -m pytest "$@"
        ;;
    lint)
        prepare requirements-dev.lock
        cd "$here"
        lint
        ;;
    pyz)
        prepare requirements-dev.lock
        cd "$here"
        exec "$venv/bin/python" .ci/pyz.py
        ;;
    styles)
        prepare requirements-dev.lock
        cd "$here"
        exec "$venv/bin/python" .ci/styles.py
        ;;
    lock)
        cd "$here"
        lock "$@"
        ;;
    help | -h | --help)
        usage
        ;;
    *)
        say "unknown command: $command"
        usage >&2
        exit 2
        ;;
esac
