#!/bin/bash
# What becomes a systemd of its own, within namespaces that booted.py made: boot.sh ROOT VENV OPEN. It sees the machine's files, but for those below, and starts
# the units of deploy/ alone.
set -euo pipefail
root=$1 venv=$2 open=$3
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /mnt # wherever the three are, what is mounted below may cover them
mkdir /mnt/causeway /mnt/venv /mnt/open
mount --bind "$root" /mnt/causeway
mount --bind "$venv" /mnt/venv
mount --bind "$open" /mnt/open
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/units /run/lock /run/etc/upper /run/etc/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
mkdir -p /etc/causeway
mount -t tmpfs -o mode=755 tmpfs /opt
for name in causeway venv open; do
  mkdir "/opt/$name"
  mount --bind "/mnt/$name" "/opt/$name"
done
mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t bpf bpf /sys/fs/bpf
cat >/usr/local/bin/causeway <<'EOF'
#!/bin/sh
PYTHONPATH=/opt/causeway exec /opt/venv/bin/python -m api.cli.main "$@"
EOF
chmod 755 /usr/local/bin/causeway
cp /opt/causeway/deploy/systemd/*.service /run/units/
mkdir /run/units/service.d
printf '[Service]\nStandardOutput=append:/run/%%N.log\nStandardError=append:/run/%%N.log\n' >/run/units/service.d/log.conf
# What the units are ordered by, empty: the machine's own would load modules, set kernel parameters and clean /tmp.
for target in sysinit basic network-online multi-user shutdown umount final; do
  printf '[Unit]\nDefaultDependencies=no\n' >"/run/units/$target.target"
done
ip link set lo up
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared / # a unit's credentials come by a mount that has to be seen by all of these namespaces
exec env -i container=other PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin SYSTEMD_UNIT_PATH=/run/units \
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=no
