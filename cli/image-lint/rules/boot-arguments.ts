/** Kernel arguments, wherever bootloaders keep them: on a boot partition or below /boot. */
import type { FindingCode, Report } from '../findings.ts';
import { type ImageEntry, linesOf } from '../tree.ts';

const PLACES =
  /(^|\/)(cmdline\.txt|extlinux\.conf|syslinux\.cfg|isolinux\.cfg|grub\.cfg|uEnv\.txt|boot\.cmd|boot\.scr|armbianEnv\.txt|boot\.ini|kernel\/cmdline|loader\/entries\/[^/]+\.conf|default\/grub(\.d\/[^/]+\.cfg)?|default\/u-boot)$/;

const ARGUMENTS: readonly (readonly [pattern: RegExp, code: FindingCode, what: string])[] = [
  [
    /\bSYSTEMD_SULOGIN_FORCE=["']?(1|yes|true|on|y|t)\b/i,
    'sulogin-forced',
    'the kernel arguments force emergency shells open',
  ],
  [/\bsystemd\.debug[-_]shell(?!=(0|no|off|false))\b/, 'debug-shell', 'the kernel arguments open the debug shell'],
  [/(^|[\s"'=])(rd)?init=(\/usr)?\/bin\/(ba|da|a)?sh\b/, 'console-shell', 'the kernel arguments start a shell as init'],
  [/(^|\s)rd\.break\b/, 'console-shell', 'the kernel arguments stop in a shell of the initial RAM disk'],
];
const TEXT_CAP_BYTES = 1024 * 1024;
/** Entries of a menu are named so: people choose them. */
const MENU = /^\s*(menuentry|submenu|label|title|#)/i;

export function checkBootArguments({ path }: ImageEntry, bytes: Buffer, report: Report): void {
  if (!PLACES.test(path)) return;
  for (const [index, line] of linesOf(bytes.toString('latin1', 0, TEXT_CAP_BYTES)).entries()) {
    if (MENU.test(line)) continue;
    for (const [pattern, code, what] of ARGUMENTS) if (pattern.test(line)) report(code, path, what, index + 1);
  }
}
