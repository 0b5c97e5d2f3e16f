"""Published things: variables, variable sets, models, profiles and releases; and the restrictions of hosts."""
