#!/bin/sh
# Makes this checkout ready to run, with nothing but Node 20 or newer and npm. Quiet when there is nothing to do.
#
#   sh scripts/setup.sh [--images] [--package-check] [--first-boot] [--qemu] [--build]
#
#   (always)   the packages of package-lock.json; no package's install script runs. They bring Node 24 with them.
#   --images   the programs that make file system images, and those that tests speak to (U-Boot's environment, systemd, sshd, mosquitto); installs them when run as root, else prints the command and stops.
#   --package-check   what `npm run package -- --check` tries packages with; likewise.
#   --first-boot   what `npm run first-boot` boots a Debian in a container with; likewise.
#   --qemu     what `npm run qemu` boots emulated boards with; likewise.
#   --build    dist/, when a source file is newer than it.
#
# Exit status: 0 ready, 2 wrong option, 5 this machine lacks something (the message says what, and the one command to run).
set -eu
cd "$(dirname "$0")/.."

OLDEST_NODE=20
SOURCES="trust protocol platform agent update-server keys cli scripts/build.ts package-lock.json"
# Last, because it says that everything before it succeeded; npm itself empties node_modules first.
STAMP=node_modules/.holdfast-installed

say() { printf 'setup: %s\n' "$1" >&2; }

lacks() { # what, cure
  printf 'setup: %s\n  cure: %s\n' "$1" "$2" >&2
  exit 5
}

check_node() {
  command -v node >/dev/null 2>&1 || lacks "there is no node" "install Node $OLDEST_NODE or newer, with npm: https://nodejs.org"
  command -v npm >/dev/null 2>&1 || lacks "there is no npm" "install npm, which comes with Node: https://nodejs.org"
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge "$OLDEST_NODE" ] || lacks "node is version $(node --version)" "install Node $OLDEST_NODE or newer: https://nodejs.org"
}

packages_stand() {
  [ -x node_modules/.bin/node ] || return 1
  [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(cksum <package-lock.json)" ] && return 0
  # Installed by hand: npm writes its own copy of the lock file when it has finished.
  [ -f node_modules/.package-lock.json ] && [ -z "$(find package-lock.json -newer node_modules/.package-lock.json)" ]
}

install_packages() {
  packages_stand && return 0
  say "installing packages (about 30 s, once) ..."
  log=$(mktemp)
  if ! npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    lacks "npm ci failed" "read npm's message above; mostly the registry could not be reached: npm ping"
  fi
  rm -f "$log"
  [ -x node_modules/.bin/node ] ||
    lacks "there is no Node 24 package for $(uname -sm)" "use Linux on x64 or arm64"
  cksum <package-lock.json >"$STAMP"
}

missing_for_images() {
  has mke2fs && has debugfs || printf ' e2fsprogs'
  has mkfs.fat || printf ' dosfstools'
  has mcopy && has mtype || printf ' mtools'
  has fw_printenv && has fw_setenv || printf ' libubootenv-tool'
  has mksquashfs && has unsquashfs || printf ' squashfs-tools'
  has mkfs.erofs || printf ' erofs-utils'
  has systemd-notify || printf ' systemd'
  has python3 || printf ' python3'
  # holdfast image lint tests password hashes with its crypt(3).
  has perl || printf ' perl-base'
  has sshd || printf ' openssh-server'
  # Mosquitto's own judgement of a password file, and its mosquitto_passwd.
  has mosquitto || printf ' mosquitto'
  has ssh && has ssh-keygen || printf ' openssh-client'
  has openssl || printf ' openssl'
  has unshare || printf ' util-linux'
}

missing_for_package_check() {
  has debootstrap || printf ' debootstrap'
  has systemd-analyze || printf ' systemd'
  has systemd-nspawn || printf ' systemd-container'
  has lintian || printf ' lintian'
  has qemu-aarch64-static || printf ' qemu-user-static'
  has openssl || printf ' openssl'
}

missing_for_first_boot() {
  has debootstrap || printf ' debootstrap'
  has systemd-analyze || printf ' systemd'
  has systemd-nspawn || printf ' systemd-container'
  has ip || printf ' iproute2'
  has nft || printf ' nftables'
  has script || printf ' bsdutils'
}

missing_for_qemu() {
  has qemu-system-aarch64 || printf ' qemu-system-arm'
  has qemu-img || printf ' qemu-utils'
  [ -f /usr/lib/u-boot/qemu_arm64/u-boot.bin ] || printf ' u-boot-qemu'
  has mkimage && has mkenvimage || printf ' u-boot-tools'
  has depmod && has modprobe || printf ' kmod'
  has cpio || printf ' cpio'
  has sfdisk || printf ' fdisk'
  has veritysetup || printf ' cryptsetup-bin'
  has dtc || printf ' device-tree-compiler'
  has openssl || printf ' openssl'
  has ssh-keygen || printf ' openssh-client'
  [ -f /usr/share/keyrings/debian-archive-keyring.gpg ] || printf ' debian-archive-keyring'
}

has() { command -v "$1" >/dev/null 2>&1; }

install_programs() { # the function that lists what is missing, what it is for
  # Where Debian keeps mke2fs and mkfs.fat; not on every user's path.
  PATH="$PATH:/usr/sbin:/sbin"
  missing=$($1)
  [ -n "$missing" ] || return 0
  command="apt-get update && apt-get install -y --no-install-recommends$missing"
  if [ "$(id -u)" != 0 ] || ! has apt-get; then
    lacks "the programs that $2 are missing:$missing" "sudo sh -c '$command'"
  fi
  say "installing$missing ..."
  log=$(mktemp)
  forbid_services
  installed=yes
  DEBIAN_FRONTEND=noninteractive sh -c "$command" >"$log" 2>&1 || installed=no
  allow_services
  if [ $installed = no ]; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    lacks "installing$missing failed" "$command"
  fi
  rm -f "$log"
  case $missing in
    # The tests want the program; nobody asked for a machine that can be reached.
    *openssh-server*) systemctl disable ssh.service ssh.socket >/dev/null 2>&1 || true ;;
  esac
  case $missing in
    *mosquitto*) systemctl disable mosquitto.service >/dev/null 2>&1 || true ;;
  esac
}

# Debian starts a service when it is installed, unless this file says no: invoke-rc.d(8). One that is there stays as it is.
POLICY=/usr/sbin/policy-rc.d
forbid_services() {
  made_policy=no
  [ ! -e $POLICY ] || return 0
  made_policy=yes
  printf '#!/bin/sh\nexit 101\n' >$POLICY
  chmod 755 $POLICY
}
allow_services() {
  [ $made_policy = no ] || rm -f $POLICY
}

build() {
  # shellcheck disable=SC2086 # a list of paths
  if [ -f dist/holdfast-agent.mjs ] && [ -f dist/holdfast-firstboot.mjs ] && [ -f dist/holdfast-setup.mjs ] && [ -f dist/holdfast-server.mjs ] && [ -f dist/holdfast.mjs ] &&
    [ -z "$(find $SOURCES -type f -newer dist/holdfast-agent.mjs | head -n 1)" ]; then
    return 0
  fi
  say "building dist/ ..."
  sh scripts/with-node.sh scripts/build.ts >&2
}

want_images=no
want_package_check=no
want_qemu=no
want_first_boot=no
want_build=no
for option in "$@"; do
  case $option in
    --images) want_images=yes ;;
    --package-check) want_package_check=yes ;;
    --first-boot) want_first_boot=yes ;;
    --qemu) want_qemu=yes ;;
    --build) want_build=yes ;;
    *)
      printf 'setup: unknown option %s\n  usage: sh scripts/setup.sh [--images] [--package-check] [--first-boot] [--qemu] [--build]\n' "$option" >&2
      exit 2
      ;;
  esac
done

packages_stand || check_node
install_packages
[ $want_images = no ] || install_programs missing_for_images 'make images'
[ $want_package_check = no ] || install_programs missing_for_package_check 'try packages'
[ $want_first_boot = no ] || install_programs missing_for_first_boot 'boot a Debian in a container'
[ $want_qemu = no ] || install_programs missing_for_qemu 'emulate boards'
[ $want_build = no ] || build
