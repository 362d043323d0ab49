"""Run the command line with ``python -m governance``."""

from governance.cli.main import main

main()
