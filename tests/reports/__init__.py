"""Public reports of failed or damaged migrations, as tests."""
