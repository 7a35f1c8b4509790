"""``python -m kddoctor``."""

from kddoctor.cli import main

if __name__ == "__main__":
    main()
