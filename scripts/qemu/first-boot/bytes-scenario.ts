/**
 * After a first boot and a rotation, every byte of the device's disk, its consoles, its journal, and the server's folder:
 * the secrets of both epochs lie in plaintext in the files of those who need them, and nowhere else.
 *
 * The slot is read-only and, byte for byte, what was made before the device had power: it is scanned as it lies, and what
 * is packed in it is not unpacked.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Secret } from '../../byte-scan/forms.ts';
import { textSecret } from '../../byte-scan/key-secrets.ts';
import { ByteScan } from '../../byte-scan/scan.ts';
import { askUntil } from '../../demo/patience.ts';
import { filesIn } from '../../device-image/files-in.ts';
import { SlotReader } from '../booted-digest.ts';
import type { Guest } from '../guest.ts';
import type { Scenario, ScenarioLab } from '../scenario.ts';
import type { World } from '../world.ts';
import { CONSUMERS, LookedAtDisk, type PlacedHit } from './looked-at-disk.ts';
import { fetchSealed, openAsOwners } from './owners.ts';

const VARIANT = join(import.meta.dirname, 'bytes');
/** A boot, a first boot and a poll, on a machine that does more than this. */
const PROVEN_LIMIT_MS = 1_800_000;
const JOURNAL_LIMIT_MS = 600_000;
const KEPT = /^lab: journal kept$/;

export const BYTES: Scenario = {
  name: 'first-boot-bytes',
  title: 'No secret lies in plaintext but in the files of those who need it',
  short: false,
  onlyOn: 'debian',
  async run(lab) {
    const rootImage = await makeImage(lab.world);
    const guest = await lab.newGuest({ rootImage });
    await guest.powerOn();
    const first = await epochOf(lab, guest, 1);
    // What an owner has opened is replaced: the device rotates by itself.
    const firstTexts = await openedTexts(lab, guest, 1);
    const second = await epochOf(lab, guest, 2);
    await guest.shutDown();
    const secondTexts = await openedTexts(lab, guest, 2);
    const disk = await LookedAtDisk.of(guest.disk, lab.world.path('looked-at'));
    const former = [...first, ...firstTexts].filter(({ name }) => name.includes('epoch 1'));
    const current = [...second, ...secondTexts];
    await checkConsumers(lab, disk);
    await checkCurrent(lab, await disk.scan(current));
    await checkFormer(lab, await disk.scan(former));
    await checkElsewhere(lab, [...former, ...current]);
    const slot = { version: 'the image', images: new Map([['rootfs', rootImage]]) };
    const isSame = (await new SlotReader().versionIn(guest.disk, lab.world.slots.a, [slot])) === 'the image';
    lab.check(isSame, 'the slot is byte for byte what was made before the device had power');
  },
};

/** The lab's image, with a broker's password in plaintext and a journal that can be looked at. */
async function makeImage(world: World): Promise<string> {
  const files: Record<string, string> = {};
  for (const path of await filesIn(VARIANT)) files[path.slice(VARIANT.length + 1)] = path;
  const config = JSON.parse(await readFile(world.path('factory/agent.json'), 'utf8'));
  const broker = {
    ...{ name: 'broker', kind: 'mqtt-password', escrow: true },
    files: [{ template: '/usr/share/acme/client.conf.in', path: '/etc/acme/client.conf' }],
  };
  config.firstBoot.providers.templates = [broker];
  files['etc/holdfast/agent.json'] = world.path('images/bytes-agent.json');
  await writeFile(files['etc/holdfast/agent.json'], `${JSON.stringify(config, null, 2)}\n`);
  return world.makeVariant('bytes', { files, without: [] });
}

/** Waits until the server has this epoch proven and all of it is synced; what the device's consumers have then. */
async function epochOf(lab: ScenarioLab, guest: Guest, epoch: number): Promise<readonly Secret[]> {
  let said = 'nothing';
  const proven = await askUntil(PROVEN_LIMIT_MS, 10_000, async () => {
    const { credentials } = await lab.world.words.device(guest.id);
    said = `${credentials?.standing ?? 'not enrolled'}, epoch ${credentials?.epoch ?? 0}`;
    return credentials?.standing === 'proven' && credentials.epoch === epoch ? true : undefined;
  });
  lab.check(proven === true, `epoch ${epoch}: the server says ${said}`);
  // What was said before is not of what is kept now, and the first may have been under way.
  while ((await guest.machine.serial.waitFor(KEPT, 0)) !== undefined);
  for (let times = 0; times < 2; times += 1) await guest.hears(KEPT, JOURNAL_LIMIT_MS);
  const disk = await LookedAtDisk.of(guest.disk, lab.world.path('looked-at'));
  const journals = await disk.files.list('/lab');
  lab.check(
    journals.length >= epoch,
    `epoch ${epoch}: the journals of ${journals.length} boots are on its data partition`,
  );
  return disk.secrets(`epoch ${epoch}`);
}

/** What the device sealed in this epoch, as both owners open it. */
async function openedTexts(lab: ScenarioLab, guest: Guest, epoch: number): Promise<readonly Secret[]> {
  const { world } = lab;
  const sealed = await fetchSealed(world, guest.id, 'to look for it');
  const opened = await openAsOwners(world, await readFile(sealed), epoch);
  lab.check(opened !== undefined, `epoch ${epoch}: both owners open ${[...(opened?.keys() ?? [])].join(', ')}`);
  return [...(opened ?? [])].map(([name, text]) => textSecret(`${name} of epoch ${epoch}`, text));
}

async function checkConsumers(lab: ScenarioLab, { files }: LookedAtDisk): Promise<void> {
  for (const path of Object.values(CONSUMERS)) {
    const mode = (await files.modeOf(path))?.toString(8) ?? 'not there';
    lab.check(mode === '600', `${path}: ${mode}`);
  }
}

/** What is in effect: in its consumer's file, found by this same scan, and in no other place of the whole disk. */
async function checkCurrent(lab: ScenarioLab, hits: readonly PlacedHit[]): Promise<void> {
  const consumers: readonly string[] = Object.values(CONSUMERS);
  for (const path of consumers) {
    const there = hits.filter(({ place }) => place === path);
    lab.check(there.length > 0, `the scan finds what must be there: ${path}, ${there.length} places`);
  }
  const others = hits.filter(({ place }) => !consumers.includes(place));
  lab.check(others.length === 0, `what is in effect lies nowhere else on the disk${listed(others)}`);
}

/** What was in effect before: in no file. What a replaced file left in free blocks is refused, and told. */
async function checkFormer(lab: ScenarioLab, hits: readonly PlacedHit[]): Promise<void> {
  const inFiles = hits.filter(({ place }) => place !== 'free');
  lab.check(inFiles.length === 0, `what was replaced lies in no file${listed(inFiles)}`);
  const names = new Set(hits.map(({ name }) => name));
  lab.check(
    ![...names].some((name) => name.startsWith('password:')),
    `in free blocks, of the epoch before: ${[...names].join(', ') || 'nothing'}; no password of a person`,
  );
}

async function checkElsewhere(lab: ScenarioLab, secrets: readonly Secret[]): Promise<void> {
  const { world } = lab;
  const scan = new ByteScan(secrets);
  const consoles = (await filesIn(world.path('devices'))).filter((path) => path.endsWith('.serial'));
  for (const path of [...consoles, world.path('server.log')]) {
    const hits = await scan.file(path);
    lab.check(hits.length === 0, `${path.slice(world.directory.length + 1)} has none${listed(hits)}`);
  }
  const server = await scan.folder(world.path('server'));
  lab.check(server.size === 0, `the server's folder has none${[...server.keys()].map((path) => `; ${path}`).join('')}`);
}

function listed(hits: readonly (Pick<PlacedHit, 'name' | 'form'> & { readonly place?: string })[]): string {
  const lines = new Set(hits.map(({ name, form, place = '' }) => `${name} (${form}) ${place}`.trim()));
  return [...lines]
    .slice(0, 12)
    .map((line) => `; ${line}`)
    .join('');
}
