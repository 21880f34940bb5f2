"""``python -m kernchem`` does what the command ``kernchem`` does."""

from kernchem.cli import main

if __name__ == "__main__":
    main()
