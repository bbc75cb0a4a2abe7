# Asks the console, for scripts that are sourced after dump.sh and json.sh.

url=${CONSOLE_URL:-http://127.0.0.1:8080}
url=${url%/}

credentials() { # for curl, not on its command line, where everybody on the machine would see them
  if [ -n "${CONSOLE_USER:-}" ]; then printf 'user = %s\n' "$(string "$CONSOLE_USER:${CONSOLE_PASSWORD:-}")"; fi
  if [ -n "${CONSOLE_API_KEY:-}" ]; then printf 'header = %s\n' "$(string "X-API-Key: $CONSOLE_API_KEY")"; fi
}

# call asks the console; the answer is in $answer. A problem is told, and ends the script.
call() {
  if ! answer=$(curl --silent --show-error --config <(credentials) --write-out '\n%{http_code}' "$@"); then
    echo "The console was asked at $url (CONSOLE_URL). Is one running there? go run ./services/standalone starts one." >&2
    exit 1
  fi
  local status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  [[ $status != 2* ]] || return 0
  message=$answer
  echo "$status: $(value detail)" >&2
  while IFS= read -r message; do echo "  $(value field): $(value message)" >&2; done < <(grep -o '{"field":.*' <<< "${answer//'{"field"'/$'\n{"field"'}" || true)
  exit 1
}
