/** What must be one device's own and lies in the image all the same: host keys, ids, seeds, claims, identities. */
import * as v from 'valibot';
import { ClaimFile } from '../../../protocol/enrolment.ts';
import type { Report } from '../findings.ts';
import type { ImageEntry, TreeView } from '../tree.ts';

const MACHINE_IDS = ['etc/machine-id', 'var/lib/dbus/machine-id'];
const SEEDS = [
  'var/lib/systemd/random-seed',
  'var/lib/urandom/random-seed',
  'var/lib/random-seed',
  'var/lib/misc/random-seed',
  'var/lib/seedrng/seed.credit',
  'var/lib/seedrng/seed.no-credit',
  'etc/random-seed',
  'loader/random-seed',
  'EFI/systemd/random-seed',
];
const CREDENTIAL_SECRET = 'var/lib/systemd/credential.secret';
const HOST_KEY = /(^|\/)(ssh_host_[a-z0-9]+_key|dropbear_[a-z0-9]+_host_key)$/;
const IDENTITY = /(^|\/)identity\/device\.(key|crt)$/;

export function checkIdentity(view: TreeView, report: Report): void {
  const seen = new Set<string>();
  for (const path of MACHINE_IDS) {
    const place = view.resolve(path)?.path;
    // One is mostly a link to the other.
    if (place === undefined || seen.has(place)) continue;
    seen.add(place);
    const text = view.text(path)?.trim() ?? '';
    if (text !== '' && text !== 'uninitialized') report('machine-id', path, 'it holds an id');
  }
  for (const path of SEEDS) {
    const entry = view.entry(path);
    if (entry?.kind === 'file' && entry.sizeBytes > 0) report('random-seed', path, `it holds ${entry.sizeBytes} bytes`);
  }
  const secret = view.entry(CREDENTIAL_SECRET);
  if (secret?.kind === 'file' && secret.sizeBytes > 0) report('credential-secret', CREDENTIAL_SECRET, 'it is there');
}

/** By name; what is in such a file does not matter, if there is anything. */
export function isHostKey({ path, sizeBytes }: ImageEntry): boolean {
  return sizeBytes > 0 && HOST_KEY.test(path);
}

export function isDeviceIdentity({ path, sizeBytes }: ImageEntry): boolean {
  return sizeBytes > 0 && IDENTITY.test(path);
}

/** True for a file that is a claim, whatever it is called. Reports it. */
export function checkClaim(path: string, bytes: Buffer, report: Report): void {
  if (bytes.length > 256 * 1024 || !bytes.includes('holdfast-claim-1')) return;
  for (const text of [bytes.toString('utf8'), ...bytes.toString('utf8').split('\n')]) {
    const claim = claimIn(text);
    if (claim === undefined) continue;
    report('claim-baked', path, `it is the claim of ${claim}`);
    return;
  }
}

function claimIn(text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const claims = Array.isArray(value) ? value : [value];
  for (const claim of claims) {
    const decoded = v.safeParse(ClaimFile, claim);
    if (decoded.success) return decoded.output.claimId;
  }
  return undefined;
}
