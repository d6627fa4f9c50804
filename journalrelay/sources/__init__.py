"""Where records come from, and the place up to which they were read."""
