# fish completion for poprelayd(8)

source (status dirname)/journalrelay.fish

complete -c poprelayd -f
complete -c poprelayd -s h -l help -d 'Say what the options are'
complete -c poprelayd -l version -d 'Print the version'
complete -c poprelayd -s c -rF -d 'Read this configuration alone'
complete -c poprelayd -s d -d 'Be the daemon'
complete -c poprelayd -s p -d 'Print addresses and seconds'
complete -c poprelayd -s a -x -d 'Add an address'
complete -c poprelayd -s r -xa '(__journalrelay_addresses)' -d 'Remove an address'
complete -c poprelayd -s f -d 'Remove all addresses'
complete -c poprelayd -l directory -xa '(__fish_complete_directories)' -d 'Journal files of a directory'
complete -c poprelayd -l file -rF -d 'These journal files'
complete -c poprelayd -l logfile -rF -d 'These log files'
complete -c poprelayd -n __journalrelay_more_files -F
complete -c poprelayd -l namespace -xa '(__journalrelay_namespaces)' -d 'The journal namespace'
complete -c poprelayd -l map -rF -d 'sendmail\'s map'
complete -c poprelayd -l state -xa '(__fish_complete_directories)' -d 'Kept places'
