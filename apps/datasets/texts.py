"""What static/js/upload.js says. It cannot translate by itself."""

from django.utils.translation import gettext as _


def upload_texts() -> dict[str, str]:
    """Words in braces are filled in by the script."""
    return {
        "waiting": _("Waiting for its turn"),
        "sending": _("{percent} % · {sent} of {total} · {speed}/s · {left} left"),
        "starting": _("{percent} % · {sent} of {total}"),
        "resumed": _("Goes on at {sent} of {total}"),
        "retrying": _("The connection was lost. Trying again in {seconds} s; {sent} have arrived and stay."),
        "checking": _("All bytes have arrived. The server computes the checksum."),
        "done": _("Complete · {total} · SHA-256 {sha}"),
        "done_many": _("Complete · {total} in {count} files · checksums right"),
        "failed_many": _("{failed} of {count} files could not be uploaded. {message}"),
        "retry": _("Try again"),
        "leave_out": _("Leave out"),
        "files": _("{name} · {count} files"),
        "no_files": _("Choose at least one file first."),
        "failed_files": _("Some files could not be uploaded. Try again, or leave them out."),
        "empty_drop": _("There are no files in what you dropped."),
        "skipped": _("{count} hidden or system files were left out."),
        "waiting_button": _("Waiting for the upload…"),
        "title": _("{percent} % · Upload"),
        "title_done": _("Done · Upload"),
        "all_done": _("All files have arrived."),
        "server_error": _("The server answered with an error ({status}). Trying again in {seconds} s."),
        "too_many": _("A folder with {count} files is quicker as one ZIP. Pack it first, then upload the ZIP."),
        "seconds": _("{n} s"),
        "minutes": _("{n} min"),
        "hours": _("{n} h"),
    }
