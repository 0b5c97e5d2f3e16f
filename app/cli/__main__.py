"""Runs the command profile-registry as python -m app.cli."""

from app.cli.command import main

if __name__ == "__main__":
    main()
