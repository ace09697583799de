# Sourced by the other scripts: makes the project's virtual environment when it is missing or out of date.
# GOVRAFT_VENV names another place for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV="${GOVRAFT_VENV:-.venv}"

# environment EXTRAS: installs govraft with these extras, at the locked versions.
environment() {
    local extras="$1" stamp wanted
    stamp="$VENV/.govraft-$extras"
    wanted="$(cat pyproject.toml constraints.txt | sha256sum) $PWD"
    if [ ! -x "$VENV/bin/python" ]; then
        "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            { echo "govraft needs Python 3.11 or newer; set PYTHON to one" >&2; exit 2; }
        "${PYTHON:-python3}" -m venv "$VENV"
    fi
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        echo "installing govraft into $VENV ..." >&2
        # `compat` puts the project's folder itself on the path, so that no folder named govraft elsewhere hides it.
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
            --config-settings editable_mode=compat -e ".[$extras]" >&2
        printf '%s' "$wanted" > "$stamp"
    fi
    PATH="$(cd "$VENV/bin" && pwd):$PATH"
    export PATH
}

# system_packages COMMAND:PACKAGE ...: installs the Debian packages whose commands are missing, if it may. What stays
# missing is said; tests that need it are skipped, and fail under CI=true.
system_packages() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        echo "installing ${missing[*]} ..." >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "${missing[@]}"; } >&2 ||
            echo "could not install ${missing[*]}: tests that need them are skipped" >&2
    else
        echo "missing: ${missing[*]} (Debian's names); tests that need them are skipped" >&2
    fi
}
