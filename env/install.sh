#!/bin/sh
# Makes .venv hold what pyproject.toml and env/requirements.txt say, on a machine that has Python and a package index and
# nothing else. Where that is already so it does nothing, at once. The same file serves Ridgeway's own tree and a project.
#
#   sh env/install.sh          install
#   sh env/install.sh uv       print the path of a usable uv, bringing one first if there is none
#
# PYTHON names the interpreter to use, RIDGEWAY_WHEEL a wheel of ridgeway for a machine whose index has none.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'install: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# A name on PATH proves nothing (version managers leave stubs there), so each candidate is run.
is_suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        if is_suitable "$candidate"; then command -v "$candidate"; return; fi
    done
    return 1
}
need_python() {
    python=$(find_python) || stop "no Python 3.11, 3.12 or 3.13 found${PYTHON:+ as PYTHON=$PYTHON}; install one, or name it: make … PYTHON=/path/to/python3.12"
}

# Older ones know no dependency groups.
is_recent() { "$1" --version 2>/dev/null | awk '{ split($2, v, "."); ok = v[1] > 0 || v[2] >= 8 } END { exit !ok }'; }
find_uv() {
    for candidate in ${UV:-} uv .tools/bin/uv .tools/lib/bin/uv; do
        if is_recent "$candidate"; then command -v "$candidate"; return; fi
    done
    return 1
}
bring_uv() {
    say "no recent uv on PATH: installing one into .tools"
    rm -rf .tools
    if "$python" -m venv .tools >/dev/null 2>&1; then
        .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8' >&2 && return
        stop "pip could not install uv: is a package index reachable from here?"
    fi
    rm -rf .tools    # Debian's Python has no ensurepip unless python3-venv is installed; a pip of its own will do
    "$python" -m pip --version >/dev/null 2>&1 ||
        stop "this Python can install nothing: it has neither venv nor pip. On Debian or Ubuntu: apt-get install python3-venv; anywhere: install uv"
    "$python" -m pip install --quiet --disable-pip-version-check --target .tools/lib 'uv>=0.8' >&2 ||
        stop "pip could not install uv: is a package index reachable from here?"
}
need_uv() {
    uv=$(find_uv) && return
    need_python
    bring_uv
    uv=$(find_uv) || stop "the uv that pip installed into .tools does not run here"
}

# uv reads nothing of what a machine has been told for pip, and trusts its own list of certificates, not the system's, to
# which companies add theirs.
share_settings_with_uv() {
    if [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || [ "$(uname)" = Darwin ]; then
        export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-true}"    # new name, old name
    fi
    [ -z "${PIP_CERT:-}" ] || [ -n "${SSL_CERT_FILE:-}" ] || export SSL_CERT_FILE="$PIP_CERT"
    [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_CONFIG_FILE:-}" ] || return 0
    [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
}

# Told to write no bytecode, Python would compile every file at every start, which doubles the time of each command.
compile=${PYTHONDONTWRITEBYTECODE:+--compile-bytecode}

quiet() { if [ -t 2 ]; then "$@"; else "$@" --quiet; fi; }

make_environment() {
    if [ -x .venv/bin/python ] && is_suitable .venv/bin/python; then return; fi
    need_python
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$uv" venv --quiet --no-project --python "$python" .venv
}
install_own_tree() {
    say "installing $(grep -c '==' env/requirements.txt) packages as pinned in env/requirements.txt (the first time a minute or two)"
    quiet "$uv" pip sync --python .venv/bin/python ${compile:+"$compile"} --require-hashes env/requirements.txt
    say "installing ridgeway itself"
    quiet "$uv" pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .
}
install_project() {
    [ -z "${RIDGEWAY_WHEEL:-}" ] || [ -f "$RIDGEWAY_WHEEL" ] || stop "RIDGEWAY_WHEEL=$RIDGEWAY_WHEEL is not a file"
    say "installing what pyproject.toml asks for, in the versions of env/requirements.txt (the first time a minute or two)"
    # The file itself, not its folder as one more index: what another index has under this name and version is not meant.
    quiet "$uv" pip install --python .venv/bin/python ${compile:+"$compile"} --group dev --requirements pyproject.toml \
        --constraints env/requirements.txt ${RIDGEWAY_WHEEL:+"$RIDGEWAY_WHEEL"} || project_failed $?
}
project_failed() {
    if [ -n "${RIDGEWAY_WHEEL:-}" ]; then
        say "failed: is RIDGEWAY_WHEEL=$RIDGEWAY_WHEEL of the version in pyproject.toml, and does a package index answer for the rest?"
    else
        say "failed: where no package index has ridgeway, name its wheel (\`make wheel\` in its repository makes one): make test RIDGEWAY_WHEEL=/path/to/ridgeway-….whl"
    fi
    exit "$1"
}

wanted() {
    { pwd; cat pyproject.toml env/requirements.txt env/install.sh; [ -z "${RIDGEWAY_WHEEL:-}" ] || cat "$RIDGEWAY_WHEEL"; } | cksum
}

if [ "${1:-}" = uv ]; then need_uv; printf '%s\n' "$uv"; exit; fi
if [ -x .venv/bin/python ] && [ "$(cat .venv/.installed 2>/dev/null)" = "$(wanted)" ]; then exit; fi
need_uv
share_settings_with_uv
make_environment
rm -f .venv/.installed    # killed half-way, the next run starts again
if [ -d src/ridgeway ]; then install_own_tree; else install_project; fi
wanted >.venv/.installed
