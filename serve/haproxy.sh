#!/bin/sh
# HAProxy as Ray Serve starts it, except that its statistics and metrics have sockets of their folder: Ray's
# configuration has them listen on every interface, whatever the application's address is, and at ports that
# are the same for every Ray of a machine.
for argument; do
  case $argument in
    *.cfg)
      folder=$(dirname "$argument")
      sed -i -e "/^frontend prometheus/,/ bind / s#bind .*#bind unix@$folder/prom.sock#" \
        -e "/^listen stats/,/ bind / s#bind .*#bind unix@$folder/stats.sock#" "$argument"
      ;;
  esac
done
exec "$REJOINDER_HAPROXY" "$@"
