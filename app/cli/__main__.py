"""python -m app.cli is profile-registry."""

from app.cli.command import main

main()
