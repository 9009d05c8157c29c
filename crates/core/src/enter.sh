# First in the container, before any line of the code: looks at what the runtime made, says what is
# there by emptying a file of that name, and becomes the code. What was in the file nobody can put back.
#
# sh enter.sh REQUIRED [NAME=VALUE]... -- PROGRAM [ARGUMENT]...
#
# The variables of the code come as words, since some (LD_PRELOAD) would let it in before its time.
proofs=/opt/stockade/proofs
required=$1
shift
sets=
filters=0
while IFS=': 	' read -r name value rest; do
  case $name in
    CapInh | CapPrm | CapEff | CapBnd | CapAmb) sets=$sets$value ;;
    Seccomp_filters) filters=$value ;;
  esac
done < /proc/self/status
found=
case $sets in
  '' | *[!0]*) ;;
  *) found="$found no-capabilities" ;;
esac
# One is ours, around the runtime; another is what the runtime was told to load.
[ "$filters" -ge 2 ] && found="$found seccomp"
read -r self rest < /proc/self/stat
[ "$$ $self" = '1 1' ] && found="$found proc"
if [ -e "$proofs/second-kernel" ]; then
  # What the host's kernel calls itself.
  read -r host < "$proofs/second-kernel"
  read -r own < /proc/version
  [ -n "$host" ] && [ "$own" != "$host" ] && found="$found second-kernel"
fi
for name in $found; do
  [ -e "$proofs/$name" ] && : > "$proofs/$name"
done
status=0
for name in $required; do
  case " $found " in
    *" $name "*) ;;
    *) status=125 ;;
  esac
done
path=
program=
for word; do
  case $program$word in
    --) program=$word ;;
    --*)
      program=$word
      break
      ;;
    PATH=*) path=${word#PATH=} ;;
  esac
done
if [ "$status" = 0 ]; then
  case $program in
    */*)
      [ -f "$program" ] && [ -x "$program" ] || status=126
      [ -e "$program" ] || status=127
      ;;
    *) (PATH=$path && command -v -- "$program" > /dev/null) || status=127 ;;
  esac
fi
[ "$status" = 0 ] || exit "$status"
: > "$proofs/started"
unset PWD OLDPWD
# From here on no variable is ours.
while [ "$1" != -- ]; do
  export "$1"
  shift
done
shift
exec "$@"
