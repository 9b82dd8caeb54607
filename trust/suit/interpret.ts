/**
 * Runs the command sequences of a manifest in the abstract: what they set, and what they do to which component. Nothing
 * is fetched or matched here; the outcome is a table that manifest.ts holds against the profile.
 *
 * Invariants: a parameter has one value in the whole manifest, so that no sequence can say one digest and check another.
 * A command never uses a parameter that was not set before it.
 */
import { equalBytes } from '../bytes.ts';
import { CBOR_CAP_BYTES, type CborKey, type CborMap, type CborValue, decodeCbor } from '../cbor.ts';
import { accept, type Verdict } from '../refusal.ts';
import { COMMAND, type Command, decodeDigest, malformedSuit, PARAMETER } from './commands.ts';

export type SequenceName = 'shared' | 'validate' | 'load' | 'invoke' | 'payloadFetch' | 'install';
export type NamedCommands = readonly [SequenceName, readonly Command[]];

export interface Parameters {
  readonly vendorId?: Uint8Array;
  readonly classId?: Uint8Array;
  /** SHA-256 of the image. */
  readonly imageSha256?: Uint8Array;
  readonly sizeBytes?: number;
  readonly uri?: string;
}

export interface SuitComponent {
  /** Segments of the component identifier. */
  readonly identifier: readonly Uint8Array[];
  readonly parameters: Parameters;
  /** What is done to this component, in order, by sequence: numbers of COMMAND. */
  readonly done: Readonly<Partial<Record<SequenceName, readonly number[]>>>;
}

interface Workpiece {
  readonly parameters: { -readonly [K in keyof Parameters]: Parameters[K] };
  readonly done: Partial<Record<SequenceName, number[]>>;
}

/** Runs the sequences in the abstract: what is set, and what is done to which component. */
export function interpret(
  identifiers: readonly (readonly Uint8Array[])[],
  sequences: readonly NamedCommands[],
): Verdict<SuitComponent[]> {
  const pieces: Workpiece[] = identifiers.map(() => ({ parameters: {}, done: {} }));
  for (const [name, commands] of sequences) {
    // §6.2: with several components a sequence says first which it means; with one, there is only that one.
    if (pieces.length > 1 && commands[0]?.kind !== 'select') {
      return malformedSuit(`the ${name} sequence does not begin with a component index`);
    }
    let selected: readonly Workpiece[] = pieces.slice(0, 1);
    for (const command of commands) {
      if (command.kind === 'select') {
        const chosen = select(pieces, command.index);
        if (chosen === undefined) return malformedSuit(`the ${name} sequence selects a component that is not there`);
        selected = chosen;
        continue;
      }
      for (const piece of selected) {
        const fault = command.kind === 'override' ? override(piece, command.parameters) : perform(piece, command, name);
        if (fault !== undefined) return malformedSuit(`the ${name} sequence ${fault}`);
      }
    }
  }
  return accept(pieces.map((piece, index) => ({ identifier: identifiers[index] ?? [], ...piece })));
}

function select(pieces: readonly Workpiece[], index: number | true | readonly number[]): Workpiece[] | undefined {
  if (index === true) return [...pieces];
  const chosen = (typeof index === 'number' ? [index] : index).map((one) => pieces[one]);
  return chosen.every((piece) => piece !== undefined) ? chosen : undefined;
}

const NEEDS: Readonly<Record<number, keyof Parameters>> = {
  [COMMAND.vendorIdentifier]: 'vendorId',
  [COMMAND.classIdentifier]: 'classId',
  [COMMAND.imageMatch]: 'imageSha256',
  [COMMAND.fetch]: 'uri',
};

function perform(piece: Workpiece, command: Command & { command: number }, name: SequenceName): string | undefined {
  const needed = NEEDS[command.command];
  // §8.4.9: a condition whose parameter was not set fails; there is no manifest for which that would be meant.
  if (needed !== undefined && piece.parameters[needed] === undefined) return `uses ${needed} before it is set`;
  const done = piece.done[name] ?? [];
  done.push(command.command);
  piece.done[name] = done;
  return undefined;
}

function override(piece: Workpiece, map: CborMap): string | undefined {
  for (const [label, value] of map) {
    const fault = setParameter(piece.parameters, label, value);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function setParameter(parameters: Workpiece['parameters'], label: CborKey, value: CborValue): string | undefined {
  switch (label) {
    case PARAMETER.vendorIdentifier:
      return setBytes(parameters, 'vendorId', value, 16);
    case PARAMETER.classIdentifier:
      return setBytes(parameters, 'classId', value, 16);
    case PARAMETER.imageDigest:
      return setBytes(parameters, 'imageSha256', wrappedDigest(value), 32);
    case PARAMETER.imageSize:
      if (typeof value !== 'number' || value < 0) return 'sets a size that is none';
      if (parameters.sizeBytes !== undefined && parameters.sizeBytes !== value) return 'sets sizeBytes twice';
      parameters.sizeBytes = value;
      return undefined;
    case PARAMETER.uri:
      if (typeof value !== 'string') return 'sets a URI that is no text';
      if (parameters.uri !== undefined && parameters.uri !== value) return 'sets uri twice';
      parameters.uri = value;
      return undefined;
    default:
      return `sets parameter ${label}, which is not taken`;
  }
}

function setBytes(
  parameters: Workpiece['parameters'],
  name: 'vendorId' | 'classId' | 'imageSha256',
  value: CborValue | undefined,
  length: number,
): string | undefined {
  if (!(value instanceof Uint8Array) || value.length !== length) return `sets ${name} to what is none`;
  const before = parameters[name];
  if (before !== undefined && !equalBytes(before, value)) return `sets ${name} twice, to different values`;
  parameters[name] = value;
  return undefined;
}

/** §8.4.8.6: the digest parameter is a byte string that holds an encoded SUIT_Digest. */
function wrappedDigest(value: CborValue): Uint8Array | undefined {
  if (!(value instanceof Uint8Array)) return undefined;
  const decoded = decodeCbor(value, { capBytes: CBOR_CAP_BYTES });
  return decoded.ok ? decodeDigest(decoded.value) : undefined;
}
