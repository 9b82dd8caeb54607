/**
 * Where power is cut while a device makes secrets of its own: in every state that its first boot goes through, at the
 * first one and at one that was commanded. By time alone nearly every cut would fall into the check of the passwords.
 */

export type Flow = 'first' | 'commanded';

export interface RotationPhase {
  readonly name: string;
  /** The console's line with which it begins; it lasts until the next one does. Undefined: with its saved state. */
  readonly begins?: RegExp;
  /** The phase with which a state is saved that it is begun from: this one is over before it could be saved. */
  readonly savedIn: string;
}

const step = (event: string, state: string): RegExp =>
  new RegExp(`"message":"first boot","event":"${event}","state":"${state}"`);

/** In the order in which a rotation goes through them. */
export const ROTATION_PHASES: readonly RotationPhase[] = [
  { name: 'before', savedIn: 'before' },
  { name: 'factory', begins: step('(?:started|rotate)', 'factory'), savedIn: 'factory' },
  { name: 'generated', begins: step('generated', 'generated'), savedIn: 'factory' },
  { name: 'escrowed', begins: step('escrow-kept', 'escrowed'), savedIn: 'factory' },
  { name: 'applying', begins: step('one-applied', 'applied'), savedIn: 'factory' },
  { name: 'verifying', begins: step('all-applied', 'applied'), savedIn: 'verifying' },
  { name: 'verified', begins: step('verified', 'verified'), savedIn: 'verified' },
  { name: 'open', begins: step('reconciled', 'open'), savedIn: 'verified' },
  { name: 'enrolled', begins: step('enrolled', 'enrolled'), savedIn: 'verified' },
  { name: 'reported', begins: step('reported', 'reported'), savedIn: 'verified' },
];

/** Few cuts fall first where a cut could do most harm. */
const ORDER: readonly (readonly [Flow, string])[] = [
  ['first', 'applying'],
  ['commanded', 'applying'],
  ['commanded', 'escrowed'],
  ['first', 'verifying'],
  ['first', 'generated'],
  ['commanded', 'verifying'],
  ['first', 'escrowed'],
  ['commanded', 'factory'],
  ['first', 'verified'],
  ['commanded', 'verified'],
  ['commanded', 'open'],
  ['first', 'open'],
  ['first', 'factory'],
  ['commanded', 'before'],
  ['first', 'enrolled'],
  ['commanded', 'generated'],
  ['first', 'reported'],
  ['commanded', 'enrolled'],
  ['commanded', 'reported'],
  ['first', 'before'],
];

/** Closed: whatever answers here is a fault. Before a rotation that was commanded a device is open. */
export function mustBeSilent(flow: Flow, { name }: RotationPhase): boolean {
  if (name === 'before') return flow === 'first';
  return !['open', 'enrolled', 'reported'].includes(name);
}

export interface PlannedRotationCut {
  readonly number: number;
  readonly flow: Flow;
  readonly phase: RotationPhase;
  /** How far into the phase, of its whole. */
  readonly share: number;
}

/** `random`: in [0, 1), a draw for each cut, in their order. */
export function planRotationCuts(count: number, random: () => number): PlannedRotationCut[] {
  return Array.from({ length: count }, (_, index) => {
    const [flow = 'first', name = ''] = ORDER[index % ORDER.length] ?? [];
    return { number: index + 1, flow, phase: rotationPhase(name), share: random() };
  });
}

export function rotationPhase(name: string): RotationPhase {
  const found = ROTATION_PHASES.find((phase) => phase.name === name);
  if (found === undefined) throw new RangeError(`no phase of a rotation is called ${name}`);
  return found;
}

/** The line with which a phase ends; undefined: the last one lasts as long as one looks. */
export function endOfPhase(phase: RotationPhase): RegExp | undefined {
  return ROTATION_PHASES[ROTATION_PHASES.indexOf(phase) + 1]?.begins;
}

/** As QEMU names it in the disk. */
export const savedName = (flow: Flow, phase: RotationPhase): string => `${flow}-${phase.savedIn}`;
