"""`python -m vegrt`: the command line."""

from vegrt.cli import main

main()
