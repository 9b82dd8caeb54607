/** `COMPONENT=FILE` and `COMPONENT=SIZE` on the command line. */
import { EXIT, Fault } from '../platform/fault.ts';

/** Fault `image-malformed` for anything else. Whether the file exists is not looked at. */
export function parseImage(text: string): { readonly component: string; readonly path: string } {
  const at = text.indexOf('=');
  if (at > 0 && at < text.length - 1) return { component: text.slice(0, at), path: text.slice(at + 1) };
  throw new Fault({
    code: 'image-malformed',
    what: `'${text}' does not name a component and a file`,
    where: 'COMPONENT=FILE',
    cure: 'Write it like rootfs=rootfs.img.',
    exitStatus: EXIT.usage,
  });
}

const UNITS_BYTES = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;
const SIZE = /^([a-z0-9][a-z0-9._-]{0,63})=(\d{1,13})(KiB|MiB|GiB)?$/;

/** `rootfs=512MiB`; bytes without a unit. Fault `slot-malformed` for anything else. */
export function parseSlotSize(text: string): { readonly component: string; readonly sizeBytes: number } {
  const [, component, number, unit] = SIZE.exec(text) ?? [];
  const sizeBytes = Number(number) * UNITS_BYTES[(unit ?? '') as keyof typeof UNITS_BYTES];
  if (component !== undefined && sizeBytes > 0 && Number.isSafeInteger(sizeBytes)) return { component, sizeBytes };
  throw new Fault({
    code: 'slot-malformed',
    what: `'${text}' does not name a component and the size of its slot`,
    where: '--slot COMPONENT=SIZE',
    cure: 'Write it like rootfs=512MiB; units are KiB, MiB and GiB, none means bytes.',
    exitStatus: EXIT.usage,
  });
}
