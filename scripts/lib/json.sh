# Writes and checks JSON, for scripts that are sourced; jq would do it too, but is not on every machine.

# string makes a JSON string of a text.
string() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/\\t}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# is_object tells whether a file holds one JSON object and nothing else. What is understood becomes a control character,
# which JSON itself never holds: strings 1, other values 2, from the innermost outwards; the object must be what is left.
is_object() {
  local s=$'\1' v=$'\2' o=$'\3' left
  ! LC_ALL=C grep -q $'[\1\2\3]' "$1" || return 1
  left=$(tr '\n\r\t' '   ' < "$1" | LC_ALL=C sed -E \
    -e 's/"([^"\\]|\\(["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"/'"$s/g" \
    -e 's/(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null)/'"$v/g" \
    -e 's/ //g' -e ':again' \
    -e "s/\\[([$s$v$o](,[$s$v$o])*)?\\]/$v/g" -e "s/\\{($s:[$s$v$o](,$s:[$s$v$o])*)?\\}/$o/g" -e 'tagain')
  [ "$left" = "$o" ]
}
