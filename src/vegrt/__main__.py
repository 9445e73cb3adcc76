"""`python -m vegrt`: the command line."""

from vegrt.cli import main

if __name__ == "__main__":
    main()
