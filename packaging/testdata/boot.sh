# Starts systemd as the first process of the root folder $1, until it exits. The caller has
# made namespaces for this script.
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for dir in dev run tmp; do
	mount -t tmpfs -o mode=755 tmpfs "$dir"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir -p outside
pivot_root . outside
umount -l /outside
mount --make-rshared / # or no service sees its credentials
exec env -i PATH="$PATH" container=test chroot . /lib/systemd/systemd --unit=check.target
