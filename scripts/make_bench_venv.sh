#!/bin/sh
# Makes .venv-bench for the libraries that benchmarks compare with. It sees what is in .venv, and .venv sees nothing of
# it. Does nothing when requirements-bench.txt has not changed since the last time.
set -eu
installed=.venv-bench/installed
wanted=$(cat requirements.txt requirements-bench.txt | cksum)
if [ "$(cat "$installed" 2>/dev/null)" = "$wanted" ]; then
    exit
fi
echo "Installing requirements-bench.txt into .venv-bench; the first time this takes a minute"
"$PY" -m venv .venv-bench
packages() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
packages "$PY" >"$(packages .venv-bench/bin/python)/product.pth"
# shellcheck disable=SC2086  # none or several flags
.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check $PIP_FLAGS -r requirements-bench.txt
echo "$wanted" >"$installed"
