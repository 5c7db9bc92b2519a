# Runs one attempt at one job and outlives whoever started it. POSIX sh, called as
#   sh -c TEXT pdt-job DIRECTORY TOKEN STDIN STDOUT STDERR UMASK
# where STDERR is a path, or - for standard output.
cd -- "$1" || exit 125
read -r token <token && [ "$token" = "$2" ] || exit 125
directory=$1 input=$3 output=$4 errors=$5 mask=$6

# The claim: made only if absent, and kept open, so that the exit status goes to this attempt's file whatever becomes of
# the directory.
umask 077
set -C
exec 3>run || exit 125
set +C
# Whoever gave this attempt up in the meantime removed the token first, and may have made the directory anew.
read -r token <token && [ "$token" = "$2" ] || exit 125

# The command's name in the second field may hold anything; of what follows it, the 20th word is the start time.
read -r stat <"/proc/$$/stat"
set -- ${stat##*) }
echo "$$ ${20}" >&3

# A signal to the whole session is for the script; its runner stays to tell how it ended. (Handled, not ignored: what is
# ignored here would be ignored by the script as well.)
trap : HUP INT TERM QUIT

if [ -f env ]; then . ./env; fi
cd ./cwd # with the dot, since CDPATH may be set
# The outputs are made private; the umask of whoever launched the job is for the script alone.
case $errors in
-) (umask "$mask" && exec "$directory/exe") <"$input" >"$output" 2>&1 3>&- ;;
*) (umask "$mask" && exec "$directory/exe") <"$input" >"$output" 2>"$errors" 3>&- ;;
esac
echo "$?" >&3
