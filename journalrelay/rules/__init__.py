"""What a login is worth: the operator's rules, and what must be remembered to apply them."""
