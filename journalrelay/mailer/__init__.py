"""How sendmail decides here: its configuration, its tables, and the way of its ruleset."""
