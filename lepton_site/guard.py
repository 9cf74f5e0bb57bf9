"""``python -m lepton_site.guard HOME [--remove]``: tidies up when the supervisor is killed before it could do so.

The supervisor holds the other end of our standard input. When that closes without the word "done", it is gone, and all
that it started has to end too. A pipe works on every system; a death signal exists on Linux only. With ``--remove`` the
folder goes as well; the tests ask for that.
"""

import shutil
import signal
import sys
from pathlib import Path

from lepton_site import embedded
from lepton_site.processes import end_stack

DONE = b"done"
GRACE_SECONDS = 45


def main(home: Path, *, is_temporary: bool) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == DONE:
        return
    end_stack(home, grace_seconds=GRACE_SECONDS)
    embedded.stop(home)
    if is_temporary:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), is_temporary="--remove" in sys.argv[2:])
