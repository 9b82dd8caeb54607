/** Step 1: the keys, in folders for different people, and the images that will be signed with them. */
import { randomBytes } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import * as v from 'valibot';
import { type DemoRun, HARDWARE_CLASS, OTHER_CLASS, VENDOR } from '../demo-run.ts';
import { sayFact } from '../terminal.ts';

const Ceremony = v.object({
  ceremony: v.object({ environment: v.string(), thresholds: v.object({ root: v.number(), targets: v.number() }) }),
});
const Verified = v.object({ keys: v.array(v.object({ path: v.string() })), problems: v.array(v.unknown()) });

export async function holdCeremony(run: DemoRun): Promise<void> {
  const passphraseFile = run.path('passphrase.txt');
  await writeFile(passphraseFile, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
  sayFact(`a passphrase to throw away: ${passphraseFile}`);
  const directory = run.path('ceremony');
  const classes = ['--class', HARDWARE_CLASS, '--class', OTHER_CLASS];
  const words = ['keys', 'init', '--people', '3', '--dir', directory, '--vendor', VENDOR, ...classes];
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
