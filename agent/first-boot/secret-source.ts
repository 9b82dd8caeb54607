/**
 * Random bytes for secrets, only once the kernel's generator is seeded.
 *
 * `crypto.randomBytes` does not say whether it is. A read of /dev/random that may not wait does: since Linux 5.6 it gives
 * bytes once the generator is seeded and EAGAIN before; older kernels say EAGAIN for longer, which errs on the closed
 * side. Linux 5.6 to 5.18 without the later fix wait instead of saying EAGAIN, and so may Node itself, which asks for a
 * seed when it starts: then the unit's start limit ends the wait, closed as well. random(4), random(7), getrandom(2).
 *
 * May not: derive anything from serial number, address or time.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { systemErrorCode } from '../../platform/fault.ts';
import { EntropyMissing, type SecretSource } from '../core/first-boot-ports.ts';

/** A secret is longer than this only by mistake. */
const REQUEST_CAP_BYTES = 4096;

/** Does the kernel's generator give bytes now? `device` is another one only in tests. */
export function isSeeded(device = '/dev/random'): boolean {
  let file: number | undefined;
  try {
    file = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
    return readSync(file, new Uint8Array(1), 0, 1, null) === 1;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EAGAIN' || code === 'ENOENT') return false;
    throw error;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** Asks until the answer was yes once: a generator that is seeded stays so. */
export function kernelSecrets(asked: () => boolean = isSeeded): SecretSource {
  let seeded = false;
  return {
    bytes(length) {
      if (length > REQUEST_CAP_BYTES) throw new RangeError(`${length} random bytes are more than any secret has`);
      seeded ||= asked();
      if (!seeded) throw new EntropyMissing("the kernel's random generator is not seeded yet");
      return new Uint8Array(randomBytes(length));
    },
  };
}
