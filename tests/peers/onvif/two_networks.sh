#!/usr/bin/env bash
# Let libonvif find and question a simulated device from another machine: it asks the multicast group and hears nobody on
# its own host, so device and client live in two network namespaces joined by a cable. Run under `unshare --map-root-user
# --net`, with the device's command as arguments and onvif-util's questions on standard input.
set -euo pipefail

device=10.55.0.1
password=$1
shift

other=
simulator=
finish() { kill $other $simulator 2>/dev/null || true; }
trap finish EXIT

ip link set lo up
ip link add device type veth peer name client
unshare --net sleep 60 &
other=$!
while [ "$(readlink "/proc/$other/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link set client netns "$other"

there() { nsenter --target "$other" --net "$@"; }
ip addr add "$device/24" dev device
ip link set device up
ip route add 224.0.0.0/4 dev device
there ip addr add 10.55.0.2/24 dev client
there ip link set client up
there ip route add 224.0.0.0/4 dev client

exec 3< <("$@" --host "$device" --port 80 --discovery)
simulator=$!
read -r _ <&3
there onvif-util -a
there onvif-util -u admin -p "$password" "$device"
