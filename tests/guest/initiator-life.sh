# shellcheck shell=bash
# shellcheck disable=SC2317,SC2329 # the functions are run through `step`
# Runs in a guest: the life cycle of a Linux initiator, step by step.
# tests/guest/kernel-initiator starts it; its exit status is the number of errors.
#
# PORTAL         address:port of the target, as the guest sees it
# TARGET         target without CHAP and with one writable logical unit, which is wiped
# MAY_FAIL       names of steps that may fail, separated by spaces; a listed step that passes is
#                an error, to keep the list current
# CHAP_TARGET    optional, a target with one-way CHAP: CHAP_USER, CHAP_PASSWORD
# MUTUAL_TARGET  optional, one with mutual CHAP: also MUTUAL_USER, MUTUAL_PASSWORD
# RESIZE         if set: the script creates /share/want-resize and waits for /share/resized,
#                which the host makes when the logical unit has another size
# FIO_SIZE       bytes for each fio verify job (8M)
errors=0
ran=" "

# step NAME COMMAND...: run it, print "ok NAME" or "not ok NAME" with its output
step() {
	local name=$1 status=0 listed=
	shift
	[[ " $MAY_FAIL " == *" $name "* ]] && listed=1
	ran+="$name "
	"$@" > /tmp/step.out 2>&1 || status=$?
	if [ $status = 0 ] && [ -z "$listed" ]; then
		echo "ok $name"
	elif [ $status = 0 ]; then
		echo "not ok $name # passes, but is listed in may-fail: remove it there"
		errors=$((errors + 1))
	elif [ -n "$listed" ]; then
		echo "not ok $name # listed in may-fail (status $status)"
	else
		echo "not ok $name (status $status)"
		sed 's/^/    /' /tmp/step.out
		errors=$((errors + 1))
	fi
}

if [ -z "$PORTAL" ] || [ -z "$TARGET" ]; then fail "set PORTAL and TARGET"; fi
iscsi_start

discovery() {
	iscsiadm -m discovery -t sendtargets -p "$PORTAL" -o nonpersistent | tee /tmp/found
	grep -qw -- "$TARGET" /tmp/found
}
login() {
	iscsi_login "$TARGET" "$PORTAL" > /tmp/disks || return 1
	disk=/dev/$(head -1 /tmp/disks)
	[ -b "$disk" ]
}
logout() { iscsi_logout "$TARGET" "$PORTAL"; }
node_option() { iscsiadm -m node -T "$TARGET" -p "$PORTAL" -o update -n "$1" -v "$2"; }

step discovery discovery
# Pings are sent every 2 s when idle; an emulated guest needs time to answer.
iscsi_node "$TARGET" "$PORTAL" 'node.conn[0].timeo.noop_out_interval' 2 \
	'node.conn[0].timeo.noop_out_timeout' 30
step login login
[ -b "$disk" ] || fail "no disk after login: $(dmesg | tail -5)"

# -- commands of a host to a new disk

# VPD pages: supported pages 00, unit serial number 80, device identification 83, extended
# inquiry 86, block limits B0, block device characteristics B1, logical block provisioning B2.
for page in 00 80 83 86 b0 b1 b2; do
	step "vpd-$page" sg_vpd --page=0x$page "$disk"
done
step inquiry sg_inq "$disk"
step read-capacity-10 sg_readcap "$disk"
step read-capacity-16 sg_readcap --16 "$disk"
step report-luns sg_luns "$disk"
step test-unit-ready sg_turs "$disk"
step request-sense sg_requests "$disk"
step mode-sense sg_modes --all "$disk"
step report-supported-opcodes sg_opcodes "$disk"
step get-lba-status sg_get_lba_status --lba=0 "$disk"
step synchronize-cache sg_sync "$disk"

# -- a file system, and data that must survive the next login

mount_again() {
	echo 3 > /proc/sys/vm/drop_caches
	mount "$disk" /mnt
}
make_file_system() {
	mkfs.ext4 -q -F "$disk" && mount "$disk" /mnt && echo hello > /mnt/file && sync &&
		umount /mnt && mount_again && [ "$(cat /mnt/file)" = hello ]
}
# fio_verify NAME: random direct writes of mixed sizes, then verification
fio_verify() {
	fio --name="$1" --directory=/mnt --size="${FIO_SIZE:-8M}" --bsrange=4k-64k --rw=randwrite \
		--ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --do_verify=1 \
		--fallocate=none --end_fsync=1
}
fio_verify_only() {
	fio --name="$1" --directory=/mnt --size="${FIO_SIZE:-8M}" --bsrange=4k-64k --rw=randwrite \
		--ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --verify_only
}
fsck_clean() { fsck.ext4 -fn "$disk"; }

step mkfs-mount-ext4 make_file_system
step fio-verify fio_verify first
step fstrim fstrim -v /mnt
step unmount umount /mnt
step logout logout
step login-again login
step fsck-clean fsck_clean
step mount-again mount_again
step fio-verify-after-login fio_verify_only first
umount /mnt

# -- commands for shared disks and thin provisioning

persistent_reservation() {
	local key=0x1122334455667788
	sg_persist -n --out --register --param-sark="$key" "$disk" &&
		sg_persist -n --out --reserve --param-rk="$key" --prout-type=5 "$disk" &&
		sg_persist -n --in --read-reservation "$disk" |
		grep -i 'Write Exclusive, registrants only' &&
		sg_persist -n --in --read-keys "$disk" | grep -i 1122334455667788 &&
		sg_persist -n --out --release --param-rk="$key" --prout-type=5 "$disk" &&
		sg_persist -n --out --register --param-rk="$key" --param-sark=0 "$disk"
}
reads_as_zeros() {
	[ "$(dd if="$disk" bs=1M count=8 iflag=direct 2> /dev/null | tr -d '\0' | wc -c)" = 0 ]
}
fill() { dd if=/dev/urandom of="$disk" bs=1M count=8 oflag=direct; }
unmap() { fill && blkdiscard -o 0 -l 8M "$disk" && reads_as_zeros; }
write_zeros() { fill && blkdiscard -z -o 0 -l 8M "$disk" && reads_as_zeros; }
compare_and_write() {
	# Blocks 0 are zeros after write-zeros: the first finds them so and writes, the second must
	# miscompare.
	head -c 512 /dev/zero > /tmp/expected
	head -c 512 /dev/urandom > /tmp/new
	cat /tmp/expected /tmp/new > /tmp/both
	sg_compare_and_write --lba=0 --num=1 --in=/tmp/both --xferlen=1024 "$disk" || return 1
	[ "$(dd if="$disk" bs=512 count=1 iflag=direct 2> /dev/null | md5sum)" = \
		"$(md5sum < /tmp/new)" ] || return 1
	! sg_compare_and_write --lba=0 --num=1 --in=/tmp/both --xferlen=1024 "$disk"
}
reset_lun() {
	sg_reset --device "$disk" || return 1
	# The reset leaves a unit attention, which the first command after it reports and clears.
	sg_turs "$disk"
	sg_turs "$disk"
}
idle() {
	sleep 7
	dd if="$disk" of=/dev/null bs=64k count=1 iflag=direct
}

step persistent-reservation persistent_reservation
step unmap unmap
step write-same-zeros write_zeros
step compare-and-write compare_and_write
step lun-reset reset_lun
step idle-with-pings idle

resize() {
	local before
	before=$(blockdev --getsize64 "$disk")
	touch /share/want-resize
	wait_for 60 test -e /share/resized || return 1
	iscsiadm -m session --rescan
	size_changed() { [ "$(blockdev --getsize64 "$disk")" != "$before" ]; }
	wait_for 20 size_changed
}
[ -z "$RESIZE" ] || step resize resize
step logout-again logout

# -- CHAP

refused() { ! iscsi_login "$1" "$PORTAL"; }
if [ -n "$CHAP_TARGET" ]; then
	iscsi_node "$CHAP_TARGET" "$PORTAL"
	step chap-refused-without refused "$CHAP_TARGET"
	iscsi_chap "$CHAP_TARGET" "$PORTAL" "$CHAP_USER" "wrong$CHAP_PASSWORD"
	step chap-refused-wrong refused "$CHAP_TARGET"
	iscsi_chap "$CHAP_TARGET" "$PORTAL" "$CHAP_USER" "$CHAP_PASSWORD"
	step chap-login iscsi_login "$CHAP_TARGET" "$PORTAL"
	step chap-logout iscsi_logout "$CHAP_TARGET" "$PORTAL"
fi
if [ -n "$MUTUAL_TARGET" ]; then
	iscsi_node "$MUTUAL_TARGET" "$PORTAL"
	iscsi_chap "$MUTUAL_TARGET" "$PORTAL" "$CHAP_USER" "$CHAP_PASSWORD" \
		"$MUTUAL_USER" "not$MUTUAL_PASSWORD"
	step mutual-chap-refused-wrong refused "$MUTUAL_TARGET"
	iscsi_chap "$MUTUAL_TARGET" "$PORTAL" "$CHAP_USER" "$CHAP_PASSWORD" \
		"$MUTUAL_USER" "$MUTUAL_PASSWORD"
	step mutual-chap-login iscsi_login "$MUTUAL_TARGET" "$PORTAL"
	step mutual-chap-logout iscsi_logout "$MUTUAL_TARGET" "$PORTAL"
fi

# -- the same steps with CRC32C header and data digests

# Only CRC32C is offered, so a target without digests rejects the login.
for digest in HeaderDigest DataDigest; do
	node_option "node.conn[0].iscsi.$digest" CRC32C
done
digests_are_on() {
	[ "$(iscsiadm -m session -P 2 | grep -cE '(HeaderDigest|DataDigest): CRC32C')" = 2 ]
}
step digests-login login
step digests-negotiated digests_are_on
step digests-mkfs-mount make_file_system
step digests-fio-verify fio_verify second
umount /mnt
step digests-fsck-clean fsck_clean
step digests-logout logout

# Debian's 6.1 kernel sometimes warns about dependencies of its own work queues, which is not
# caused by the target.
log_is_quiet() {
	! dmesg | grep -E 'I/O error|connection[0-9:]* error|BUG:|WARNING:|blocked for' |
		grep -v check_flush_dependency
}
step kernel-log-quiet log_is_quiet
for name in $MAY_FAIL; do
	if [[ "$ran" != *" $name "* ]]; then
		echo "not ok $name # listed in may-fail, but not a step"
		errors=$((errors + 1))
	fi
done
echo "$(wc -w <<< "$ran") steps, $errors errors"
exit "$((errors < 100 ? errors : 100))"
