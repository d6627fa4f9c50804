"""What came before: reads the configuration and the maps of the Perl poprelayd and of
pop-before-smtp, runs none of it and changes none of it."""
