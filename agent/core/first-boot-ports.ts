/**
 * What the first boot needs of the world. The machine decides with these interfaces only; agent/first-boot/ implements
 * them, and so do the tests and the simulator.
 */
import type { CredentialEntry } from '../../protocol/credentials.ts';

/** Random bytes from the kernel's generator. Throws EntropyMissing instead of giving bytes before it is seeded. */
export interface SecretSource {
  bytes(length: number): Uint8Array;
}

export class EntropyMissing extends Error {
  override readonly name = 'EntropyMissing';
}

/** A secret that an owner may need one day: it is sealed before it is applied, and its plaintext is never written. */
export interface EscrowedSecret {
  /** A CredentialName: `password:root`. */
  readonly name: string;
  /** What a person types. */
  readonly text: string;
}

/** Where a provider keeps what it made until it is applied: a folder of the epoch's own, 0700, on the data partition. */
export interface Staging {
  readonly epoch: number;
  /** The bytes under a name, or undefined; `capBytes` is checked before anything is allocated. */
  read(name: string, capBytes: number): Promise<Uint8Array | undefined>;
  /** Durable, 0600, once it returns. */
  write(name: string, bytes: Uint8Array): Promise<void>;
}

/**
 * What happened to a check: a value, never an exception; the detail names no secret. With `ok` it says what was not
 * asked of the consumer itself, and why.
 */
export type Check =
  | { readonly ok: true; readonly detail?: string }
  | { readonly ok: false; readonly code: string; readonly detail: string };

/** A check's code: all is in effect, but something that runs since before took up the former; one reboot, then check again. */
export const REBOOT_NEEDED = 'reboot-needed';

/**
 * One kind of credential on this device. All methods are idempotent and may be cut at any operation: run again, they
 * end the same. None of them logs or returns a secret, but for `stage`, whose answer goes to the escrow and nowhere else.
 */
export interface CredentialProvider {
  /** Unique; stands in the journal, in the order of work, and in reports. */
  readonly name: string;
  /** What is in effect now, as the server may know it. Reads the world, never the journal. */
  inspect(): Promise<readonly CredentialEntry[]>;
  /**
   * Makes everything new that this provider will apply, in `staging`, in the form in which its consumer keeps it (a hash
   * where it takes one). What it staged before is replaced: nothing of it was applied. Changes nothing that is in effect.
   */
  stage(staging: Staging, random: SecretSource): Promise<readonly EscrowedSecret[]>;
  /** Puts what is staged into effect, durably. Afterwards `reconcile` needs `staging` no more. */
  apply(staging: Staging): Promise<void>;
  /** At every boot, before anything opens: what this device made stands over what the slot brings. */
  reconcile(): Promise<void>;
  /** The new one is in effect, asked of what consumes it. */
  verifyNew(): Promise<Check>;
  /** The former ones (the slot's, and the epoch's before) are refused, asked of what consumes them. */
  verifyOldRefused(): Promise<Check>;
  /** Factory reset: what this provider keeps of its own is gone. The slot's is not touched. */
  wipe(): Promise<void>;
}

/** Seals secrets to the owners. The blob is bytes to everybody else. */
export interface Escrow {
  /**
   * Sealed to every owner key and signed by the device key, for this device and epoch. A value when it cannot be:
   * fewer owners than asked for, no device key.
   */
  seal(
    secrets: readonly EscrowedSecret[],
    binding: { readonly deviceId: string; readonly epoch: number },
  ): Promise<
    | { readonly ok: true; readonly blob: Uint8Array; readonly owners: readonly string[] }
    | { readonly ok: false; readonly code: string; readonly detail: string }
  >;
}

/** One thing that identifies this board: not the card in it, and nothing that software sets. */
export interface HardwareTrait {
  /** `device-tree-serial`, `emmc-cid`, … */
  readonly source: string;
  readonly weight: number;
  /** SHA-256 of the value, hex. */
  readonly digest: string;
}
