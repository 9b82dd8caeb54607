/**
 * A file that only the holder of a 32-byte key can read: the server's online keys at rest. The key is a file of its
 * own, or a systemd credential (`LoadCredential=`), so that a server starts unattended and a copied disk alone gives nothing.
 *
 * Layout: magic "HFSEAL01" · key check (8) · nonce (12) · AES-256-GCM ciphertext · tag (16). The magic, the key check and
 * the context are authenticated with the ciphertext: a file sealed for one purpose does not open for another. The key
 * check (a MAC of a constant) tells a wrong key from a damaged file; it says nothing about a random key.
 *
 * Does no disk access, and may not print what it opens.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { EXIT, Fault } from './fault.ts';
import { sameSecret } from './same-secret.ts';

const MAGIC = Buffer.from('HFSEAL01', 'latin1');
const KEY_CHECK_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const NONCE_OFFSET = MAGIC.length + KEY_CHECK_BYTES;
const HEADER_BYTES = NONCE_OFFSET + NONCE_BYTES;
export const SEALING_KEY_BYTES = 32;
/** Sealed files hold keys, never data: readers cap them at this. */
export const SEALED_FILE_CAP_BYTES = 64 * 1024;

function keyCheck(key: Uint8Array): Buffer {
  return createHmac('sha256', key).update('holdfast sealing key check 1').digest().subarray(0, KEY_CHECK_BYTES);
}

function associatedData(header: Uint8Array, context: string): Buffer {
  return Buffer.concat([header, Buffer.from(context, 'utf8')]);
}

function assertKey(key: Uint8Array): void {
  if (key.length !== SEALING_KEY_BYTES) throw new RangeError(`a sealing key has ${key.length} bytes, not 32`);
}

/** Seals `plaintext` under a 32-byte key. `context` names the purpose and must be given again to open it. */
export function sealBytes(key: Uint8Array, plaintext: Uint8Array, context: string): Uint8Array {
  assertKey(key);
  const nonce = randomBytes(NONCE_BYTES);
  const header = Buffer.concat([MAGIC, keyCheck(key)]);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(associatedData(header, context));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Uint8Array.from(Buffer.concat([header, nonce, ciphertext, cipher.getAuthTag()]));
}

function malformed(what: string): Fault {
  return new Fault({
    code: 'sealed-file-malformed',
    what,
    cure: 'Restore the file from its backup, or make the keys anew.',
    exitStatus: EXIT.corrupt,
  });
}

/**
 * Opens what `sealBytes` made. Faults: `sealing-key-wrong` (sealed under another key), `sealed-file-malformed` (not
 * such a file, altered, or sealed for another purpose). The caller adds the path.
 */
export function openSealed(key: Uint8Array, sealed: Uint8Array, context: string): Uint8Array {
  assertKey(key);
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  if (bytes.length < HEADER_BYTES + TAG_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw malformed('this is not a sealed file of Holdfast');
  }
  const header = bytes.subarray(0, NONCE_OFFSET);
  if (!sameSecret(keyCheck(key), bytes.subarray(MAGIC.length, NONCE_OFFSET))) {
    throw new Fault({
      code: 'sealing-key-wrong',
      what: 'the file was sealed with another sealing key',
      cure: 'Give the sealing key that was made together with this file (--sealing-key FILE).',
      exitStatus: EXIT.input,
    });
  }
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(NONCE_OFFSET, HEADER_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(associatedData(header, context)).setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  try {
    const plaintext = decipher.update(bytes.subarray(HEADER_BYTES, bytes.length - TAG_BYTES));
    return Uint8Array.from(Buffer.concat([plaintext, decipher.final()]));
  } catch {
    throw malformed('the sealed file was altered, or was sealed for another purpose');
  }
}

/** The text of a sealing key file: 64 hexadecimal digits and a newline. */
export function encodeSealingKey(key: Uint8Array): Uint8Array {
  assertKey(key);
  return Buffer.from(`${Buffer.from(key).toString('hex')}\n`, 'latin1');
}

/** Reads a sealing key file's content. Fault `sealing-key-malformed` when it is anything else; the caller adds the path. */
export function decodeSealingKey(content: Uint8Array): Uint8Array {
  const text = Buffer.from(content).toString('latin1').trim();
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new Fault({
      code: 'sealing-key-malformed',
      what: 'this is not a sealing key (64 hexadecimal digits)',
      cure: 'Give the file sealing.key that `holdfast keys init` made in the server folder.',
      exitStatus: EXIT.input,
    });
  }
  return Uint8Array.from(Buffer.from(text, 'hex'));
}
