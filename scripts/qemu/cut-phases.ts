/**
 * The parts of an update in which power is cut. By time alone nearly every cut would fall into the download: what decides
 * whether a device boots, the writes of the boot environment, takes a second of a minute.
 */
import type { SerialLine } from './serial-log.ts';

export interface CutPhase {
  readonly name: string;
  readonly title: string;
  /** The console's line with which it begins; it lasts until the next one does. */
  readonly begins: RegExp;
  /** Begun from a state that was saved in an earlier phase: this one is over before it could be saved. */
  readonly savedIn?: string;
}

/** In the order in which an update goes through them. */
export const CUT_PHASES: readonly [CutPhase, ...CutPhase[]] = [
  { name: 'check', title: 'metadata is fetched and verified', begins: /"message":"idle → checking"/ },
  { name: 'write', title: 'the image is fetched and written', begins: /"message":"checking → downloading"/ },
  { name: 'read-back', title: 'the slot is read back', begins: /"message":"downloading → verifying"/ },
  {
    name: 'arm',
    title: 'the trial goes into the boot environment',
    begins: /"message":"verifying → staged"/,
    savedIn: 'read-back',
  },
  { name: 'restart', title: 'the device shuts down; U-Boot starts', begins: /"message":"rebooting"/ },
  {
    name: 'attempt',
    title: 'U-Boot has counted the attempt; kernel and userspace start',
    begins: /on trial, 2 attempts/,
  },
  { name: 'trial', title: 'the health checks run', begins: /"rule":"trial-begins"/ },
  {
    name: 'confirm',
    title: 'the slot becomes permanent',
    begins: /"message":"trial → confirming"/,
    savedIn: 'trial',
  },
];

/** The update is over. */
const SETTLED = /"message":"sealing → idle"/;

/** The line with which a phase ends. */
export function endOf(phase: CutPhase): RegExp {
  return CUT_PHASES[CUT_PHASES.indexOf(phase) + 1]?.begins ?? SETTLED;
}

/**
 * Phases for so many cuts: each gets as many as the others, and few cuts go first where a cut could do most harm.
 * `only`: all of them into this one.
 */
export function phasesFor(count: number, only?: string): CutPhase[] {
  const order = ['write', 'arm', 'confirm', 'attempt', 'restart', 'read-back', 'trial', 'check'];
  const names = only === undefined ? order : [only];
  return Array.from({ length: count }, (_, index) => phaseNamed(names[index % names.length] ?? ''));
}

export function phaseNamed(name: string): CutPhase {
  const found = CUT_PHASES.find((phase) => phase.name === name);
  if (found === undefined) throw new RangeError(`no phase of an update is called ${name}`);
  return found;
}

/** The phase that these lines end in; `before`: the one that they begin in. */
export function phaseReached(lines: readonly SerialLine[], before: CutPhase): CutPhase {
  for (const { text } of lines.toReversed()) {
    const found = CUT_PHASES.find(({ begins }) => begins.test(text));
    if (found !== undefined) return found;
  }
  return before;
}
