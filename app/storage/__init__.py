"""Where published entries are kept: SQLite or PostgreSQL, with the same behaviour."""
