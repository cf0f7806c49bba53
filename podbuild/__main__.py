"""The program; `python -m podbuild` where it is not on PATH."""

import signal
import sys


def main() -> int:
    """Run one command and give its exit code.

    Until a command is there to hear it, what is typed to stop ends the program as it ends any
    other: Python would say in which line of an import that was.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from podbuild import cli  # noqa: PLC0415  # takes most of the start

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
