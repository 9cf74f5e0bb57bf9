#!/bin/sh
# Brings the catalogues in locale/ up to date with the words of the code and compiles them. What is new stands there with an
# empty or a fuzzy translation, and is named at the end.
set -eu
for tool in xgettext msgmerge msgattrib msgfmt; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing: install GNU gettext (apt-get install gettext, or brew install gettext)" >&2
        exit 1
    fi
done
"$PYTHON" manage.py makemessages --all --no-obsolete --no-wrap --add-location file \
    --ignore 'node_modules/*' --ignore '.*' --ignore 'tests/*' --ignore 'benchmarks/*' --ignore 'leptonai/*'
for catalogue in locale/*/LC_MESSAGES/django.po; do
    # The moment of the last run tells nobody anything, and would stand in every change.
    grep -v '^"POT-Creation-Date' "$catalogue" >"$catalogue.new"
    mv "$catalogue.new" "$catalogue"
    msgfmt --output-file "${catalogue%.po}.mo" "$catalogue"
    for what in untranslated only-fuzzy; do
        msgattrib "--$what" --no-obsolete --no-wrap "$catalogue" | sed -n "s/^msgid \"\(..*\)\"\$/$what: \1/p"
    done
    msgfmt --statistics --output-file /dev/null "$catalogue"
done
