# First in the container, before any line of the code: looks at what the runtime made, says what is
# there by removing a file of that name, and becomes the code. The supervisor holds these files open:
# one that is gone cannot come back. The first word is what must be there.
proofs=/opt/stockade/proofs
required=$1
shift
found=
sets=
filters=0
while IFS=': 	' read -r name value rest; do
  case $name in
    CapInh | CapPrm | CapEff | CapBnd | CapAmb) sets=$sets$value ;;
    Seccomp_filters) filters=$value ;;
  esac
done < /proc/self/status
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
gone=
for name in $found; do
  [ -e "$proofs/$name" ] && gone="$gone $proofs/$name"
done
status=0
for name in $required; do
  case " $found " in
    *" $name "*) ;;
    *) status=125 ;;
  esac
done
if [ "$status" = 0 ]; then
  case $1 in
    */*)
      [ -f "$1" ] && [ -x "$1" ] || status=126
      [ -e "$1" ] || status=127
      ;;
    *) command -v -- "$1" > /dev/null || status=127 ;;
  esac
fi
[ "$status" = 0 ] && gone="$gone $proofs/started"
[ -z "$gone" ] || /bin/rm -f $gone || exit 125
[ "$status" = 0 ] || exit "$status"
unset PWD OLDPWD
exec "$@"
