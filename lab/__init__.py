"""The project's laboratory: real journald, Dovecot and sendmail in a room that leaves no trace."""
