# The boot environment for a U-Boot that has none of its own which Linux could reach, such as Debian's for QEMU: two
# alternating checksummed copies in a partition, as libubootenv writes them. It stands before Holdfast's boot script
# (agent/boards/u-boot/boot.cmd) in one boot.scr, and does for it what CONFIG_SYS_REDUNDAND_ENVIRONMENT would.
#
# A copy is 0x4000 bytes: CRC-32 of what follows the fifth byte, one byte that counts up with every change, variables.
# Names begin with hfe_: those of the boot script begin with hf_. `env import -c` knows copies without that byte, so it is shown one: the checksum, then the variables.

setenv hfe_copy_a 0x50000000
setenv hfe_copy_b 0x50010000
setenv hfe_plain 0x50020000
setenv hfe_plain_size 0x3fff
setenv hfe_sectors 0x20
part start ${devtype} ${devnum} 8 hfe_sector_a
setexpr hfe_sector_b ${hfe_sector_a} + 0x80

setenv hfe_show 'cp.b ${hfe_copy} ${hfe_plain} 4; setexpr hfe_from ${hfe_copy} + 5; setexpr hfe_to ${hfe_plain} + 4; cp.b ${hfe_from} ${hfe_to} 0x3ffb'

virtio read ${hfe_copy_a} ${hfe_sector_a} ${hfe_sectors}
virtio read ${hfe_copy_b} ${hfe_sector_b} ${hfe_sectors}

# --- Which copies are whole? Importing a name that nobody has checks the checksum and changes nothing.

hfe_valid_a=no
hfe_valid_b=no
setenv hfe_copy ${hfe_copy_a}
run hfe_show
if env import -c ${hfe_plain} ${hfe_plain_size} hfe_nothing; then hfe_valid_a=yes; fi
setenv hfe_copy ${hfe_copy_b}
run hfe_show
if env import -c ${hfe_plain} ${hfe_plain_size} hfe_nothing; then hfe_valid_b=yes; fi

# --- The younger one counts: the counter goes round, so the sign of the difference tells.

setexpr hfe_at ${hfe_copy_a} + 4
setexpr.b hfe_count_a *${hfe_at}
setexpr hfe_at ${hfe_copy_b} + 4
setexpr.b hfe_count_b *${hfe_at}
setexpr hfe_ahead 0x${hfe_count_b} - 0x${hfe_count_a}
setexpr hfe_ahead 0x${hfe_ahead} "&" 0xff
setexpr hfe_older 0x${hfe_ahead} "&" 0x80

setenv hfe_use none
if test "${hfe_valid_a}" = "yes"; then setenv hfe_use a; fi
if test "${hfe_valid_b}" = "yes"; then
  if test "${hfe_valid_a}" = "no"; then
    setenv hfe_use b
  elif test "${hfe_ahead}" != "0"; then
    if test "${hfe_older}" = "0"; then setenv hfe_use b; fi
  fi
fi

# --- What is read from it. Nothing else of a stored environment concerns this board.

setenv hfe_names BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT holdfast_canary bootcmd
setenv hfe_count 0
setenv hfe_write_copy ${hfe_copy_a}
setenv hfe_write_sector ${hfe_sector_a}
if test "${hfe_use}" = "a"; then
  setenv hfe_copy ${hfe_copy_a}
  setenv hfe_count ${hfe_count_a}
  setenv hfe_write_copy ${hfe_copy_b}
  setenv hfe_write_sector ${hfe_sector_b}
fi
if test "${hfe_use}" = "b"; then
  setenv hfe_copy ${hfe_copy_b}
  setenv hfe_count ${hfe_count_b}
fi
echo "holdfast: environment copy ${hfe_use}"
if test "${hfe_use}" != "none"; then
  run hfe_show
  env import -c ${hfe_plain} ${hfe_plain_size} ${hfe_names}
fi

# --- Saving: into the other copy, so that a cut leaves this one.

setenv holdfast_save 'env export -c -s ${hfe_plain_size} ${hfe_plain} ${hfe_names} && setexpr hfe_next 0x${hfe_count} + 1 && setexpr hfe_next 0x${hfe_next} "&" 0xff && cp.b ${hfe_plain} ${hfe_write_copy} 4 && setexpr hfe_to ${hfe_write_copy} + 4 && mw.b ${hfe_to} 0x${hfe_next} 1 && setexpr hfe_to ${hfe_write_copy} + 5 && setexpr hfe_from ${hfe_plain} + 4 && cp.b ${hfe_from} ${hfe_to} 0x3ffb && virtio write ${hfe_write_copy} ${hfe_write_sector} ${hfe_sectors}'

# --- This board: a kernel and an initial RAM disk in each slot's boot partition.

setenv holdfast_root_a /dev/vda5
setenv holdfast_root_b /dev/vda6
setenv holdfast_args "console=ttyAMA0 rootwait ro panic=2 loglevel=4"
setenv holdfast_load 'load ${devtype} ${devnum}:${holdfast_part} ${kernel_addr_r} Image && load ${devtype} ${devnum}:${holdfast_part} ${ramdisk_addr_r} initrd.img && setenv hfe_initrd ${filesize}'
setenv holdfast_start 'booti ${kernel_addr_r} ${ramdisk_addr_r}:${hfe_initrd} ${fdtcontroladdr}'

