/** Step 1: the keys, in folders for different people; and those of two owners, to whom devices seal their passwords. */
import { randomBytes } from 'node:crypto';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import * as v from 'valibot';
import { type DemoRun, HARDWARE_CLASS, OTHER_CLASS, VENDOR } from '../demo-run.ts';
import { sayFact } from '../terminal.ts';

/** Who may open what devices sealed; each has a key of their own. */
export const OWNERS = ['ann', 'bob'] as const;
export const ownerKey = (run: DemoRun, owner: (typeof OWNERS)[number]): string =>
  run.path('owners', `${owner}.escrow-key`);

const Ceremony = v.object({
  ceremony: v.object({ environment: v.string(), thresholds: v.object({ root: v.number(), targets: v.number() }) }),
});
const Verified = v.object({ keys: v.array(v.object({ path: v.string() })), problems: v.array(v.unknown()) });

export async function holdCeremony(run: DemoRun): Promise<void> {
  const passphraseFile = run.path('passphrase.txt');
  await writeFile(passphraseFile, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
  sayFact(`a passphrase to throw away: ${passphraseFile}`);
  await mkdir(run.path('owners'), { mode: 0o700 });
  for (const owner of OWNERS) {
    const place = ['--out', ownerKey(run, owner), '--passphrase-file', passphraseFile];
    await run.words.holdfast(['escrow', 'key', 'new', owner, ...place]);
  }
  const owners = OWNERS.flatMap((owner) => ['--escrow-key', `${ownerKey(run, owner)}.pub`]);
  const directory = run.path('ceremony');
  const classes = ['--class', HARDWARE_CLASS, '--class', OTHER_CLASS];
  const words = ['keys', 'init', '--people', '3', '--dir', directory, '--vendor', VENDOR, ...classes, ...owners];
  const { ceremony } = v.parse(Ceremony, await run.words.holdfast([...words, '--passphrase-file', passphraseFile]));
  const { root, targets } = ceremony.thresholds;
  run.check(root === 2 && targets === 2, `three people; root needs ${root} of them, targets ${targets}`);
  run.check(ceremony.environment === 'rehearsal', `made on one machine, the root says: ${ceremony.environment}`);
  const { keys, problems } = v.parse(
    Verified,
    await run.words.holdfast(['keys', 'verify', directory], { alsoStatus: [4] }),
  );
  run.check(problems.length === 0, `${keys.length} keys; no folder holds a threshold, nothing secret is public`);
  const modes = await Promise.all(keys.map(async ({ path }) => (await stat(`${directory}/${path}`)).mode & 0o777));
  run.check(
    modes.every((mode) => mode === 0o600),
    'every private key is readable by its owner alone',
  );
}
