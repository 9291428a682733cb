# shellcheck shell=bash
# Start and stop iSCSI targets for tests and benchmarks; source this file.
#
# The caller chooses a short NAME for each target. After start_pollux or start_tgt:
#   ${target_pid[NAME]}  process id        ${target_port[NAME]}  TCP port on 127.0.0.1
#   ${target_url[NAME]}  iscsi:// URL of its one writable logical unit (1 GiB)
#   ${target_log[NAME]}  log file with its output
# The caller calls stop_targets in its EXIT trap; only processes started here are stopped.

# shellcheck disable=SC2034 # read by whoever sources this
declare -A target_pid=() target_port=() target_url=() target_log=()
declare -A target_end_signal=()

DEMO_IQN=iqn.2026-11.local.pollux:demo

# free_port: a free TCP port on 127.0.0.1, below the ephemeral ports
free_port() {
	local port
	while :; do
		port=$((RANDOM % 10000 + 20000))
		(: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
	done
	echo "$port"
}

# wait_until SECONDS PID COMMAND...: wait until the command succeeds; fails if PID exits first
wait_until() {
	local until=$((SECONDS + $1)) pid=$2
	shift 2
	until "$@" > /dev/null 2>&1; do
		if [ $SECONDS -ge $until ] || ! kill -0 "$pid" 2> /dev/null; then return 1; fi
		sleep 0.05
	done
}

# start_pollux NAME FOLDER [CORES [ARGUMENT...]]: the embedded demo of $POLLUXD with its state in
# FOLDER, on a free port
start_pollux() {
	local name=$1 folder=$2 cores=${3:-} port attempt
	local polluxd=${POLLUXD:?set POLLUXD to the path of the polluxd program}
	shift $(($# < 3 ? $# : 3))
	mkdir -p "$folder"
	target_log[$name]=$folder/polluxd.log
	# The port that was free may be taken a moment later: then once more with another.
	for attempt in 1 2 3; do
		port=$(free_port)
		"$polluxd" --state-dir "$folder/state" --listen "127.0.0.1:$port" \
			--control "$folder/control.sock" ${cores:+--cores "$cores"} "$@" \
			> "${target_log[$name]}" 2>&1 < /dev/null &
		target_pid[$name]=$!
		target_port[$name]=$port
		target_url[$name]=iscsi://127.0.0.1:$port/$DEMO_IQN/0
		wait_until 30 $! grep -qw ready "${target_log[$name]}" && return 0
		stop_target "$name"
		grep -qi 'in use' "${target_log[$name]}" || break
	done
	echo "targets: $polluxd did not become ready (attempt $attempt); its output:" >&2
	tail -n 20 "${target_log[$name]}" >&2
	return 1
}

# start_tgt NAME FOLDER [CORES]: tgtd with a file in FOLDER, for comparison
start_tgt() {
	local name=$1 folder=$2 cores=${3:-} port control pid
	local PATH=$PATH:/usr/sbin
	command -v tgtd > /dev/null || {
		echo "targets: tgtd not found; install the Debian package tgt" >&2
		return 1
	}
	mkdir -p "$folder"
	port=$(free_port)
	control=$((RANDOM + 100))
	target_log[$name]=$folder/tgtd.log
	${cores:+taskset -c "$cores"} tgtd -f -C "$control" --iscsi "portal=127.0.0.1:$port" \
		> "${target_log[$name]}" 2>&1 < /dev/null &
	pid=$!
	target_pid[$name]=$pid
	# tgtd takes no TERM while it has targets.
	target_end_signal[$name]=KILL
	target_port[$name]=$port
	target_url[$name]=iscsi://127.0.0.1:$port/$DEMO_IQN/1
	truncate -s 1G "$folder/disk.img"
	local admin=(tgtadm -C "$control" --lld iscsi)
	if ! wait_until 10 $pid "${admin[@]}" --op show --mode target; then
		echo "targets: tgtd did not start; its output:" >&2
		tail -n 20 "${target_log[$name]}" >&2
		return 1
	fi
	"${admin[@]}" --op new --mode target --tid 1 -T "$DEMO_IQN" &&
		"${admin[@]}" --op new --mode logicalunit --tid 1 --lun 1 -b "$folder/disk.img" &&
		"${admin[@]}" --op update --mode logicalunit --tid 1 --lun 1 \
			--params thin_provisioning=1 &&
		"${admin[@]}" --op update --mode target --tid 1 --name HeaderDigest \
			--value CRC32C,None &&
		"${admin[@]}" --op update --mode target --tid 1 --name DataDigest \
			--value CRC32C,None &&
		"${admin[@]}" --op bind --mode target --tid 1 -I ALL
}

# stop_target NAME: send SIGTERM, then SIGKILL after 10 s; returns its exit status
stop_target() {
	local pid=${target_pid[$1]:-} status=0 until=$((SECONDS + 10))
	[ -n "$pid" ] || return 0
	unset "target_pid[$1]"
	kill -CONT "$pid" 2> /dev/null || true
	kill "-${target_end_signal[$1]:-TERM}" "$pid" 2> /dev/null || true
	while kill -0 "$pid" 2> /dev/null && [ $SECONDS -lt $until ]; do sleep 0.05; done
	kill -KILL "$pid" 2> /dev/null || true
	wait "$pid" || status=$?
	return $status
} 2> /dev/null # the shell's own "Killed"

# stop_targets: stop all targets started here
stop_targets() {
	local name
	for name in "${!target_pid[@]}"; do stop_target "$name" || true; done
}
