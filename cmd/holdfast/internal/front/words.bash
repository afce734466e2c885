
# bash completes only what follows the last colon or equals sign of a word, and inserts
# the common beginning of several values without quotes. This function, which replaces
# the one above, removes what precedes that character. It keeps what is already typed
# of the rest, with its backslashes: a reference such as pkcs11:token=prod\;object=app
# has characters that the shell interprets. What all values have in common is offered
# as a single value, which gets its backslashes before.
__holdfast_handle_special_char()
{
    [[ $2 == : ]] || return 0 # the second call, for the equals sign
    local typed=$1 finished='' i
    for ((i = ${#typed}; i > 0; i--)); do
        if [[ ${typed:i-1:1} == [:=] && $COMP_WORDBREAKS == *"${typed:i-1:1}"* ]]; then
            finished=${typed:0:i}
            break
        fi
    done
    local plain=${typed//\\/} rest=${typed#"$finished"}
    for i in "${!COMPREPLY[@]}"; do
        if [[ ${COMPREPLY[i]} == "$typed"* ]]; then
            COMPREPLY[i]=$rest${COMPREPLY[i]#"$typed"}
        elif [[ ${COMPREPLY[i]} == "$plain"* ]]; then
            COMPREPLY[i]=$rest${COMPREPLY[i]#"$plain"}
        fi
    done
}

# What follows -- of some commands is a command of its own, with its arguments.
# bash-completion completes it as bash does elsewhere; without that, only the names of
# commands and files are completed.
__holdfast_start()
{
    local i
    for ((i = 2; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[1]} =~ ^(exec|renew|ssh-agent)$ ]] || break
        [[ ${COMP_WORDS[i]} == -- ]] || continue
        COMPREPLY=()
        if declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset $((i + 1))
        elif declare -F _command_offset >/dev/null; then
            _command_offset $((i + 1))
        elif ((i + 1 == COMP_CWORD)); then
            local IFS=$'\n'
            COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
        fi
        return
    done
    __start_holdfast "$@"
}

if [[ $(type -t compopt) == builtin ]]; then
    complete -o default -F __holdfast_start holdfast
else
    complete -o default -o nospace -F __holdfast_start holdfast
fi
