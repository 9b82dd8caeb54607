# Stands between environment.cmd and the boot script where U-Boot verifies what it boots: a signed FIT from each slot's
# boot partition, and nothing else. This text itself must lie where whoever can write the disk cannot change it.
#
# The stored environment lies on the disk and is verified by nobody. Two of its values are used in commands and on the kernel's command line,
# so they are made anew of the letters that they may have: a slot's name, hexadecimal digits.
# setexpr knows no ranges in brackets, and fails where nothing is to be taken away: so a full stop is.

if env exists BOOT_ORDER; then
  setenv hfe_order
  for hfe_slot in ${BOOT_ORDER}; do
    for hfe_name in a b; do
      if test "x${hfe_slot}" = "x${hfe_name}"; then
        if env exists hfe_order; then setenv hfe_order "${hfe_order} ${hfe_name}"; else setenv hfe_order ${hfe_name}; fi
      fi
    done
  done
  setenv BOOT_ORDER "${hfe_order}"
fi
setenv hfe_canary
if setexpr hfe_canary gsub "[^0123456789abcdef]" "" "${holdfast_canary}."; then setenv holdfast_canary "${hfe_canary}"; else setenv holdfast_canary; fi

setenv hfe_fit 0x48000000
setenv holdfast_load 'load ${devtype} ${devnum}:${holdfast_part} ${hfe_fit} kernel.itb'
setenv holdfast_start 'bootm ${hfe_fit}#holdfast ${hfe_fit}#holdfast ${fdtcontroladdr}'

