/**
 * `install DIR`: an update from a directory that a person brought. The same engine and the same verifier as for a
 * server; what is different is said once, as `offline`: an expired timestamp or snapshot is reported, not refused.
 *
 * Ends when the board was asked to reboot into the trial: the agent of the new slot judges it there, and tells the
 * server when it can. A second agent must not work beside it: the data directory is held meanwhile.
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { nodeDisk } from '../../platform/disk.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { ReportEvent, Slot } from '../../protocol/device-api.ts';
import { hex } from '../../trust/bytes.ts';
import { accept, type Verdict } from '../../trust/refusal.ts';
import type { CommandOptions } from '../command-options.ts';
import { type AgentConfig, readConfig } from '../config.ts';
import { localAction } from '../core/local-action.ts';
import { type Offer, SourceUnreachable } from '../core/ports.ts';
import { Device, engineSettings } from '../device.ts';
import { textLog } from '../log.ts';
import { findRelease } from '../obtain-release.ts';
import { holdDataDirectory } from '../single-instance.ts';
import { DirectorySource } from '../transport/directory-source.ts';
import type { UpdateEngine } from '../update-engine.ts';

type LocalOffer = NonNullable<Offer>;

/** How an installation ended, as far as this boot sees it. */
type End =
  | { readonly end: 'reboot'; readonly slot: Slot }
  | { readonly end: 'runs-already' }
  | { readonly end: 'refused' | 'failed'; readonly code: string; readonly detail: string };

export async function installCommand(options: CommandOptions): Promise<number> {
  const config = await readConfig(nodeDisk, options.config);
  const directory = resolve(options.argument ?? '');
  await demandStick(directory);
  const held = await holdDataDirectory(config.dataDirectory);
  const device = await Device.open(config, textLog);
  try {
    const source = new DirectorySource(nodeDisk, directory);
    const chosen = await choose(device, config, source, options.release);
    if (!chosen.ok) return tell(options, undefined, { end: 'refused', code: chosen.code, detail: chosen.detail });
    return tell(options, chosen.value, await install(device, config, source, chosen.value));
  } finally {
    device.servers.close();
    held.close();
  }
}

async function demandStick(directory: string): Promise<void> {
  const facts = await stat(join(directory, 'metadata', 'timestamp.json')).catch(() => undefined);
  if (facts?.isFile() === true) return;
  throw new Fault({
    code: 'stick-empty',
    what: 'this directory holds no release: there is no metadata/timestamp.json in it',
    where: directory,
    cure: 'Make one with: holdfast release export RELEASE --out DIR; or check where the stick is mounted.',
    exitStatus: EXIT.input,
  });
}

/** Reads metadata of the stick, as an installation would, and stores what it verified. */
async function choose(
  device: Device,
  config: AgentConfig,
  source: DirectorySource,
  wanted: string | undefined,
): Promise<Verdict<LocalOffer>> {
  const { disk, clock, log, random } = device;
  const settings = { ...engineSettings(config, deviceIdOf(device, config)), offline: true };
  const found = await fromStick(source, () => findRelease({ disk, clock, log, source }, settings, wanted));
  return found.ok ? accept(localAction(found.value, hex(random.bytes(8)))) : found;
}

function deviceIdOf(device: Device, config: AgentConfig): string {
  return device.identity?.deviceId ?? config.deviceId ?? 'unknown';
}

async function install(device: Device, config: AgentConfig, source: DirectorySource, offer: LocalOffer): Promise<End> {
  let end: End | undefined;
  const heard = (event: ReportEvent): void => {
    if (event.kind === 'progress') process.stderr.write(`  ${event.doneBytes} of ${event.totalBytes} bytes\n`);
    end ??= endOf(event, offer);
  };
  const engine = await device.openEngine(deviceIdOf(device, config), { source, heard });
  await engine.offer(offer);
  const { rest } = await engine.run();
  if (rest === 'reboot') return rebootInto(engine, offer);
  if (end !== undefined) return end;
  if (rest === 'retry') throw stickUnreadable(source, 'reading broke off, see above');
  throw new Error(`the engine rests (${rest}), and the installation has not ended`);
}

function endOf(event: ReportEvent, offer: LocalOffer): End | undefined {
  if (!('actionId' in event) || event.actionId !== offer.actionId) return undefined;
  if (event.kind === 'confirmed') return { end: 'runs-already' };
  if (event.kind !== 'refused' && event.kind !== 'failed') return undefined;
  return { end: event.kind, code: event.code, detail: event.detail };
}

/** A reboot that an earlier update owes comes first: it is asked for already, and this installation has not begun. */
function rebootInto(engine: UpdateEngine, offer: LocalOffer): End {
  const { actionId, bootedSlot } = engine.status();
  if (actionId === offer.actionId) return { end: 'reboot', slot: bootedSlot === 'a' ? 'b' : 'a' };
  throw new Fault({
    code: 'reboot-owed',
    what: 'an earlier update waits for a reboot, which is asked for now; nothing of this one was installed',
    cure: 'Let the device come up again, then give the same command once more.',
    exitStatus: EXIT.environment,
  });
}

async function fromStick<T>(source: DirectorySource, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw error instanceof SourceUnreachable ? stickUnreadable(source, error.message) : error;
  }
}

function stickUnreadable({ description }: DirectorySource, what: string): Fault {
  return new Fault({
    code: 'stick-unreadable',
    what: `the release cannot be read whole: ${what}`,
    where: description,
    cure: 'Look at the stick, or make it anew; blocks that are written already are kept. Then give the same command once more.',
    exitStatus: EXIT.environment,
  });
}

function tell(options: CommandOptions, offer: LocalOffer | undefined, end: End): number {
  const release = offer === undefined ? {} : { version: offer.version, sequence: offer.sequence };
  const ok = end.end === 'reboot' || end.end === 'runs-already';
  if (options.json) process.stdout.write(`${JSON.stringify({ ok, ...release, ...end })}\n`);
  else process.stdout.write(`${describe(offer, end)}\n`);
  if (ok) return EXIT.ok;
  return end.end === 'refused' ? EXIT.refused : EXIT.environment;
}

function describe(offer: LocalOffer | undefined, end: End): string {
  const what = offer === undefined ? 'the release' : `${offer.version} (sequence ${offer.sequence})`;
  switch (end.end) {
    case 'reboot':
      return `${what} is in slot ${end.slot}, read back and armed. The device reboots into it now; its own checks decide.\nnext: holdfast-agent status --config FILE, once it is up`;
    case 'runs-already':
      return `this device runs ${what} already`;
    case 'refused':
    case 'failed':
      return `${end.end}: ${end.code}\n  ${end.detail}`;
  }
}
