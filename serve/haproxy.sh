#!/bin/sh
# HAProxy as Ray Serve starts it, except that its statistics and metrics listen on loopback: Ray's
# configuration has them listen on every interface, whatever the application's address is.
own_ports="$RAY_SERVE_HAPROXY_METRICS_PORT\\|$RAY_SERVE_HAPROXY_STATS_PORT"
for argument; do
  case $argument in
    *.cfg) sed -i "s/^\( *bind \)\**:\($own_ports\)\$/\1127.0.0.1:\2/" "$argument" ;;
  esac
done
exec "$REJOINDER_HAPROXY" "$@"
