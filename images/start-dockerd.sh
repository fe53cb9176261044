#!/bin/sh
# Starts the Docker engine where it is installed and not running, and waits until it answers. For machines without an
# init system, such as CI; needs root. Safe to run again.
set -eu

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

if answers; then
    echo "The Docker engine is running: $(docker version --format '{{.Server.Version}}')"
    exit 0
fi
if ! command -v dockerd >/dev/null 2>&1; then
    echo "There is no Docker engine here. On Debian or Ubuntu: apt-get install docker.io" >&2
    exit 1
fi
log=${DOCKERD_LOG:-/var/log/dockerd.log}
# A pid file of an engine that was killed keeps the next one from starting.
if [ -f /var/run/docker.pid ] && ! kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then
    rm -f /var/run/docker.pid
fi
setsid nohup dockerd >"$log" 2>&1 </dev/null &
tries=0
until answers; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ]; then
        echo "The Docker engine did not answer within 30 s. The end of $log:" >&2
        tail -n 20 "$log" >&2
        exit 1
    fi
    sleep 0.2
done
echo "Started the Docker engine: $(docker version --format '{{.Server.Version}}')"
