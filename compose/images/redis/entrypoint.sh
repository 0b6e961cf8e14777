#!/bin/sh
# Redis as a container: options alone mean redis-server; root steps down to user redis.
# Debian's build has protected mode on; the official image has it off unless asked for.
set -eu

case "${1:-}" in -* | *.conf) set -- redis-server "$@" ;; esac

if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis {} +
    exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi

if [ "${1:-}" = redis-server ]; then
    case "$*" in *protected-mode*) exec "$@" ;; esac
    if [ -f "${2:-}" ] && grep -q '^protected-mode' "$2"; then exec "$@"; fi
    exec "$@" --protected-mode no
fi
exec "$@"
