/** `COMPONENT=FILE` on the command line. */
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
