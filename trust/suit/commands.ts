/**
 * The commands and parameters of SUIT (draft-ietf-suit-manifest-37 §11.4, §11.5), which of them Holdfast takes, and the
 * reading of a command sequence into a list.
 *
 * Invariants: a closed set is taken; everything else is refused by its name. No branching and no nesting (try-each,
 * run-sequence) is in the set, so a manifest says the same on every device.
 */
import { CBOR_CAP_BYTES, type CborMap, type CborValue, decodeCbor } from '../cbor.ts';
import { accept, type Refusal, refuse, type Verdict } from '../refusal.ts';

export const COMMAND = {
  vendorIdentifier: 1,
  classIdentifier: 2,
  imageMatch: 3,
  setComponentIndex: 12,
  overrideParameters: 20,
  fetch: 21,
  invoke: 23,
} as const;

export const PARAMETER = { vendorIdentifier: 1, classIdentifier: 2, imageDigest: 3, imageSize: 14, uri: 21 } as const;

/** SHA-256 in the COSE Algorithms registry (RFC 9054). */
export const DIGEST_SHA256 = -16;

const NAMES: Readonly<Record<number, string>> = {
  1: 'condition-vendor-identifier',
  2: 'condition-class-identifier',
  3: 'condition-image-match',
  5: 'condition-component-slot',
  6: 'condition-check-content',
  12: 'directive-set-component-index',
  14: 'condition-abort',
  15: 'directive-try-each',
  18: 'directive-write',
  20: 'directive-override-parameters',
  21: 'directive-fetch',
  22: 'directive-copy',
  23: 'directive-invoke',
  24: 'condition-device-identifier',
  31: 'directive-swap',
  32: 'directive-run-sequence',
};

const TAKEN: ReadonlySet<number> = new Set(Object.values(COMMAND));
/** Lowest value of the private-use range (§11). */
const FIRST_CUSTOM = -256;
const MAX_REPORTING_POLICY = 15;
const MAX_COMMANDS = 512;

export function commandName(command: number): string {
  const name = NAMES[command];
  if (name !== undefined) return `suit-${name} (${command})`;
  return command <= FIRST_CUSTOM ? `a custom command (${command})` : `an unregistered command (${command})`;
}

export type Command =
  | { readonly kind: 'condition'; readonly command: 1 | 2 | 3 }
  | { readonly kind: 'action'; readonly command: 21 | 23 }
  | { readonly kind: 'select'; readonly index: number | true | readonly number[] }
  | { readonly kind: 'override'; readonly parameters: CborMap };

/**
 * One SUIT_Command_Sequence. `command-refused` for a command outside the set, `envelope-malformed` for everything that
 * is no sequence of commands and arguments. Parameters are not read yet.
 */
export function decodeCommands(bytes: Uint8Array, where: string): Verdict<readonly Command[]> {
  const decoded = decodeCbor(bytes, { capBytes: CBOR_CAP_BYTES });
  if (!decoded.ok) return decoded;
  const items: CborValue = decoded.value;
  if (!Array.isArray(items)) return malformedSuit(`${where} is no array`);
  if (items.length === 0 || items.length % 2 !== 0) return malformedSuit(`${where} is not made of pairs`);
  if (items.length > 2 * MAX_COMMANDS) return malformedSuit(`${where} has more than ${MAX_COMMANDS} commands`);
  const commands: Command[] = [];
  for (let i = 0; i < items.length; i += 2) {
    const command = decodeCommand(items[i], items[i + 1], where);
    if (!command.ok) return command;
    commands.push(command.value);
  }
  return accept(commands);
}

function decodeCommand(
  command: CborValue | undefined,
  argument: CborValue | undefined,
  where: string,
): Verdict<Command> {
  if (typeof command !== 'number') return malformedSuit(`${where} has a command that is no integer`);
  if (!TAKEN.has(command)) return refuse('command-refused', `${where} holds ${commandName(command)}`);
  switch (command) {
    case COMMAND.setComponentIndex:
      return decodeSelect(argument, where);
    case COMMAND.overrideParameters:
      if (argument instanceof Map) return accept({ kind: 'override', parameters: argument });
      return malformedSuit(`${where} overrides with what is no map`);
    default:
      break;
  }
  // The reporting policy asks for reports of a kind that Holdfast does not make; it must be one all the same.
  if (typeof argument !== 'number' || argument < 0 || argument > MAX_REPORTING_POLICY) {
    return malformedSuit(`${where} has a reporting policy that is none`);
  }
  if (command === COMMAND.fetch || command === COMMAND.invoke) return accept({ kind: 'action', command });
  return accept({ kind: 'condition', command: command as 1 | 2 | 3 });
}

function decodeSelect(argument: CborValue | undefined, where: string): Verdict<Command> {
  if (argument === true || isIndex(argument)) return accept({ kind: 'select', index: argument });
  if (Array.isArray(argument) && argument.length > 0 && argument.every(isIndex)) {
    return accept({ kind: 'select', index: argument });
  }
  return malformedSuit(`${where} selects what is no component index`);
}

/** The SHA-256 of a SUIT_Digest; undefined for anything else. */
export function decodeDigest(value: CborValue | undefined): Uint8Array | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [algorithm, bytes] = value as readonly CborValue[];
  return algorithm === DIGEST_SHA256 && bytes instanceof Uint8Array && bytes.length === 32 ? bytes : undefined;
}

function isIndex(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

export function malformedSuit(what: string): Refusal {
  return refuse('envelope-malformed', `SUIT: ${what}`);
}
