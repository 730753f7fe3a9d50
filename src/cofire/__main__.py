"""`python -m cofire`."""

from cofire.cli import main

if __name__ == "__main__":
    main()
