# Runs one attempt at one job and outlives whoever started it. POSIX sh, called as
#   sh -c TEXT pdt-job DIRECTORY TOKEN STDIN STDOUT STDERR UMASK
# where STDERR is a path, or - for standard output. On its own standard input it finds its start time, as a line, or
# the end of the file when whoever started it cannot tell or is gone. It keeps to one variable, since what it sets may
# be one that the script was given.
cd -- "$1" || exit 125
read -r _pdt <token && [ "$_pdt" = "$2" ] || exit 125

# The claim: made only if absent, and kept open as our standard output, so that the exit status goes to this attempt's
# file whatever becomes of the directory.
umask 077
set -C
exec >run || exit 125
set +C
# Whoever gave this attempt up in the meantime removed the token first. What was made anew is another directory.
[ -f token ] || exit 125

# A shell reads byte by byte, so that a short line is worth having. In /proc the command's name in the second field may
# hold anything; of what follows it, the 20th word is the start time.
look_up() {
    read -r _pdt <"/proc/$$/stat"
    set -- ${_pdt##*) }
    _pdt=${20}
}
read -r _pdt || look_up
echo "$$ $_pdt"

# A signal to the whole session is for the script; its runner stays to tell how it ended. (Handled, not ignored: what is
# ignored here would be ignored by the script as well.)
trap : HUP INT TERM QUIT

if [ -f env ]; then . ./env; fi
cd ./cwd # with the dot, since CDPATH may be set
# The outputs are made private; the umask of whoever launched the job is for the script alone.
case $5 in
-) (umask "$6" && exec "$1/exe") <"$3" >"$4" 2>&1 ;;
*) (umask "$6" && exec "$1/exe") <"$3" >"$4" 2>"$5" ;;
esac
echo "$?"
