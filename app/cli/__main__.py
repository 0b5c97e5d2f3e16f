"""python -m app.cli is profile-registry."""

from app.cli.command import main

if __name__ == "__main__":
    main()
