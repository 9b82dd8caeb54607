/**
 * Whose secrets a device takes: what its owners open of its disk, what its shadow says, and whom its own sshd lets in.
 * Passwords live in this process's memory, and in files 0600 of the run's folder as long as one is tried.
 */
import * as v from 'valibot';
import { CredentialEntry, FirstBootState } from '../../../protocol/credentials.ts';
import { askUntil } from '../../demo/patience.ts';
import { needProgram } from '../../programs.ts';
import type { ScenarioLab } from '../scenario.ts';
import { type KeptByDevice, readKept } from './data-partition.ts';
import { FACTORY_PASSWORD, supportKey } from './factory-image.ts';
import { type Knocked, strangerAt } from './knocked-device.ts';
import { type OwnersWorld, openAsOwners } from './owners.ts';
import type { Stranger } from './stranger-logins.ts';

const ROOT = 'root';
const SHA512_CRYPT = /^\$6\$([^$]{1,16})\$/;
const REPORTED_LIMIT_MS = 300_000;
/** Made anew by every rotation; device key and machine-id stay. */
const OF_THE_EPOCH: readonly string[] = ['password', 'ssh-host-key'];
const Status = v.object({ state: FirstBootState, epoch: v.number(), credentials: v.array(CredentialEntry) });
const STATUS = 'holdfast-agent firstboot --config /etc/holdfast/agent.json --json';

export interface InEffect {
  readonly state: FirstBootState | undefined;
  readonly epoch: number | undefined;
  readonly wrong: readonly string[];
  /** Whether the server hears of this epoch, or a later one, before a limit. */
  isReported(): Promise<boolean>;
}

/** Root's password, by epoch, of every blob that both owners open. */
export async function ownersSecrets(
  world: OwnersWorld,
  { escrows }: KeptByDevice,
): Promise<ReadonlyMap<number, string>> {
  const passwords = new Map<number, string>();
  for (const [epoch, blob] of escrows) {
    const password = (await openAsOwners(world, blob, epoch))?.get(`password:${ROOT}`);
    if (password !== undefined) passwords.set(epoch, password);
  }
  return passwords;
}

/** The image's own is in effect, which is known and closed; or one that an owner can open. */
export async function recoverable(
  { rootHash }: KeptByDevice,
  passwords: ReadonlyMap<number, string>,
): Promise<boolean> {
  if (rootHash === undefined) return true;
  for (const password of passwords.values()) if (await isOf(rootHash, password)) return true;
  return false;
}

async function isOf(hash: string, password: string): Promise<boolean> {
  const salt = SHA512_CRYPT.exec(hash)?.[1];
  if (salt === undefined) return false;
  const { stdout } = await needProgram('openssl', ['passwd', '-6', '-salt', salt, '-stdin'], {
    input: `${password}\n`,
  });
  return stdout.trim() === hash;
}

/** Of a device that is open. `former`: root's password of the epoch before the last rotation. */
export async function judgeOpen(lab: ScenarioLab, knocked: Knocked, former: string | undefined): Promise<InEffect> {
  const { guest } = knocked;
  const wrong: string[] = [];
  const kept = await readKept(guest.disk);
  const { record, escrows, staged } = kept;
  const epoch = record?.epoch;
  const passwords = await ownersSecrets(lab.world, kept);
  const password = epoch === undefined ? undefined : passwords.get(epoch);
  const stranger = await strangerAt(lab, knocked);
  if (password === undefined) wrong.push(`the escrow of epoch ${epoch ?? 'none'} opens for nobody`);
  else {
    if (!(await recoverable(kept, new Map([[0, password]])))) wrong.push('the escrow holds another than is in effect');
    wrong.push(...(await wrongWithOwner(stranger, password, epoch)));
  }
  if ([...escrows.keys()].some((one) => one !== epoch) || staged.length > 0)
    wrong.push(`beside epoch ${epoch} lie escrows of ${[...escrows.keys()].join(', ')}, staged ${staged.join(', ')}`);
  const old = former === password ? [] : [former ?? FACTORY_PASSWORD];
  wrong.push(...(await letsIn(lab, stranger, [FACTORY_PASSWORD, ...old])));
  const isReported = async (): Promise<boolean> =>
    (await askUntil(REPORTED_LIMIT_MS, 1000, async () => {
      const { credentials } = await lab.world.words.device(guest.id);
      return credentials?.standing === 'proven' && credentials.epoch >= (epoch ?? 1) ? true : undefined;
    })) === true;
  return { state: record?.state, epoch, wrong, isReported };
}

/** The owner logs in, and the device says of which epoch everything is. */
async function wrongWithOwner(stranger: Stranger, password: string, epoch: number | undefined): Promise<string[]> {
  const said = await stranger.runs(ROOT, password, STATUS);
  if (said === undefined) return ['its owner cannot log in with what the escrow holds'];
  const { epoch: current, credentials } = v.parse(Status, JSON.parse(said));
  const strange = credentials.filter(
    ({ kind, state, epoch: own }) =>
      state === 'factory' || state === 'failed' || (OF_THE_EPOCH.includes(kind) && own !== current),
  );
  return [
    ...(current === epoch ? [] : [`it says epoch ${current}, its disk ${epoch}`]),
    ...strange.map((entry) => `${entry.name} is ${entry.state}, of epoch ${entry.epoch}`),
  ];
}

/** The factory's password and key, and the former owner's password, must be refused by sshd itself. */
async function letsIn(lab: ScenarioLab, stranger: Stranger, passwords: readonly string[]): Promise<string[]> {
  const pairs = [...new Set(passwords)].map((password) => ({ user: ROOT, password }));
  const { accepted, unclear } = await stranger.triesPasswords(pairs);
  const key = await stranger.triesKey(ROOT, supportKey(lab.world));
  return [
    // Never the password itself: it may be an owner's.
    ...(accepted.length === 0 ? [] : [`${accepted.length} former passwords of root are accepted`]),
    ...unclear.map((one) => `a former password is not clearly refused: ${one}`),
    ...(key === 'refused' ? [] : [`the factory's support key: ${key}`]),
  ];
}
