# Reads what `nats sub --dump=-` prints: each message as JSON on one line, in $message. For scripts that are sourced;
# jq would read it too, but is not on every machine.

# decoded turns the inside of a JSON string into text that cannot steer a terminal.
decoded() {
  local text
  printf -v text %b "${1//\\\"/\\x22}" # printf does not know an escaped quote
  printf '%s' "${text//[[:cntrl:]]/ }"
}

# value prints the text under a name outside the headers.
value() {
  local pattern="\"$1\":\"(([^\"\\]|\\\\.)*)\""
  if [[ $message =~ $pattern ]]; then decoded "${BASH_REMATCH[1]}"; fi
}

# header prints the first of the named headers that the message has, in any case, or a dash.
header() {
  local name pattern
  shopt -s nocasematch
  for name; do
    pattern="\"$name\":\\[\"(([^\"\\]|\\\\.)+)\""
    if [[ $message =~ $pattern ]]; then decoded "${BASH_REMATCH[1]}"; return; fi
  done
  printf -- -
}

# body prints the message's body, indented.
body() {
  value Data | base64 -d | sed 's/^/    /'
  echo
}
