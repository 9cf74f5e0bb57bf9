#!/bin/sh
# Brings .venv and node_modules up to date with the requirements file named; does nothing, and needs no network, when
# nothing has changed since the last time.
set -eu
requirements=$1
quiet=--quiet
if [ -t 1 ]; then quiet=; fi

install_python_packages() {
    installed=".venv/installed-$requirements"
    wanted=$(cat requirements.txt "$requirements" | cksum)
    if [ "$(cat "$installed" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    echo "Installing $requirements; the first time this takes some minutes"
    # shellcheck disable=SC2086  # none or several flags
    "$PY" -m pip install $quiet --disable-pip-version-check $PIP_FLAGS -r "$requirements"
    echo "$wanted" >"$installed"
}

is_node_new_enough() {
    found=$("$1" -p 'process.versions.node.split(".")[0]' 2>/dev/null) || return 1
    [ "$found" -ge "$MIN_NODE" ]
}

install_front_end_packages() {
    if cmp -s package-lock.json node_modules/installed-package-lock.json; then
        return
    fi
    if ! { command -v npm >/dev/null && is_node_new_enough node; }; then
        PATH="$PWD/.venv/bin:$PATH"
        if ! is_node_new_enough .venv/bin/node; then
            echo "Installing Node into .venv"
            # shellcheck disable=SC2086
            "$PY" -m pip install $quiet --disable-pip-version-check $PIP_FLAGS "$NODE_PACKAGE"
        fi
    fi
    echo "Installing the front-end packages"
    npm ci --no-audit --no-fund --loglevel error
    cp package-lock.json node_modules/installed-package-lock.json
}

install_python_packages
install_front_end_packages
