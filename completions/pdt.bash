# Completion of pdt for bash, as PREFIX/share/bash-completion/completions/pdt. Made by tools/generate.

_pdt_completion() {
    local program=$1 words=("$1") word i joined=
    [[ $program != '~/'* ]] || program=$HOME/${program:2}
    # Bash breaks words at = and : as well, but here they are parts of a word, as in --pipeline=books.py:NAME.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == [=:]* ]]; then
            words[-1]+=$word joined=yes
        elif [[ $joined ]]; then
            words[-1]+=$word joined=
        else
            words+=("$word")
        fi
    done
    local IFS=$'\n'
    mapfile -t COMPREPLY < <(
        env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) _PDT_COMPLETE=complete_bash "$program" 2>/dev/null
    )
    # An empty line is no offer; without any, bash offers files.
    [[ ${COMPREPLY[0]-} ]] || COMPREPLY=()
}

complete -o default -F _pdt_completion pdt
