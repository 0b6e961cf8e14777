#!/usr/bin/env bash
# Postgres as a container: on first start it makes the cluster, then it becomes the server.
#
#   POSTGRES_PASSWORD          the superuser's; needed unless POSTGRES_HOST_AUTH_METHOD=trust
#   POSTGRES_USER              the superuser's name (postgres)
#   POSTGRES_DB                a database to make (as POSTGRES_USER)
#   POSTGRES_HOST_AUTH_METHOD  for connections over TCP (scram-sha-256)
#   POSTGRES_INITDB_ARGS       more for initdb; without any, a ready template is copied
#   /docker-entrypoint-initdb.d/*.sql, *.sh   run once, in the order of their names
#
# The command is `postgres` and its options (`-c max_connections=100`), or any other program.
set -Eeuo pipefail

[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

if [[ $(id -u) == 0 ]]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
password=${POSTGRES_PASSWORD:-}
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
template=/usr/local/share/postgresql/template

make_cluster() {
    if [[ -n ${POSTGRES_INITDB_ARGS:-} ]]; then
        # Unquoted on purpose: it is a list of options.
        # shellcheck disable=SC2086
        initdb --no-sync --data-checksums --auth=trust -D "$PGDATA" $POSTGRES_INITDB_ARGS
    else
        cp -a "$template/." "$PGDATA"
    fi
    echo "host all all all $method" >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
}

make_owner() {
    # Role 10 is the superuser of every cluster; here it takes the name and password asked for.
    local -x PGUSER=postgres PGDATABASE=postgres
    psql -qX -v ON_ERROR_STOP=1 -v name="$user" <<< \
        "UPDATE pg_authid SET rolname = :'name' WHERE oid = 10;"
    PGUSER=$user
    [[ -z $password ]] || psql -qX -v ON_ERROR_STOP=1 -v name="$user" -v password="$password" <<< \
        "ALTER ROLE :\"name\" PASSWORD :'password';"
    [[ $database == postgres ]] || psql -qX -v ON_ERROR_STOP=1 -v name="$database" <<< \
        'CREATE DATABASE :"name";'
}

run_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sql)
                echo "running $file"
                psql -qX -v ON_ERROR_STOP=1 -U "$user" -d "$database" -f "$file"
                ;;
            *.sh)
                echo "running $file"
                if [[ -x $file ]]; then "$file"; else source "$file"; fi
                ;;
        esac
    done
}

if [[ ! -s $PGDATA/PG_VERSION ]]; then
    if [[ -z $password && $method != trust ]]; then
        echo 'POSTGRES_PASSWORD is not set (or say POSTGRES_HOST_AUTH_METHOD=trust)' >&2
        exit 1
    fi
    export PGHOST=/var/run/postgresql
    make_cluster
    # Reachable through its socket only: nobody meets a server that is not ready yet.
    options=("${@:2}" -c "listen_addresses=" -c fsync=off)
    pg_ctl -w -s -o "$(printf '%q ' "${options[@]}")" start
    make_owner
    run_scripts
    pg_ctl -w -s -m fast stop
    unset PGHOST
fi
exec "$@"
