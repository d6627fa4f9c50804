"""popip.db, the map that sendmail asks: its file, its pages, its locks, and what changes it."""
