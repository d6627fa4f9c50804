"""From records to logins, with what must be remembered between lines and waited for."""
