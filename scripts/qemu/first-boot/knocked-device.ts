/**
 * A device of the lab at whose doors somebody knocks from the moment that it has power; all that its cards carry is
 * recorded.
 */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../../demo/free-ports.ts';
import { askUntil } from '../../demo/patience.ts';
import type { Guest } from '../guest.ts';
import type { WirePlug } from '../machine.ts';
import type { ScenarioLab } from '../scenario.ts';
import { type Counted, type Recorded, readCapture, readFrames } from '../wire/capture.ts';
import { type Doors, triedBefore } from '../wire/coverage.ts';
import { DEVICE, KNOCKS_FROM, Knocker } from '../wire/knocker.ts';
import { type FirstBootProgram, makeFactoryImage } from './factory-image.ts';
import { Stranger } from './stranger-logins.ts';

/** What it says when it opens. */
export const OPENS = /^lab: opens$/;
/** The device says that it opens and waits five seconds; the recording's clock may be one behind. In between lies this. */
export const OPENS_AFTER_MS = 1000;
const ANSWER_LIMIT_MS = 300_000;
const SSH_PORT = 22;
/** Nobody says when. */
export const NEVER = Number.POSITIVE_INFINITY;
/** QEMU's own for the first card. */
const SERVER_CARD = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);

export interface Knocked {
  readonly guest: Guest;
  readonly knocker: Knocker;
  readonly plug: WirePlug;
}

/** A device from the factory, switched off. */
export async function factoryDevice(lab: ScenarioLab, program: FirstBootProgram): Promise<Guest> {
  return lab.newGuest({ rootImage: await makeFactoryImage(lab.world, program) });
}

/** A device from the factory, at which somebody knocks before there is power. */
export async function switchOn(lab: ScenarioLab, program: FirstBootProgram, how: PowerOn = {}): Promise<Knocked> {
  return powerOn(lab, await factoryDevice(lab, program), how);
}

export interface PowerOn {
  /** A state that the machine saved, to go on from. Its recordings' times are then of the past, by so much as it had run. */
  readonly from?: string;
  /** Where the sweep goes on once the link is up. */
  readonly firstPort?: number;
  /** How fast it knocks (wire/knocker.ts). */
  readonly portsPerTurn?: number;
}

/** Somebody knocks before there is power; the recordings are of this power on alone. */
export async function powerOn(lab: ScenarioLab, guest: Guest, how: PowerOn = {}): Promise<Knocked> {
  const { from, firstPort = 1, portsPerTurn } = how;
  const socket = join(tmpdir(), `holdfast-wire-${randomBytes(6).toString('hex')}`);
  const start = guest.timeline.length;
  const recording = (name: string): string => lab.world.path('devices', `${guest.id}-${start}-${name}.pcap`);
  const mac = [...DEVICE.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  const [sshPort = 0] = await freePorts(1);
  const plug = { socket, mac, wireRecording: recording('wire'), serverRecording: recording('server'), sshPort };
  const knocker = await Knocker.at(socket, portsPerTurn, firstPort);
  await guest.powerOn({ wire: plug, ...(from === undefined ? {} : { from }) });
  return { guest, knocker, plug };
}

/** At once, in the middle of whatever was under way. */
export async function cutPower({ guest, knocker, plug }: Knocked): Promise<void> {
  await guest.cutPower();
  await knocker.end();
  await rm(plug.socket, { force: true });
}

export async function switchOff({ guest, knocker, plug }: Knocked): Promise<void> {
  // QEMU ends by itself, so that the recordings are whole.
  if (guest.isOn) await guest.shutDown();
  await knocker.end();
  await rm(plug.socket, { force: true });
}

export function strangerAt(lab: ScenarioLab, { guest, plug }: Knocked): Promise<Stranger> {
  return Stranger.at(plug.sshPort, lab.world.path('devices', `${guest.id}-stranger`));
}

/** Which doors were tried while it was closed, as the recording shows. */
export async function doorsTried({ plug }: Knocked, momentUnixMs: number): Promise<Doors> {
  return triedBefore(await readFrames(plug.wireRecording), DEVICE.mac, momentUnixMs);
}

export function recordedOf({ plug }: Knocked, momentUnixMs: number): Promise<Recorded> {
  return readCapture(plug.wireRecording, { mac: DEVICE.mac, knockedFrom: [KNOCKS_FROM] }, momentUnixMs);
}

/** Of any kind, by the recording, between two moments. */
export async function answersBetween(knocked: Knocked, fromUnixMs: number, untilUnixMs: number): Promise<number> {
  const [from, until] = await Promise.all([recordedOf(knocked, fromUnixMs), recordedOf(knocked, untilUnixMs)]);
  return until.before.answers.length - from.before.answers.length;
}

/** Its sshd accepts a connection over IPv4 and one over IPv6; `from`: of so many answers and later ones. */
export async function hearsAccepted(knocker: Knocker, from = 0): Promise<boolean> {
  const families = (): number =>
    new Set(
      knocker.answers
        .slice(from)
        .filter(({ kind, port }) => kind === 'accepted' && port === SSH_PORT)
        .map(({ family }) => family),
    ).size;
  return (await askUntil(ANSWER_LIMIT_MS, 250, () => (families() === 2 ? true : undefined))) === true;
}

/** Nobody knocks at the card that leads to the server before it is OPEN; it is looked at all the same. */
export async function checkServerCard(lab: ScenarioLab, knocked: Knocked, untilUnixMs: number): Promise<void> {
  const accepted = await acceptedByServerCard(knocked, untilUnixMs);
  lab.check(accepted === 0, `its card to the server accepted ${accepted} connections`);
}

export async function acceptedByServerCard({ plug }: Knocked, untilUnixMs: number): Promise<number> {
  const { before } = await readCapture(plug.serverRecording, { mac: SERVER_CARD, knockedFrom: [] }, untilUnixMs);
  return acceptedIn(before);
}

export const acceptedIn = ({ answers }: Counted): number => answers.filter(({ kind }) => kind === 'accepted').length;

/** Something was knocked at, and nothing answered. */
export const nothingIn = ({ received, answers }: Counted): boolean => received > 0 && answers.length === 0;

export function counted(part: Counted): string {
  const { received, sent, neighbourTalk, answers } = part;
  return `${received} frames to it, ${sent} from it (${neighbourTalk} to find neighbours), ${acceptedIn(part)} connections accepted, ${answers.length} answers of any kind`;
}

export function knocks({ knocks: { tcp, udp } }: Knocker): string {
  return `${tcp} TCP and ${udp} UDP knocks`;
}
