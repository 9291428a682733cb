# shellcheck shell=bash
# Functions for scripts that run in a guest; read before each script.

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# wait_for SECONDS COMMAND...: retry until it succeeds
wait_for() {
	local until=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		[ $SECONDS -ge $until ] && { echo "wait_for: timeout: $*" >&2; return 1; }
		sleep 0.2
	done
}

# iscsi_start: start the initiator's daemon (idempotent)
iscsi_start() {
	pgrep -x iscsid > /dev/null && return 0
	modprobe -a iscsi_tcp sd_mod sg
	mkdir -p /run/lock/iscsi
	iscsid
}

# iscsi_node TARGET PORTAL [NAME VALUE]...: create a node record with these settings, without
# discovery, which returns unreachable addresses behind user-mode networking.
iscsi_node() {
	local target=$1 portal=$2
	shift 2
	iscsi_start || return 1
	iscsiadm -m node -T "$target" -p "$portal" -o new > /dev/null || return 1
	while [ $# -ge 2 ]; do
		iscsiadm -m node -T "$target" -p "$portal" -o update -n "$1" -v "$2" || return 1
		shift 2
	done
}

# iscsi_chap TARGET PORTAL USER PASSWORD [USER_IN PASSWORD_IN]
iscsi_chap() {
	local node=(iscsiadm -m node -T "$1" -p "$2" -o update)
	"${node[@]}" -n node.session.auth.authmethod -v CHAP &&
		"${node[@]}" -n node.session.auth.username -v "$3" &&
		"${node[@]}" -n node.session.auth.password -v "$4" || return 1
	[ $# -ge 6 ] || return 0
	"${node[@]}" -n node.session.auth.username_in -v "$5" &&
		"${node[@]}" -n node.session.auth.password_in -v "$6"
}

# iscsi_disks TARGET: the disks (sda ...) of its sessions, one per line
iscsi_disks() {
	local session
	for session in /sys/class/iscsi_session/session*; do
		[ "$(cat "$session/targetname" 2> /dev/null)" = "$1" ] || continue
		ls "$session"/device/target*/*:*/block 2> /dev/null
	done | grep '^sd' | sort
}

# disk_count_is TARGET COUNT: whether at least COUNT disks exist
disk_count_is() { [ "$(iscsi_disks "$1" | wc -l)" -ge "$2" ]; }

# iscsi_login TARGET PORTAL [LUNS]: log in, wait for LUNS disks (1), print them
iscsi_login() {
	local disk
	iscsiadm -m node -T "$1" -p "$2" --login > /tmp/login.out 2>&1 ||
		{ cat /tmp/login.out >&2; return 1; }
	wait_for 30 disk_count_is "$1" "${3:-1}" || return 1
	for disk in $(iscsi_disks "$1"); do wait_for 10 test -b "/dev/$disk"; done
	iscsi_disks "$1"
}

# iscsi_logout TARGET PORTAL
iscsi_logout() { iscsiadm -m node -T "$1" -p "$2" --logout; }
