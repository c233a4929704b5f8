#!/usr/bin/env bash
# Installs what Eaves needs on a Debian machine: system packages and the Python environment in .venv.
# Idempotent: a second run without changes ends in a fraction of a second. Needs root, or sudo, for packages only.
set -euo pipefail
cd "$(dirname "$0")/.."

# Containers: podman with its helpers; runc because crun refuses cgroup v1; catatonit is podman's init.
# qemu-system-x86, ovmf, swtpm: virtual machines.
# qemu-utils: qemu-img, which converts disk images and makes volumes; e2fsprogs: file systems of volumes.
# mtools, syslinux, systemd-boot-efi: the tests' tiny guest, which boots by BIOS and by UEFI.
# libfaketime: for tests with wrong clocks.
# network-manager, dbus-daemon, dbus-bin: set up the ports of nodes whose settings say manage_ports; tests run them in namespaces of their own.
# wpasupplicant, hostapd, iw: Wi-Fi on virtual radios, in tests that run in a guest.
# modemmanager, ppp, udev, polkitd: a mobile network behind an emulated modem, likewise; ModemManager asks polkit who may use a modem.
# xorriso: makes the cloud-init images of virtual machines; libarchive-tools: bsdtar, which reads them in tests.
# cpio, kmod: the initrd of a test guest with a stock kernel.
# systemd: for systemd-analyze, which judges our units; nothing of it is started.
# iptables: netavark 1.4 of Debian 12 calls it where podman's own networking is used (by tests and benchmarks).
packages=(
  ca-certificates curl openssl procps iproute2 kmod
  podman runc conmon catatonit netavark aardvark-dns iptables
  nftables dnsmasq-base network-manager dbus-daemon dbus-bin
  wpasupplicant hostapd iw modemmanager ppp udev polkitd
  qemu-system-x86 qemu-utils ovmf swtpm e2fsprogs
  mtools syslinux syslinux-common systemd-boot-efi
  xorriso libarchive-tools
  busybox-static cpio umoci skopeo docker-registry systemd libfaketime
  python3-venv
)
# A database server is no small thing to put on a machine: only long tests, of clusters that keep their state in one, need it.
# mmdebstrap: a whole Debian for virtual machines; qemu-system-arm, qemu-efi-aarch64: machines of another architecture.
[ -z "${EAVES_SETUP_SOAK:-}" ] || packages+=(postgresql mmdebstrap qemu-system-arm qemu-efi-aarch64)

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

want_packages() {
  command -v dpkg-query >/dev/null || fail "this is not a Debian-like system: install by hand: ${packages[*]}"
  local missing=() package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "packages are missing and this is not root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing system packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local log; log=$(mktemp)
  # policy-rc.d keeps the packages from starting services of their own (a registry on port 5000, dnsmasq).
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null; "${as_root[@]}" chmod 755 "$policy"; made=1
  fi
  local code=0
  { "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || code=$?
  [ -z "$made" ] || "${as_root[@]}" rm -f "$policy"
  if [ $code != 0 ]; then tail -n 15 "$log" >&2; fail "apt-get failed (whole log: $log); repair the package sources and run it again"; fi
  rm -f "$log"
}

want_python() {
  local stamp=.venv/.eaves-setup
  local wanted; wanted=$(cat uv.lock pyproject.toml tools/setup.sh | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return 0; fi
  local python=/usr/bin/python3
  [ -x "$python" ] || python=$(command -v python3) || fail "python3 is missing: apt-get install python3"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed, $python is $("$python" -V)"
  # An environment that another tool made may lack pip; making it again adds what is missing and keeps the rest.
  if [ ! -x .venv/bin/pip ]; then say "making .venv with $("$python" -V)"; "$python" -m venv .venv; fi
  if [ ! -x .venv/bin/uv ]; then say "installing uv"; .venv/bin/python -m pip install --quiet --disable-pip-version-check uv; fi
  say "installing Python packages from uv.lock"
  UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv sync --quiet --locked --inexact --compile-bytecode --python .venv/bin/python
  # A daemon that must compile its modules at each start takes a second longer and 2 MB more.
  .venv/bin/python -m compileall -q src
  printf '%s' "$wanted" >"$stamp"
  say "done: .venv is current"
}

# Real Kubernetes for tests of clusters, from Go modules: without Go, or without a network, those tests are reported as not run.
want_kubernetes() {
  [ -n "${EAVES_SETUP_KUBERNETES:-}" ] || return 0
  .venv/bin/python tools/build_kubernetes.py --optional
}

want_packages
want_python
want_kubernetes
