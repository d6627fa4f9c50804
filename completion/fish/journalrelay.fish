# fish completion for journalrelay(1)

# Print the verb that stands on the command line.
function __journalrelay_verb
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -c
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return 0
        end
        set -e words[1]
    end
    return 1
end

# Tell whether the verb on the command line is one of the arguments.
function __journalrelay_is
    set -l verb (__journalrelay_verb)
    and contains -- $verb $argv
end

function __journalrelay_addresses
    timeout 2 journalrelay list --bare 2>/dev/null </dev/null | string replace -r ' .*' ''
end

function __journalrelay_namespaces
    for place in /run/systemd/journal.*/
        string replace -r '.*/journal\.(.*)/' '$1' $place
    end
end

# Tell whether the word to complete is one of several files behind --file or --logfile.
function __journalrelay_more_files
    set -l words (commandline -opc)
    while set -q words[1]; and not string match -q -- '-*' $words[-1]
        set -e words[-1]
    end
    contains -- "$words[-1]" --file --logfile
end

complete -c journalrelay -f
complete -c journalrelay -s h -l help -d 'Say what the options are'

complete -c journalrelay -n 'not __journalrelay_verb' -l version -d 'Print the version'
complete -c journalrelay -n 'not __journalrelay_verb' -s c -rF -d 'Read this configuration alone'
complete -c journalrelay -n 'not __journalrelay_verb' -a run -d 'Be the daemon, in the foreground'
complete -c journalrelay -n 'not __journalrelay_verb' -a replay -d 'Read past logins again'
complete -c journalrelay -n 'not __journalrelay_verb' -a match -d 'Say which pattern takes each line'
complete -c journalrelay -n 'not __journalrelay_verb' -a expire -d 'Remove what has expired'
complete -c journalrelay -n 'not __journalrelay_verb' -a list -d 'Print what is granted'
complete -c journalrelay -n 'not __journalrelay_verb' -a check -d 'Say whether an address may relay'
complete -c journalrelay -n 'not __journalrelay_verb' -a grant -d 'Let addresses relay, by hand'
complete -c journalrelay -n 'not __journalrelay_verb' -a revoke -d 'Withdraw what was granted'
complete -c journalrelay -n 'not __journalrelay_verb' -a status -d 'Say how the daemon is'
complete -c journalrelay -n 'not __journalrelay_verb' -a doctor -d 'Say what is wrong here'
complete -c journalrelay -n 'not __journalrelay_verb' -a import -d 'Take over from an older daemon'
complete -c journalrelay -n 'not __journalrelay_verb' -a report -d 'Make a page with plots'

complete -c journalrelay -n '__journalrelay_is run replay match list report' -l directory -xa '(__fish_complete_directories)' -d 'Journal files of a directory'
complete -c journalrelay -n '__journalrelay_is run replay match list report' -l file -rF -d 'These journal files'
complete -c journalrelay -n '__journalrelay_is run replay match report' -l logfile -rF -d 'These log files'
complete -c journalrelay -n '__journalrelay_is run replay match list report; and __journalrelay_more_files' -F
complete -c journalrelay -n '__journalrelay_is run replay match list report grant revoke' -l namespace -xa '(__journalrelay_namespaces)' -d 'The journal namespace'
complete -c journalrelay -n '__journalrelay_is run replay expire list check grant revoke status doctor import report' -l map -rF -d 'sendmail\'s map'
complete -c journalrelay -n '__journalrelay_is run replay status doctor' -l state -xa '(__fish_complete_directories)' -d 'Kept places'

complete -c journalrelay -n '__journalrelay_is replay' -l cursor -x -d 'Begin with this entry'
complete -c journalrelay -n '__journalrelay_is replay match report' -l since -xa 'today yesterday' -d 'Begin at a time'
complete -c journalrelay -n '__journalrelay_is report' -l until -xa 'today yesterday' -d 'End at a time'
complete -c journalrelay -n '__journalrelay_is report' -l output -rF -d 'Write this file'
complete -c journalrelay -n '__journalrelay_is replay' -l all -d 'Begin with the oldest entry'
complete -c journalrelay -n '__journalrelay_is replay expire import' -l dry-run -d 'Write nothing'
complete -c journalrelay -n '__journalrelay_is replay match list status doctor' -l json -d 'Print JSON'
complete -c journalrelay -n '__journalrelay_is status' -l prometheus -d 'Print metrics for node exporter'
complete -c journalrelay -n '__journalrelay_is status' -l openmetrics -d 'Print metrics as OpenMetrics'
complete -c journalrelay -n '__journalrelay_is list' -l bare -d 'Print address and seconds left'
complete -c journalrelay -n '__journalrelay_is check' -l to -x -d 'To whom'
complete -c journalrelay -n '__journalrelay_is list' -l user -x -d 'Only what logins of a user opened'
complete -c journalrelay -n '__journalrelay_is list' -l daemon -x -d 'Only what logins at a daemon opened'
complete -c journalrelay -n '__journalrelay_is list' -l sort -xa 'left address user daemon since' -d 'What comes first'
complete -c journalrelay -n '__journalrelay_is grant' -l for -xa '15min 1h 1d' -d 'For how long'
complete -c journalrelay -n '__journalrelay_is revoke' -l all -d 'Withdraw all grants'
complete -c journalrelay -n '__journalrelay_is list check revoke' -a '(__journalrelay_addresses)' -d 'Granted'
complete -c journalrelay -n '__journalrelay_is import' -l output -rF -d 'The drop-in that is written'
complete -c journalrelay -n '__journalrelay_is match import' -F
