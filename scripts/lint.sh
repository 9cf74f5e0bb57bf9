#!/bin/sh
# Style, the floors, missing migrations, and Django's deployment checks on production settings. Stops at the first fault.
set -eu

home=$(mktemp -d)
servers() {
    "$PYTHON" -c "import pathlib, sys; from lepton_site import embedded; embedded.$1(pathlib.Path(sys.argv[1]))" "$home"
}
trap 'servers stop; rm -rf "$home"' EXIT
export LEPTON_HOME="$home" LEPTON_HTTPS=1
LEPTON_SECRET_KEY=$("$PYTHON" -c 'import secrets; print(secrets.token_urlsafe(50))')
export LEPTON_SECRET_KEY

echo "ruff check"
"$PYTHON" -m ruff check .
echo "ruff format"
"$PYTHON" -m ruff format --check .
echo "import-linter"
"$PYTHON" -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
echo "makemigrations"
servers start_postgres
"$PYTHON" manage.py makemigrations --check --dry-run
echo "check --deploy"
"$PYTHON" manage.py check --deploy --fail-level WARNING
