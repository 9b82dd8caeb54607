# Holdfast's boot script for U-Boot: which slot boots. The other half is agent/boards/u-boot.ts.
#
#   mkimage -A arm64 -O linux -T script -C none -n holdfast -d boot.cmd boot.scr     (package u-boot-tools)
#
# U-Boot's distro boot finds boot.scr on the first bootable partition; a board without distro boot says in its bootcmd
# "load mmc 0:1 ${scriptaddr} boot.scr; source ${scriptaddr}". This partition is not part of a slot: the script that
# chooses between slots must not be updated with one of them. U-Boot needs CONFIG_SYS_REDUNDAND_ENVIRONMENT, the commands
# env exists, env import, test and load, and the environment at the place that fw_env.config names.
#
# What it reads from the environment, all written by the agent in one change each:
#   BOOT_ORDER              slots that may be booted, best first: "a b". A slot being written is not in it.
#   BOOT_A_LEFT, BOOT_B_LEFT  attempts left of a trial. A confirmed slot has none, so that power cuts cannot use it up.
#   holdfast_canary         handed to the kernel, so that the agent sees that both speak of one environment.
# What it writes: the count, while a trial is pending; nothing at any other time.
#
# What a board may set in its environment instead of the defaults below: holdfast_part_a, holdfast_part_b (boot partition
# of each slot), holdfast_good_part, holdfast_root_a, holdfast_root_b (root= of each slot), holdfast_args, holdfast_load,
# holdfast_start, holdfast_save, holdfast_mark, holdfast_reset. Defaults are set after the count was saved: saveenv saves everything.

# --- Is a trial pending? Counts go 3, 2, 1; 0 and anything else is a trial that is over, which only the agent ends.

hf_trial=none
hf_next=none
hf_left=none
if env exists BOOT_A_LEFT; then
  hf_trial=a
  hf_left=${BOOT_A_LEFT}
elif env exists BOOT_B_LEFT; then
  hf_trial=b
  hf_left=${BOOT_B_LEFT}
fi
if test "x${hf_left}" = "x3"; then hf_next=2; fi
if test "x${hf_left}" = "x2"; then hf_next=1; fi
if test "x${hf_left}" = "x1"; then hf_next=0; fi

# --- The count is on the medium before the slot starts: an attempt that hangs the board must have been counted.
#     Where it cannot be saved, the trial is not made, and the agent is told so.

hf_saved=no
if test "${hf_next}" != "none"; then
  if test "${hf_trial}" = "a"; then setenv BOOT_A_LEFT ${hf_next}; else setenv BOOT_B_LEFT ${hf_next}; fi
  if env exists holdfast_save; then
    if run holdfast_save; then hf_saved=yes; fi
  else
    if saveenv; then hf_saved=yes; fi
  fi
fi

# --- Defaults of this board.

env exists holdfast_part_a || setenv holdfast_part_a 2
env exists holdfast_part_b || setenv holdfast_part_b 3
env exists holdfast_good_part || setenv holdfast_good_part 1
env exists holdfast_root_a || setenv holdfast_root_a /dev/mmcblk0p5
env exists holdfast_root_b || setenv holdfast_root_b /dev/mmcblk0p6
env exists holdfast_args || setenv holdfast_args "rootwait ro panic=10"
env exists holdfast_load || setenv holdfast_load 'load ${devtype} ${devnum}:${holdfast_part} ${kernel_addr_r} Image && load ${devtype} ${devnum}:${holdfast_part} ${fdt_addr_r} ${fdtfile}'
env exists holdfast_start || setenv holdfast_start 'booti ${kernel_addr_r} - ${fdt_addr_r}'
env exists holdfast_mark || setenv holdfast_mark 'load ${devtype} ${devnum}:${holdfast_good_part} ${scriptaddr} holdfast.good && env import -t ${scriptaddr} ${filesize} holdfast_good'
env exists holdfast_reset || setenv holdfast_reset reset
setenv holdfast_try 'setenv holdfast_part ${holdfast_part_a}; setenv holdfast_root ${holdfast_root_a}; if test ${holdfast_slot} = b; then setenv holdfast_part ${holdfast_part_b}; setenv holdfast_root ${holdfast_root_b}; fi; if run holdfast_load; then setenv bootargs "${holdfast_args} root=${holdfast_root} holdfast.slot=${holdfast_slot} holdfast.trial=${holdfast_trial} holdfast.canary=${holdfast_canary}"; run holdfast_start; fi'

# --- The trial. A slot that does not load has used up its attempt: reset, and the next one counts.

if test "${hf_saved}" = "yes"; then
  setenv holdfast_slot ${hf_trial}
  setenv holdfast_trial 1
  echo "holdfast: slot ${hf_trial} on trial, ${hf_next} attempts left after this one"
  run holdfast_try
  run holdfast_reset
else
  # --- The order. A slot that does not load gives way to the next; nothing is written.
  setenv holdfast_trial 0
  if test "${hf_next}" != "none"; then setenv holdfast_trial unsaved; fi
  if env exists BOOT_ORDER; then
    hf_order="${BOOT_ORDER}"
  else
    # Neither copy of the environment was valid, and U-Boot took its defaults: the slot marked good outside them, else a.
    echo "holdfast: no BOOT_ORDER; asking for the slot marked good"
    hf_order=a
    if run holdfast_mark; then
      if test "x${holdfast_good}" = "xb"; then hf_order=b; fi
    fi
  fi
  for hf_slot in ${hf_order}; do
    setenv holdfast_slot ${hf_slot}
    echo "holdfast: slot ${hf_slot}"
    run holdfast_try
  done
  echo "holdfast: no slot boots"
  run holdfast_reset
fi
