"""POP-before-SMTP for sendmail: the journal's logins become relay grants in popip.db."""

__version__ = "0.1.0"
