"""``python -m workers.examples NAME FILE`` writes an example into a file."""

import sys
from pathlib import Path

from workers.examples.catalogue import EXAMPLES


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in EXAMPLES:
        print(f"usage: python -m workers.examples {{{','.join(EXAMPLES)}}} out", file=sys.stderr)
        return 2
    EXAMPLES[arguments[0]].write(Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
