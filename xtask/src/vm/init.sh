#!/bin/busybox sh
# The first process of the machine: sets the system up, then runs what the control port says.
#
# Ports: ttyS0 the kernel's console; ttyS1 the commands' output, and lines that say what to run; ttyS2 lines that say
# what to stop:
#   ttyS1  run ID COMMAND   runs the command in a session of its own
#          shell ID         runs an interactive shell on this port
#   ttyS2  ID               kills the process group of that command
# Each command ends with a marker behind all that it wrote: byte 0x1e, "exit ID CODE", a newline.
#
# A shell that is told of a child's end while it reads a line begins the line again and loses what it had. So those
# that read have no child at that time, and are not process 1, whose children all orphans are.

/bin/busybox --install -s
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run /tmp /root
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/command
hostname machine

exec 3<>/dev/ttyS1 4</dev/ttyS2
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo

# An NVDIMM without labels is one namespace; this makes it /dev/daxN.0 with 2 MiB in front for the kernel's own use.
# What the kernel keeps of each page goes to ordinary memory, so that it writes to none of the NVDIMM's bytes.
if [ -d /sys/bus/acpi/devices/ACPI0012:00 ]; then
    modprobe -a libnvdimm nfit nd_btt nd_pmem dax_pmem device_dax dax_hmem
    # One that is devdax already, as it was on a machine before this one, comes up by itself.
    cat /sys/bus/nd/devices/ndbus*/wait_probe >/dev/null
    for region in /sys/bus/nd/devices/region*; do
        number=${region##*region}
        [ ! -e "/sys/bus/dax/devices/dax$number.0" ] || continue
        ndctl create-namespace -f -e "namespace$number.0" -m devdax --map=mem \
            >"/run/ndctl.$number" 2>&1 || echo "ndctl: $(cat "/run/ndctl.$number")" >/dev/ttyS0
    done
fi

# Linux's ioatdma follows a null pointer on a function whose XFERCAP is 0: nothing may offer it this one.
limitless=/sys/bus/pci/devices/0000:00:09.0/driver_override
[ ! -e $limitless ] || echo none >$limitless

marker() { printf '\036exit %s %s\n' "$1" "$2" >&3; }

run() {
    # shellcheck disable=SC2016
    setsid sh -c 'echo $$ >"/run/command/$0"; exec 4<&- >&3 2>&1 3<&-; eval "$1"' "$1" "$2" </dev/null
    marker "$1" $?
}

shell() {
    stty -F /dev/ttyS1 sane
    setsid sh -c 'exec 3<&- 4<&-; exec sh -i </dev/ttyS1 >/dev/ttyS1 2>&1'
    code=$?
    # The end of a session hangs its terminal up.
    exec 3<>/dev/ttyS1
    stty -F /dev/ttyS1 raw -echo
    marker "$1" $code
}

(
    marker 0 0
    while read -r verb id command <&3; do
        case $verb in
        run) run "$id" "$command" ;;
        shell) shell "$id" ;;
        esac
    done
) &
(
    while read -r id <&4; do
        # shellcheck disable=SC2162
        read pid <"/run/command/$id" && kill -KILL "-$pid"
    done
) &
wait
poweroff -f
