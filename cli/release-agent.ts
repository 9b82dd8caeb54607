/**
 * Does a release bring an agent? A slot without one is never confirmed, and on its trial nothing keeps the image's own
 * secrets from whoever asks: such a release needs an exception that its author signs.
 *
 * What counts is what the device starts from: the agent's configuration and its program, where the package has them.
 * May not: look at the gates in front of logins; `holdfast image lint --product` does.
 */
import { Fault } from '../platform/fault.ts';
import { CONFIGURATION, isConfigured } from './image-lint/rules/holdfast.ts';
import { openImage, type Volume } from './image-lint/volumes.ts';

/** The package's, and as an image without packages has it. */
const PROGRAMS = ['usr/lib/holdfast/agent.mjs', 'usr/bin/holdfast-agent'] as const;

export type Sighting =
  /** `where`: the image, and its partition. */
  | { readonly seen: 'agent'; readonly where: string }
  /** Every image could be read, and none has one. `lacks`: what was looked for. */
  | { readonly seen: 'none'; readonly lacks: string }
  /** None was found, and not every image could be looked into. */
  | { readonly seen: 'not-all'; readonly why: string };

/** Looks into image files, disks or folders; the first agent ends it. Faults: `path-not-found` and its kin. */
export function seekAgent(paths: readonly string[]): Sighting {
  const unread: string[] = [];
  for (const path of paths) {
    const image = openOrWhyNot(path);
    if (typeof image === 'string') {
      unread.push(image);
      continue;
    }
    try {
      for (const volume of image.volumes) {
        if (bringsAgent(volume)) return { seen: 'agent', where: nameOf(path, volume) };
        if (volume.state === 'unread' || volume.state === 'unknown') {
          unread.push(`${nameOf(path, volume)}: ${volume.trouble}`);
        }
      }
    } finally {
      image.close();
    }
  }
  if (unread.length > 0) return { seen: 'not-all', why: unread.join('; ') };
  return { seen: 'none', lacks: `no /${CONFIGURATION} with /${PROGRAMS.join(' or /')}` };
}

function bringsAgent({ view }: Volume): boolean {
  if (view === undefined || !isConfigured(view)) return false;
  return PROGRAMS.some((path) => view.resolve(path)?.kind === 'file');
}

const nameOf = (path: string, { name }: Volume): string => (name === '' ? path : `${path}, ${name}`);

/** Packed, or of no kind that is known: that is an answer here. */
function openOrWhyNot(path: string): ReturnType<typeof openImage> | string {
  try {
    return openImage(path);
  } catch (error) {
    if (error instanceof Fault && ['image-packed', 'image-unknown'].includes(error.code))
      return `${path}: ${error.what}`;
    throw error;
  }
}
