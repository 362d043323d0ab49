"""Entry point of the ``governance`` program and of ``python -m governance``."""

import sys


def main() -> None:
    """Run the command line; importing it is already under the guard against Ctrl-C."""
    try:
        from governance.cli.main import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
