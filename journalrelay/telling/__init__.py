"""What is told: to the journal, which keeps it, and to people."""
