#!/bin/sh
# PgBouncer as a container, in front of one Postgres.
#
#   DATABASE_HOST, DATABASE_PORT     the server behind it (postgres, 5432)
#   AUTH_USER, AUTH_PASSWORD         a superuser there; every role's own password then works here
#   PGBOUNCER_POOL_MODE=transaction  any setting of pgbouncer.ini, in capitals after PGBOUNCER_
#
# The command is `pgbouncer` (and a file of one's own, which is then used as it is) or any other.
set -eu

if [ "$*" = pgbouncer ]; then
    folder=$(mktemp -d)
    printf '"%s" "%s"\n' "${AUTH_USER:?is not set}" "${AUTH_PASSWORD:?is not set}" > "$folder/users"
    {
        printf '[databases]\n* = host=%s port=%s\n' "${DATABASE_HOST:-postgres}" "${DATABASE_PORT:-5432}"
        printf '[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\nunix_socket_dir =\n'
        printf 'auth_type = scram-sha-256\nauth_user = %s\nauth_file = %s\n' "$AUTH_USER" "$folder/users"
        printf 'ignore_startup_parameters = extra_float_digits\n'
        env | sed -n 's/^PGBOUNCER_\([A-Z_]*\)=\(.*\)$/\1 \2/p' | while read -r name value; do
            printf '%s = %s\n' "$(printf %s "$name" | tr '[:upper:]' '[:lower:]')" "$value"
        done
    } > "$folder/pgbouncer.ini"
    set -- pgbouncer "$folder/pgbouncer.ini"
fi
exec "$@"
