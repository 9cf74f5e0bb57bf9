#!/bin/sh
# Makes .venv with the first Python on this machine that is new enough, or with PYTHON where it is given.
set -eu

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

python=$(find_python)
if [ -z "$python" ]; then
    echo "Lepton needs Python 3.11 or newer${PYTHON:+, and $PYTHON is not}. Install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
echo "Making .venv with $("$python" --version)"
if ! "$python" -m venv .venv; then
    rm -rf .venv
    echo "This Python cannot make virtual environments. On Debian and Ubuntu install python3-venv; or name another one: make PYTHON=/path/to/python3" >&2
    exit 1
fi
