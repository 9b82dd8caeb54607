/**
 * Shows four copies over one file of a read-only slot, one after the other, where every mount is shared, as systemd has
 * them. Started by mounts.test.ts in a mount namespace of its own: shown-copies.ts FOLDER NAMESPACE, where NAMESPACE is
 * what /proc/self/ns/mnt says outside. Prints one line of JSON.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SECRET_FORM } from '../../../../agent/first-boot/file-form.ts';
import { SystemMounts } from '../../../../agent/first-boot/mounts.ts';
import { demandOwnNamespace } from './own-namespace.ts';

const [folder = '', callersNamespace] = process.argv.slice(2);
demandOwnNamespace(callersNamespace);
const [slot, memory] = [join(folder, 'slot'), join(folder, 'run')];
const file = join(slot, 'key');
mkdirSync(slot);
mkdirSync(memory);
writeFileSync(file, 'of the image');
const mount = (...words: string[]): Buffer => execFileSync('mount', words);
mount('--bind', slot, slot);
mount('-o', 'remount,bind,ro', slot);
mount('-t', 'tmpfs', 'tmpfs', memory);
mount('--make-rshared', '/');

const shows: string[] = [];
// Another SystemMounts each time: the boots' retries are processes of their own.
for (const text of ['first', '', 'third', 'fourth']) {
  await new SystemMounts(memory).show(file, new TextEncoder().encode(text), SECRET_FORM);
  shows.push(readFileSync(file, 'utf8'));
}
const beneath = readFileSync(await new SystemMounts(memory).beneath(file), 'utf8');
const copies = join(memory, 'shown', encodeURIComponent(file));
const left = readdirSync(copies).map((name) => readFileSync(join(copies, name), 'utf8'));
process.stdout.write(`${JSON.stringify({ shows, beneath, left: left.toSorted() })}\n`);
