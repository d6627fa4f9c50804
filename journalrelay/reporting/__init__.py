"""The page of ``journalrelay report``: what the journal says of a stretch of time, in pictures."""
